"""The card names the data files and columns of every split and leaves everything else to people."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool.errors import HFValidationError
from hubspool_templates.card import Card

COLUMNS = [{"name": "n", "dtype": "int64"}]


def card(text: str | None, split: str = "train", path: str = "data/train-*.jsonl", **more: Any) -> str | None:
    made = Card(text, title="votes", card_sentence="Votes of visitors.")
    config = made.add_files(split, path)
    if "features" in more:
        made.set_features(config, more["features"])
    if "rows" in more:
        made.set_size(more["rows"])
    return made.render()


def parsed(text: str | None) -> tuple[dict[str, Any], str]:
    assert text is not None
    assert text.startswith("---\n")
    front, body = text[4:].split("---\n", 1)
    return yaml.safe_load(front), body


CONFIG = {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.jsonl"}]}


@pytest.mark.parametrize("text", [None, ""])
def test_a_new_card_has_a_config_a_title_and_says_how_the_data_came_to_be(text: str | None) -> None:
    fields, body = parsed(card(text))
    assert fields == {"configs": [CONFIG]}
    assert body.startswith("\n# votes\n\nVotes of visitors. Rows are added")


def test_a_second_time_nothing_changes() -> None:
    first = card(None, features=COLUMNS, rows=5)
    assert card(first, features=COLUMNS, rows=5) is None
    assert card(first) is None


def test_another_split_is_added_and_the_first_one_stays() -> None:
    fields, body = parsed(card(card(None), split="test", path="data/test-*.jsonl"))
    assert fields["configs"] == [
        {**CONFIG, "data_files": [*CONFIG["data_files"], {"split": "test", "path": "data/test-*.jsonl"}]}
    ]
    assert body.startswith("\n# votes\n")


def test_another_folder_of_the_same_split_is_added() -> None:
    fields, _ = parsed(card(card(None), path="more/train-*.jsonl"))
    assert fields["configs"][0]["data_files"] == [
        {"split": "train", "path": ["data/train-*.jsonl", "more/train-*.jsonl"]}
    ]


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
    assert "# votes" not in body


def test_comments_and_other_fields_stay_byte_for_byte() -> None:
    before = "# first\nlicense:   mit  # mine\n'tags': [a, 'b']\n"
    after = "# about the size\npretty_name: >\n  Two\n  lines\n# last\n"
    old = f"---\n{before}configs:\n- config_name: default\n  data_files: []\n{after}---\nbody\n"
    new = card(old, features=COLUMNS)
    assert new is not None
    assert new.startswith(f"---\n{before}configs:\n")
    assert after in new
    assert new.endswith("---\nbody\n")
    assert parsed(new)[0]["configs"] == [CONFIG]


@pytest.mark.parametrize(
    "front",
    [
        "{license: mit, configs: []}",
        "base: &b\n- config_name: other\n  data_files: x.csv\nconfigs: *b",
        "configs: [] # none yet\nlicense: mit",
        "license: mit\n? configs\n: []",
    ],
)
def test_front_matter_in_rare_forms_keeps_its_meaning(front: str) -> None:
    before = yaml.safe_load(front)
    fields, _ = parsed(card(f"---\n{front}\n---\n# Mine\n"))
    assert {**fields, "configs": None} == {**before, "configs": None}
    assert CONFIG in fields["configs"]


def test_other_configs_and_their_order_stay() -> None:
    text = "---\nconfigs:\n- config_name: extra\n  data_files: extra.csv\n  sep: ';'\n---\n"
    fields, _ = parsed(card(text))
    extra = {"config_name": "extra", "data_files": "extra.csv", "sep": ";"}
    assert fields["configs"] == [{**extra, "default": True}, CONFIG]  # it loaded without a name, and still does


@pytest.mark.parametrize(
    ("short", "splits"),
    [
        ("other/*.jsonl", {"train": ["other/*.jsonl", "data/train-*.jsonl"]}),
        ({"test": "x.jsonl"}, {"test": "x.jsonl", "train": "data/train-*.jsonl"}),
        (["x.jsonl", "y.jsonl"], {"train": ["x.jsonl", "y.jsonl", "data/train-*.jsonl"]}),
    ],
    ids=str,
)
def test_files_that_a_person_named_in_short_are_named_beside_ours(short: object, splits: dict[str, Any]) -> None:
    text = f"---\n{yaml.safe_dump({'configs': [{'config_name': 'default', 'data_files': short}]})}---\n"
    fields, _ = parsed(card(text))
    assert {each["split"]: each["path"] for each in fields["configs"][0]["data_files"]} == splits


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        ("data/*.jsonl", True),
        ("data/**", True),
        ("**/*.jsonl", True),
        ("**", True),
        ("data/train-[0-9]*.jsonl", False),
        ("data/tra?n-*", True),
        ("*.jsonl", False),
        ("data/*", True),
        ("data/test-*.jsonl", False),
        ("data/*.parquet", False),
    ],
)
def test_files_that_a_pattern_covers_already_are_not_named_twice(pattern: str, covers: bool) -> None:
    """`datasets` loads the rows of a file twice where two patterns of one split match it."""
    config = {"config_name": "mine", "data_files": [{"split": "all", "path": ["x.csv", pattern]}]}
    text = f"---\n{yaml.safe_dump({'configs': [config]})}---\n"
    new = card(text, features=COLUMNS)
    fields, _ = parsed(new)
    if covers:
        assert fields["configs"] == [config]
        assert fields["dataset_info"] == {"config_name": "mine", "features": COLUMNS}
    else:
        assert fields["configs"] == [{**config, "default": True}, CONFIG]
        assert fields["dataset_info"] == {"features": COLUMNS}


def test_a_default_config_without_data_files_gets_them() -> None:
    fields, _ = parsed(card("---\nconfigs:\n- config_name: default\n  description: mine\n---\n"))
    assert fields["configs"] == [{**CONFIG, "description": "mine"}]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (None, {"features": COLUMNS}),
        ({"features": [], "splits": [{"name": "train"}]}, {"features": COLUMNS, "splits": [{"name": "train"}]}),
        ({"config_name": "x"}, [{"config_name": "x"}, {"config_name": "default", "features": COLUMNS}]),
        ([{"config_name": "x"}], [{"config_name": "x"}, {"config_name": "default", "features": COLUMNS}]),
        ([{"config_name": "default", "a": 1}], [{"config_name": "default", "a": 1, "features": COLUMNS}]),
    ],
    ids=str,
)
def test_columns_go_to_their_config_and_leave_what_else_is_known_of_it(known: Any, expected: Any) -> None:
    text = None if known is None else f"---\n{yaml.safe_dump({'dataset_info': known})}---\n"
    fields, _ = parsed(card(text, features=COLUMNS))
    assert fields["dataset_info"] == expected


@pytest.mark.parametrize(
    ("rows", "tag"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (123_456, "100K<n<1M"), (10**12, "n>1T"), (10**15, "n>1T")],
)
def test_the_size_tag_is_that_of_the_rows(rows: int, tag: str) -> None:
    assert parsed(card(None, rows=rows))[0]["size_categories"] == [tag]


def test_the_size_tag_grows_and_never_shrinks() -> None:
    large = card(None, rows=50_000)
    assert card(large, rows=10) is None
    assert parsed(card(large, rows=10**7))[0]["size_categories"] == ["10M<n<100M"]


@pytest.mark.parametrize("mine", [["other"], ["n<1K", "1K<n<10K"], "n<1K"], ids=str)
def test_size_tags_in_a_persons_own_form_stay(mine: object) -> None:
    text = f"---\n{yaml.safe_dump({'size_categories': mine})}---\n"
    assert parsed(card(text, rows=10**7))[0]["size_categories"] == mine


@pytest.mark.parametrize(
    "front",
    ["a: [", "- list", "text", "a: b: c", "configs: text", "configs:\n- text", "configs:\n  a: 1",
     "date: 2026-13-01", "dataset_info:\n  features: text", "dataset_info:\n- text", "dataset_info: text"],
)  # fmt: skip
def test_front_matter_that_is_broken_is_told(front: str) -> None:
    with pytest.raises(HFValidationError, match="README"):
        card(f"---\n{front}\n---\n# Mine\n", features=COLUMNS)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["default", "train", "data/*.jsonl", "n<1K", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["config_name", "data_files", "split", "path", "features", "name", "dtype", "list"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(st.dictionaries(st.sampled_from(["configs", "dataset_info", "size_categories", "tags"]), ANY))
def test_whatever_stands_in_a_card_it_is_kept_or_told(fields: dict[str, Any]) -> None:
    """Any other exception would hold up the rows."""
    try:
        text = card(f"---\n{yaml.safe_dump(fields)}---\nbody\n", features=COLUMNS, rows=5)
    except HFValidationError:
        return
    if text is not None:
        found, body = parsed(text)
        assert body == "body\n"
        assert found.get("tags") == fields.get("tags")
        assert card(text, features=COLUMNS, rows=5) is None


def test_comments_inside_a_field_that_changes_stay() -> None:
    old = (
        "---\nlicense: mit\nconfigs:  # what loads\n- config_name: default  # main\n  data_files:\n"
        "  - split: train  # votes\n    path: 'data/train-*.jsonl'\nlanguage: en  # mostly\n---\nbody\n"
    )
    new = card(old, split="test", path="data/test-*.jsonl")
    assert new is not None
    for kept in ("license: mit\n", "configs:  # what loads\n", "# main\n", "# votes\n", "'data/train-*.jsonl'\n"):
        assert kept in new
    assert new.endswith("language: en  # mostly\n---\nbody\n")
    assert parsed(new)[0]["configs"][0]["data_files"][1] == {"split": "test", "path": "data/test-*.jsonl"}


@pytest.mark.parametrize("name", ["no", "y", "on", "1:30", "2026-01-02", "0o7", "1e3", "-.5", "null", "~", "a: b", "#"])
def test_columns_whose_names_look_like_other_yaml_values_stay_text(name: str) -> None:
    columns = [{"name": name, "dtype": "int64"}]
    new = card(None, features=columns)
    assert parsed(new)[0]["dataset_info"]["features"] == columns
    assert card(new, features=columns) is None


@pytest.mark.parametrize("name", ["n", "y", "off"])
def test_columns_without_quotes_that_other_programs_wrote_stay_text(name: str) -> None:
    text = f"---\ndataset_info:\n  features:\n  - name: {name}\n    dtype: int64\n---\n"
    columns = [{"name": name, "dtype": "int64"}, *COLUMNS]
    assert parsed(card(text, features=columns))[0]["dataset_info"]["features"] == columns


def test_a_field_that_comes_twice_is_told() -> None:
    """Neither the Hub nor `datasets` reads such a card."""
    with pytest.raises(HFValidationError, match="README"):
        card("---\nlicense: mit\nlicense: apache-2.0\n---\n")
