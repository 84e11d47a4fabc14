"""What programs written for huggingface_hub find in our client: answers in errors, the cache, cards, messages."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import huggingface_hub
import pytest

import hubspool
from hubspool import HfApi
from hubspool.local_hub import Fault, LocalHub

REPO = {"repo_type": "dataset"}
BAD_CARD = "---\nlicense: [\n---\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_error_carries_the_answer(hub_api: HfApi) -> None:
    with pytest.raises(hubspool.errors.RepositoryNotFoundError) as caught:
        hub_api.repo_info("local/none")
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert error.response.status_code == 404
        assert error.response.headers["x-error-code"] == "RepoNotFound"
        assert "Repository not found" in error.response.text
        assert error.response.json()["error"] == "Repository not found"


def test_the_answer_in_an_error_has_no_token(local_hub: LocalHub, hub_api: HfApi) -> None:
    echo = Fault(status=400, body=f"<p>you sent {local_hub.token}</p>", headers={"Location": "/x?sig=secret"})
    local_hub.faults.add(echo)
    with pytest.raises(hubspool.errors.BadRequestError) as caught:
        hub_api.repo_info("local/none")
    response = caught.value.response
    assert "you sent hf_***" in response.text
    assert local_hub.token not in repr(response)
    assert "secret" not in repr(response)


def test_a_connection_that_fails_has_no_answer() -> None:
    with pytest.raises(hubspool.errors.RequestError) as caught:
        HfApi(endpoint="http://127.0.0.1:1", token="hf_x").create_repo("a/b")
    assert caught.value.response is None


def test_a_file_is_in_the_cache_of_huggingface_hub(
    hub_api: HfApi, stock_api: huggingface_hub.HfApi, dataset: str, cache: Path, local_hub: LocalHub
) -> None:
    for path, content in (("a/b.txt", b"one"), ("big.bin", b"\0" * 2_000_000)):
        stock_api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=dataset, **REPO)
        ours = hub_api.hf_hub_download(dataset, path, **REPO)
        theirs = stock_api.hf_hub_download(dataset, path, cache_dir=cache, **REPO)
        assert ours == theirs
        assert Path(ours).read_bytes() == content
        found = stock_api.hf_hub_download(dataset, path, cache_dir=cache, local_files_only=True, **REPO)
        assert found == hub_api.hf_hub_download(dataset, path, local_files_only=True, **REPO)
    assert huggingface_hub.scan_cache_dir(cache).warnings == []
    stock_api.upload_file(path_or_fileobj=b"two", path_in_repo="a/b.txt", repo_id=dataset, **REPO)
    assert Path(hub_api.hf_hub_download(dataset, "a/b.txt", **REPO)).read_bytes() == b"two"
    assert Path(ours).is_file()
    commit = stock_api.repo_info(dataset, **REPO).sha
    at_commit = hub_api.hf_hub_download(dataset, "a/b.txt", revision=commit, **REPO)
    local_hub.stop()
    assert hub_api.hf_hub_download(dataset, "a/b.txt", revision=commit, **REPO) == at_commit
    with pytest.raises(hubspool.errors.LocalEntryNotFoundError):
        hub_api.hf_hub_download(dataset, "none", local_files_only=True, **REPO)


def test_a_file_of_the_other_client_is_not_downloaded_again(
    hub_api: HfApi, stock_api: huggingface_hub.HfApi, dataset: str, cache: Path
) -> None:
    stock_api.upload_file(path_or_fileobj=b"one", path_in_repo="a", repo_id=dataset, **REPO)
    theirs = Path(stock_api.hf_hub_download(dataset, "a", cache_dir=cache, **REPO))
    before = theirs.stat()
    assert hub_api.hf_hub_download(dataset, "a", **REPO) == str(theirs)
    assert theirs.stat() == before
    other = hub_api.hf_hub_download(dataset, "a", cache_dir=cache.with_name("other"), **REPO)
    assert Path(other).read_bytes() == b"one"


@pytest.mark.parametrize("call", ["upload_file", "upload_folder", "upload_large_folder"])
def test_a_card_with_invalid_metadata_is_refused_before_the_upload(
    call: str, hub_api: HfApi, dataset: str, tmp_path: Path, local_hub: LocalHub
) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "README.md").write_text(BAD_CARD)
    (tmp_path / "up" / "big.bin").write_bytes(b"\0" * 2_000_000)
    what = {"folder_path": tmp_path / "up"}
    if call == "upload_file":
        what = {"path_or_fileobj": BAD_CARD.encode(), "path_in_repo": "README.md"}
    with pytest.raises(ValueError, match="YAML"):
        getattr(hub_api, call)(repo_id=dataset, **what, **REPO)
    assert not {"preupload", "commit", "xet-xorb"} & {record.route for record in local_hub.requests}


def test_the_hub_refuses_a_commit_with_an_invalid_card(
    local_hub: LocalHub, stock_api: huggingface_hub.HfApi, dataset: str, http
) -> None:
    lines = [
        {"key": "header", "value": {"summary": "a"}},
        {"key": "file", "value": {"path": "README.md", "content": BAD_CARD, "encoding": "utf-8"}},
    ]
    url = f"{local_hub.endpoint}/api/datasets/{dataset}/commit/main"
    answer = http.post(url, data="\n".join(map(json.dumps, lines)))
    assert (answer.status_code, "Invalid metadata" in answer.json()["error"]) == (400, True)
    assert stock_api.list_repo_files(dataset, **REPO) == [".gitattributes"]


def test_default_messages_and_the_log_are_as_stock(
    hub_api: HfApi, stock_api: huggingface_hub.HfApi, dataset: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "up").mkdir()

    def titles(api: HfApi | huggingface_hub.HfApi, content: bytes) -> list[str]:
        (tmp_path / "up" / "a").write_bytes(content)
        api.upload_file(path_or_fileobj=content + b"1", path_in_repo="a", repo_id=dataset, **REPO)
        api.upload_folder(folder_path=tmp_path / "up", repo_id=dataset, **REPO)
        api.delete_file("a", dataset, **REPO)
        api.upload_folder(folder_path=tmp_path / "up", repo_id=dataset, path_in_repo="b", **REPO)
        api.delete_folder("b", dataset, **REPO)
        found = [commit.title for commit in stock_api.list_repo_commits(dataset, **REPO)[:5]]
        api.super_squash_history(dataset, **REPO)
        return [*found, stock_api.list_repo_commits(dataset, **REPO)[0].title]

    assert titles(hub_api, b"x") == titles(stock_api, b"y")
    said = []
    for api in (hub_api, stock_api):
        hub_api.upload_file(path_or_fileobj=b"same", path_in_repo="c", repo_id=dataset, **REPO)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            api.upload_file(path_or_fileobj=b"same", path_in_repo="c", repo_id=dataset, **REPO)
        said.append([record.getMessage() for record in caplog.records])
    assert said[0] == said[1] != []
