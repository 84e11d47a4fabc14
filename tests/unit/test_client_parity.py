"""The names and signatures that we share with huggingface_hub, and every difference with its reason."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import huggingface_hub
import pytest

import hubspool

#: Parameters that only one side has.
DIFFERENCES = {
    "create_commit": ({"_hot_reload"}, "private there: for Spaces in development mode"),
    "upload_file": ({"_hot_reload"}, "private there: for Spaces in development mode"),
    "create_repo": (
        {
            "visibility",
            "resource_group_id",
            "region",
            "space_hardware",
            "space_sleep_time",
            "space_secrets",
            "space_variables",
            "space_volumes",
            "space_template",
        },
        "left out: settings of organizations and of running Spaces",
    ),
    "create_bucket": (
        {"visibility", "resource_group_id", "region"},
        "left out: settings of organizations, and another word for private",
    ),
    "hf_hub_download": ({"etag_timeout", "tqdm_class", "dry_run"}, "one file into local_dir, without cache and bars"),
    "preupload_lfs_files": ({"gitattributes_content", "options"}, "ours: rules of a later commit; how to send"),
    "CommitOperationCopy": ({"_src_oid", "_dest_oid", "_is_duplicated"}, "private there: state, not arguments"),
}
#: Calls around a repository that huggingface_hub has and ours leave out on purpose.
LEFT_OUT = {
    "move_repo": "done once, on the website",
    "update_repo_settings": "done once, on the website",
    "list_buckets": "a scheduler has one",
    "move_bucket": "done once, on the website",
    "update_bucket_settings": "done once, on the website",
    "copy_files": "batch_bucket_files copies by hash",
    "sync_bucket": "a scheduler sends what it has",
    "get_bucket_file_metadata": "get_bucket_paths_info tells the same",
    "auth_check": "the first commit tells the same",
    "create_discussion": "a pull request is all that a commit needs",
    "get_repo_discussions": "a pull request is all that a commit needs",
    "comment_discussion": "a pull request is all that a commit needs",
    "change_discussion_status": "a pull request is all that a commit needs",
}
#: Public names of ours that huggingface_hub does not have.
OURS = {
    "bucket_url": "address of a bucket's API routes",
    "client": "HTTP client for requests that no method covers",
    "target": "addresses of a repository's API routes",
    "interrupt": "ends waits and transfers of a scheduler that stops",
    "metadata_update": "there only a function of the module, which hubspool has too",
    "upload_large_folder": "in huggingface_hub 1.x, gone from 2.x",
}
#: All functions of huggingface_hub for the calls above, but for `repo_info`: a module of ours has this name.
FUNCTIONS = [
    "create_branch", "create_commit", "create_pull_request", "create_repo", "create_tag", "delete_branch",
    "delete_file", "delete_files", "delete_folder", "delete_repo", "delete_tag", "file_exists",
    "get_discussion_details", "get_paths_info", "hf_hub_download", "list_repo_commits", "list_repo_files",
    "list_repo_refs", "list_repo_tree", "merge_pull_request", "metadata_update", "preupload_lfs_files",
    "repo_exists", "revision_exists", "run_as_future", "super_squash_history", "upload_file", "upload_folder",
    "upload_large_folder", "whoami",
]  # fmt: skip
CLASSES = [
    "CommitEvent", "CommitInfo", "CommitOperationAdd", "CommitOperationCopy", "CommitOperationDelete", "CommitPlan",
    "CommitScheduler", "ErrorEvent", "FlushTimeout", "HfApi", "HubspoolError", "SchedulerStatus", "SpoolFull", "State",
]  # fmt: skip
METHODS = [name for name in dir(hubspool.HfApi) if not name.startswith("_")]


def parameters(function: Any, without: set[str]) -> list[tuple[str, str, object]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind.name, each.default) for each in found if each.name not in without]


def compare(name: str, ours: Any, stock: Any) -> None:
    allowed, _ = DIFFERENCES.get(name, (set(), ""))
    assert parameters(ours, allowed) == parameters(stock, allowed)
    assert allowed <= {parameter for side in (ours, stock) for parameter in inspect.signature(side).parameters}


def test_the_public_names_are_these() -> None:
    assert sorted(hubspool.__all__) == sorted([*CLASSES, *FUNCTIONS])
    assert set(hubspool.__all__) <= set(dir(hubspool))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OURS])
def test_methods_have_the_signatures_of_the_stock_client(name: str) -> None:
    compare(name, getattr(hubspool.HfApi, name), getattr(huggingface_hub.HfApi, name))


@pytest.mark.parametrize("name", ["CommitOperationAdd", "CommitOperationCopy", "CommitOperationDelete", "HfApi"])
def test_classes_have_the_signatures_of_the_stock_client(name: str) -> None:
    compare(name, getattr(hubspool, name), getattr(huggingface_hub, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_methods_of_one_client(name: str) -> None:
    function = getattr(hubspool, name)
    assert function.__self__ is hubspool.whoami.__self__
    assert function.__func__ is getattr(hubspool.HfApi, name)
    assert name in OURS or hasattr(huggingface_hub.HfApi, name)


def test_metadata_update_has_the_signature_of_the_stock_function() -> None:
    compare("metadata_update", hubspool.metadata_update, huggingface_hub.metadata_update)


def test_what_is_only_ours_is_listed_with_its_reason() -> None:
    assert {name for name in METHODS if not hasattr(huggingface_hub.HfApi, name)} == set(OURS)


def test_what_is_left_out_is_listed_with_its_reason() -> None:
    assert all(hasattr(huggingface_hub.HfApi, name) for name in LEFT_OUT)
    assert not set(LEFT_OUT) & {*METHODS, *hubspool.__all__}


def test_background_calls_are_those_of_the_stock_client() -> None:
    def in_background(api: type) -> set[str]:
        shared = [getattr(api, name) for name in METHODS if callable(getattr(api, name, None))]
        return {each.__name__ for each in shared if "run_as_future" in inspect.signature(each).parameters}

    assert in_background(hubspool.HfApi) == in_background(huggingface_hub.HfApi)


def test_upload_large_folder_is_that_of_huggingface_hub_1() -> None:
    names = [name for name, _, _ in parameters(hubspool.HfApi.upload_large_folder, {"self"})]
    assert names == [
        *("repo_id", "folder_path", "repo_type", "revision", "private", "allow_patterns", "ignore_patterns"),
        *("num_workers", "print_report", "print_report_every"),
    ]


def test_functions_follow_the_address_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert hubspool.whoami.__self__.endpoint == "http://127.0.0.1:1"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:2")
    assert hubspool.whoami.__self__.endpoint == "http://127.0.0.1:2"
    assert hubspool.create_repo.__self__ is hubspool.run_as_future.__self__


CHECKED = """
from concurrent.futures import Future
from hubspool import CommitInfo, HfApi
api = HfApi()
now: CommitInfo = api.upload_file(path_or_fileobj=b"", path_in_repo="x", repo_id="u/r")
later: Future[CommitInfo] = api.upload_file(path_or_fileobj=b"", path_in_repo="x", repo_id="u/r", run_as_future=True)
wrong: int = api.upload_file(path_or_fileobj=b"", path_in_repo="x", repo_id="u/r")
api.upload_folder(folder="x")
"""


def test_type_checkers_see_what_background_calls_return(tmp_path: Any) -> None:
    (tmp_path / "checked.py").write_text(CHECKED)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "checked.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    lines = [line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line]
    assert lines == ["7", "8"], done.stdout + done.stderr
