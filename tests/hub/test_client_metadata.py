"""Front matter of a README.md: merged as the stock client does it, with the text below left alone."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hubspool
from hubspool.client.commit import CommitRequest, post_commit
from hubspool.client.hf_api import HfApi
from hubspool.client.metadata import merge_metadata
from hubspool.client.operations import CommitOperationAdd
from hubspool.errors import HFValidationError, ParentCommitMismatchError
from hubspool.local_hub import Fault, LocalHub

REPO = "local/card"
CARD = "---\nlicense: mit\ntags:\n- one\n---\n# Title\n\nText: ünïcode\n"


def result(value: float, metric: str = "acc", dataset: str = "d") -> dict[str, Any]:
    return {
        "task": {"type": "text-classification"},
        "dataset": {"name": dataset, "type": dataset},
        "metrics": [{"type": metric, "value": value, "name": metric}],
    }


def index(*results: dict[str, Any]) -> dict[str, Any]:
    return {"model-index": [{"name": "m", "results": list(results)}]}


@pytest.fixture
def api(hub_api: HfApi) -> HfApi:
    hub_api.create_repo(REPO)
    hub_api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id=REPO)
    return hub_api


def card(api: HfApi, folder: Path, repo: str = REPO, **options: Any) -> tuple[dict[str, Any], str]:
    path = api.hf_hub_download(repo, "README.md", local_dir=folder / "down", force_download=True, **options)
    _, front, body = Path(path).read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_fields_are_added_and_the_text_stays(api: HfApi, tmp_path: Path) -> None:
    url = api.metadata_update(REPO, {"language": "en", "license": "mit"})
    assert url.rpartition("/")[2] == api.repo_info(REPO).sha
    fields, body = card(api, tmp_path)
    assert fields == {"license": "mit", "tags": ["one"], "language": "en"}
    assert body == "# Title\n\nText: ünïcode\n"


def test_another_value_needs_overwrite(api: HfApi, tmp_path: Path) -> None:
    before = api.repo_info(REPO).sha
    with pytest.raises(HFValidationError, match=r"license.*overwrite=True"):
        api.metadata_update(REPO, {"license": "apache-2.0"})
    assert api.repo_info(REPO).sha == before
    api.metadata_update(REPO, {"license": "apache-2.0"}, overwrite=True)
    assert card(api, tmp_path)[0]["license"] == "apache-2.0"


def test_a_missing_readme_is_made_but_not_in_a_space(api: HfApi, tmp_path: Path) -> None:
    api.create_repo("local/none", repo_type="dataset")
    api.metadata_update("local/none", {"license": "mit"}, repo_type="dataset")
    fields, body = card(api, tmp_path, "local/none", repo_type="dataset")
    assert (fields, body) == ({"license": "mit"}, "\n# none\n")
    api.create_repo("local/space", repo_type="space", space_sdk="gradio")
    if "README.md" in api.list_repo_files("local/space", repo_type="space"):
        api.delete_file("README.md", "local/space", repo_type="space")
    with pytest.raises(HFValidationError, match=r"no README\.md"):
        api.metadata_update("local/space", {"license": "mit"}, repo_type="space")


def test_a_change_of_somebody_else_is_merged_and_not_lost(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    local_hub.faults.add(Fault(route="validate-yaml", delay=math.inf))  # between reading and committing
    update = api.run_as_future(api.metadata_update, REPO, {"language": "en"})
    assert local_hub.faults.wait_for_hits(1)
    theirs = CARD.replace("license: mit", "license: mit\ntheirs: 1")
    addition = CommitOperationAdd("README.md", theirs.encode())
    api.preupload_lfs_files(REPO, [addition])
    post_commit(api.client(), api.target(REPO), CommitRequest("theirs"), [addition])
    local_hub.faults.clear()
    update.result(60)
    fields, _ = card(api, tmp_path)
    assert (fields["language"], fields["theirs"]) == ("en", 1)
    old = api.repo_info(REPO).sha
    api.metadata_update(REPO, {"size": 1})
    with pytest.raises(ParentCommitMismatchError):
        api.metadata_update(REPO, {"size": 2}, overwrite=True, parent_commit=old)


def test_a_change_whose_answer_was_lost_is_found_on_the_hub(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    before = len(api.list_repo_commits(REPO))
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True))
    url = api.metadata_update(REPO, {"language": "en"})
    assert url.rpartition("/")[2] == api.repo_info(REPO).sha
    assert card(api, tmp_path)[0]["language"] == "en"
    assert len(api.list_repo_commits(REPO)) == before + 1


def test_a_pull_request_gets_the_change(api: HfApi, tmp_path: Path) -> None:
    url = api.metadata_update(REPO, {"language": "en"}, create_pr=True)
    assert url.endswith(f"/{REPO}/discussions/1")
    assert "language" not in card(api, tmp_path)[0]
    assert card(api, tmp_path, revision="refs/pr/1")[0]["language"] == "en"


@pytest.mark.parametrize("text", ["---\n- a list\n---\n", "---\na: [\n---\n", "---\na: 2024-13-01\n---\n"])
def test_front_matter_that_is_no_mapping_is_an_error(text: str) -> None:
    with pytest.raises(HFValidationError, match="front matter"):
        merge_metadata(text, {"a": 1}, "m", overwrite=True)


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (result(0.5), [[0.5]]),
        (result(0.7, "f1"), [[0.5, 0.7]]),
        (result(0.7, dataset="e"), [[0.5], [0.7]]),
    ],
)
def test_results_are_merged_metric_by_metric(given: dict[str, Any], values: list[list[float]]) -> None:
    text = merge_metadata("# T\n", index(result(0.5)), "m", overwrite=False)
    fields = yaml.safe_load(merge_metadata(text, index(given), "m", overwrite=False).split("---\n")[1])
    found = [[metric["value"] for metric in entry["metrics"]] for entry in fields["model-index"][0]["results"]]
    assert found == values
    with pytest.raises(HFValidationError, match="metric 'acc'"):
        merge_metadata(text, index(result(0.6)), "m", overwrite=False)
    assert "value: 0.6" in merge_metadata(text, index(result(0.6)), "m", overwrite=True)


def test_comments_quotes_and_the_order_of_keys_are_kept() -> None:
    fields = "# Who may use it?\nlicense: 'mit'  # see LICENSE\nsize: 1\ntags:\n- one  # the first\n"
    merged = merge_metadata(
        f"---\n{fields}---\n# Title\n", {"license": "mit", "size": 2, "long": "word " * 40}, "m", overwrite=True
    )
    assert merged == f"---\n{fields.replace('size: 1', 'size: 2')}long: '{'word ' * 40}'\n---\n# Title\n"


def test_lines_that_do_not_change_and_the_text_below_stay_byte_for_byte() -> None:
    text = "---\nlicense:   mit\n---\n# T\r\nLine\r\n"
    assert merge_metadata(text, {"license": "mit"}, "m", overwrite=False) == text
    merged = merge_metadata(text, {"size": 1}, "m", overwrite=False)
    assert merged == "---\nlicense:   mit\nsize: 1\n---\n# T\r\nLine\r\n"


@pytest.mark.parametrize("text", ["no", "On", "12:30", "2024-01-01", "1e3", "true", "0123", "null", "", "a: b", "x"])
def test_a_string_stays_a_string_for_readers_of_yaml_1_1(text: str) -> None:
    merged = merge_metadata("# T\n", {"language": text, "tags": [text]}, "m", overwrite=False)
    assert yaml.safe_load(merged.split("---\n")[1]) == {"language": text, "tags": [text]}


BOTH = """
import sys, yaml, importlib
module = importlib.import_module(sys.argv[1])
for metadata, overwrite in yaml.safe_load(sys.argv[2]):
    module.metadata_update(sys.argv[3], metadata, overwrite=overwrite)
"""


def test_the_stock_client_comes_to_the_same_front_matter(api: HfApi, local_hub: LocalHub, tmp_path: Path) -> None:
    steps = [
        [{"language": "en"}, False],
        [{"tags": ["two"], "license": "mit"}, True],
        [index(result(0.5)), False],
        [index(result(0.6, "f1"), result(0.1, dataset="e")), False],
        [index(result(0.9)), True],
    ]
    found = {}
    for module in ("hubspool", "huggingface_hub"):
        repo = f"local/{module.replace('_', '-')}"
        api.create_repo(repo)
        api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo="README.md", repo_id=repo)
        environment = {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_TOKEN": local_hub.token}
        command = [sys.executable, "-c", BOTH, module, yaml.safe_dump(steps), repo]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        fields, body = card(api, tmp_path, repo)
        entries = fields.pop("model-index")[0]["results"]
        values = {(e["dataset"]["name"], m["type"]): m["value"] for e in entries for m in e["metrics"]}
        found[module] = (fields, values, body)
    assert found["hubspool"] == found["huggingface_hub"]


def test_the_function_is_that_of_the_package() -> None:
    assert hubspool.metadata_update.__func__ is HfApi.metadata_update
