"""The card names the data files of every split and leaves everything else to people."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hubspool.card import with_config
from hubspool.errors import HFValidationError


def card(text: str | None, **changes: Any) -> str | None:
    return with_config(text, **{"split": "train", "path": "data/train-*.jsonl", "title": "votes", **changes})


def parsed(text: str | None) -> tuple[dict[str, Any], str]:
    assert text is not None
    assert text.startswith("---\n")
    front, body = text[4:].split("\n---\n", 1)
    return yaml.safe_load(front), body


CONFIG = {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.jsonl"}]}


@pytest.mark.parametrize("text", [None, ""])
def test_a_new_card_has_a_config_and_a_title(text: str | None) -> None:
    fields, body = parsed(card(text))
    assert fields == {"configs": [CONFIG]}
    assert body == "\n# votes\n"


def test_a_second_time_nothing_changes() -> None:
    assert card(card(None)) is None


def test_another_split_is_added_and_the_first_one_stays() -> None:
    fields, body = parsed(card(card(None), split="test", path="data/test-*.jsonl"))
    assert fields["configs"] == [
        {**CONFIG, "data_files": [*CONFIG["data_files"], {"split": "test", "path": "data/test-*.jsonl"}]}
    ]
    assert body == "\n# votes\n"


def test_another_folder_of_the_same_split_is_added() -> None:
    fields, _ = parsed(card(card(None), path="more/train-*.jsonl"))
    assert "more/train-*.jsonl" in str(fields)
    assert "data/train-*.jsonl" in str(fields)


@pytest.mark.parametrize(
    "text",
    [
        "# Mine\n\ntext\n",
        "---\nlicense: mit\n---\n# Mine\n\n---\n\ntext\n",
        "---\n---\n# Mine\n",
        "---\r\nlicense: mit\r\n---\r\n# Mine\r\n",
        "\ufeff---\nlicense: mit\n---\n# Mine\n",
        "---\nlicense: mit\npretty_name: '空 ---'\n---\n",
        "---\nnot closed\n",
        "--- no fence\n# Mine\n",
    ],
)
def test_a_persons_text_and_fields_stay(text: str) -> None:
    fields, body = parsed(card(text))
    assert fields.pop("configs") == [CONFIG]
    if "license" in text:
        assert fields.pop("license") == "mit"
    if "pretty_name" in text:
        assert fields.pop("pretty_name") == "空 ---"
    assert fields == {}
    assert ("# Mine" in body) == ("# Mine" in text)
    assert ("text\n" in body) == ("text\n" in text)
    assert ("not closed" in body) == ("not closed" in text)


def test_other_configs_and_their_order_stay() -> None:
    text = "---\nconfigs:\n- config_name: extra\n  data_files: extra.csv\n  sep: ';'\n---\n"
    fields, _ = parsed(card(text))
    assert fields["configs"] == [{"config_name": "extra", "data_files": "extra.csv", "sep": ";"}, CONFIG]


@pytest.mark.parametrize("short", ["data/*.jsonl", {"train": "x.jsonl"}])
def test_a_config_in_a_persons_own_form_is_left_alone(short: object) -> None:
    text = f"---\n{yaml.safe_dump({'configs': [{'config_name': 'default', 'data_files': short}]})}---\n"
    assert card(text) is None


def test_a_default_config_without_data_files_gets_them() -> None:
    fields, _ = parsed(card("---\nconfigs:\n- config_name: default\n  description: mine\n---\n"))
    assert fields["configs"] == [{**CONFIG, "description": "mine"}]


@pytest.mark.parametrize(
    "front", ["a: [", "- list", "text", "a: b: c", "configs: text", "configs:\n- text", "configs:\n  a: 1"]
)
def test_front_matter_that_is_broken_is_told(front: str) -> None:
    with pytest.raises(HFValidationError, match="README"):
        card(f"---\n{front}\n---\n# Mine\n")
