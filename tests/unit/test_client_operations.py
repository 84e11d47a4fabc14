"""Operations and ranges: what they refuse, what they read, and that a file may grow meanwhile."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path

import pytest

from hubspool.client.commit import CommitBody, CommitRequest, check_operations, select_changes
from hubspool.client.defaults import DEFAULTS
from hubspool.client.file_range import FileRange
from hubspool.client.operations import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from hubspool.client.repo_info import CommitInfo, RepoUrl
from hubspool.client.target import Target
from hubspool.client.validation import (
    check_commit_id,
    check_repo_id,
    check_repo_type,
    check_revision,
    split_destination,
)
from hubspool.errors import FileChangedError, FileReplacedError, FileShrankError, HFValidationError, LocalFileError

BAD_PATHS = [
    "", ".", "./", "/etc/passwd", "..", "../x", "a/../x", "a/..", "a//b", "a/./b", "folder/", "a\\b", "..\\x",
    ".git/config", "a/.git/config", ".GIT/x", ".cache/x", "a\nb", "a\0b", "\ud800", 7, None,
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_is_no_place_for_a_file_is_refused_by_value(path: object) -> None:
    with pytest.raises(HFValidationError) as caught:
        CommitOperationAdd(path, b"")  # type: ignore[arg-type]
    assert repr(path) in str(caught.value)


def test_good_paths_stay_as_they_are_but_for_a_leading_dot() -> None:
    for path in ("a", "a/b.txt", ".gitattributes", "a b/ü.txt", "...", "a..b"):
        assert CommitOperationAdd(path, b"").path_in_repo == path
    assert CommitOperationAdd("./a/b", b"").path_in_repo == "a/b"


def test_a_deletion_knows_a_folder_by_its_slash() -> None:
    assert CommitOperationDelete("logs/").is_folder is True
    assert CommitOperationDelete("logs").is_folder is False
    assert CommitOperationDelete("logs", is_folder=True).is_folder is True
    for bad in ("", "/", "../", "a//"):
        with pytest.raises(HFValidationError):
            CommitOperationDelete(bad)


@pytest.mark.parametrize("bad", ["", "a/b/c", "a b", "-a", "a.", "a--b", "u/..", "x" * 97, "u/x.git", "/a", 3, None])
def test_a_bad_repository_id_is_refused_by_value(bad: object) -> None:
    with pytest.raises(HFValidationError) as caught:
        check_repo_id(bad)
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("hf://bucket/o/n", "'hf://buckets/o/n'"),
        ("buckets/o/n", "'hf://buckets/o/n'"),
        ("hf:/buckets/o/n/votes/a", "'hf://buckets/o/n/votes/a'"),
        ("https://huggingface.co/buckets/o/n", "'hf://buckets/o/n'"),
        ("http://127.0.0.1:8000/buckets/o/n/tree/votes?x=1", "'hf://buckets/o/n'"),
        ("hf://datasets/o/n@main/data", "'o/n'"),
        ("datasets/o/n", "'o/n'"),
        ("https://huggingface.co/datasets/o/n/tree/main", "'o/n'"),
        ("https://huggingface.co/api/datasets/o/n", "'o/n'"),
        ("https://huggingface.co/o/n", "'o/n'"),
        ("hf://spaces/o/n", "'o/n'"),
        ("a/b/c", "'name' or 'user/name'"),
        ("hf://buckets/o/n", "'name' or 'user/name'"),  # where only a repository will do
    ],
)
def test_an_address_that_is_no_id_is_refused_with_the_right_form(address: str, form: str) -> None:
    with pytest.raises(HFValidationError, match=rf"^Not a repository id: .* {form}\.$"):
        check_repo_id(address)


@pytest.mark.parametrize("repo_type", ["model", "space"])
def test_a_bucket_is_of_no_other_type(repo_type: str) -> None:
    with pytest.raises(HFValidationError, match=f"repo_type is '{repo_type}', and hf://buckets/o/n is a bucket"):
        split_destination("hf://buckets/o/n", repo_type, None)
    for usual in (None, "dataset", "bucket"):
        assert split_destination("hf://buckets/o/n", usual, None) == ("o/n", "bucket", None)


def test_good_repository_ids() -> None:
    for good in ("a", "user/name", "u-1/n_2.x", "x" * 96, "__DUMMY__/_x_"):
        assert check_repo_id(good) == good


def test_types_revisions_and_commits_are_checked() -> None:
    assert check_repo_type(None) == "model"
    assert check_revision(None) == "main"
    with pytest.raises(HFValidationError, match="'datasets'"):
        check_repo_type("datasets")
    with pytest.raises(HFValidationError, match="revision"):
        check_revision(" ")
    with pytest.raises(HFValidationError, match="'HEAD~1'"):
        check_commit_id("HEAD~1")
    with pytest.raises(HFValidationError, match="commit_message"):
        CommitRequest("")


def test_a_revision_is_one_segment_of_an_address() -> None:
    target = Target.of("http://h", "u/d", "dataset", "refs/pr/1")
    assert target.route("commit") == "http://h/api/datasets/u/d/commit/refs%2Fpr%2F1"
    assert target.file_url("a b/c.txt") == "http://h/datasets/u/d/resolve/refs%2Fpr%2F1/a%20b/c.txt"


def test_every_kind_of_content_reads_the_same(tmp_path: Path) -> None:
    data = os.urandom(2 * DEFAULTS.block_bytes + 17)
    file = tmp_path / "f"
    file.write_bytes(b"head" + data + b"tail")
    (tmp_path / "g").write_bytes(data)
    with (tmp_path / "g").open("rb") as opened:
        opened.seek(5)
        kinds = [data, FileRange(file, 4, 4 + len(data)), tmp_path / "g", str(tmp_path / "g"), opened, io.BytesIO(data)]
        for kind in kinds:
            addition = CommitOperationAdd("x", kind)
            assert addition.size == len(data)
            assert addition.sample == data[:512]
            assert b"".join(addition.blocks()) == data
            assert b"".join(addition.blocks(100, 300_000)) == data[100:300_000]
            assert addition.sha256 == hashlib.sha256(data).hexdigest()
            header = b"blob %d\0" % len(data)
            assert addition.git_blob_id == hashlib.sha1(header + data).hexdigest()


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "f").write_bytes(b"x")
    assert CommitOperationAdd("x", "~/f").size == 1


def test_what_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    class NoSeek(io.RawIOBase):
        pass

    for bad in (str(tmp_path), str(tmp_path / "absent"), io.StringIO("text"), NoSeek(), 5, None):
        with pytest.raises(HFValidationError):
            CommitOperationAdd("x", bad)  # type: ignore[arg-type]


def test_a_file_that_grows_is_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"one\n")
    addition = CommitOperationAdd("log", file)
    with file.open("ab") as log:
        log.write(b"two\n")
    assert b"".join(addition.blocks()) == b"one\n"


def test_a_file_that_was_replaced_or_cut_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"one\ntwo\n")
    replaced = CommitOperationAdd("log", file)
    cut = CommitOperationAdd("log", FileRange(file, 0, 8))
    os.truncate(file, 4)
    with pytest.raises(FileShrankError, match="has 4 bytes, but 8"):
        list(cut.blocks())
    other = tmp_path / "other"
    other.write_bytes(b"one\ntwo\n")
    other.replace(file)
    with pytest.raises(FileReplacedError):
        list(replaced.blocks())
    file.unlink()
    with pytest.raises(LocalFileError, match="cannot be read"):
        list(cut.blocks())
    os.mkfifo(file)  # to open it would wait for a writer
    with pytest.raises(LocalFileError, match="not a regular file"):
        list(cut.blocks())


def test_a_range_that_is_cut_while_it_is_read_never_looks_complete(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"x" * 100_000)
    with FileRange(file, 0, 100_000).open() as stream:
        assert stream.read(10) == b"x" * 10
        os.truncate(file, 50_000)
        with pytest.raises(FileShrankError):
            stream.read()


def test_a_range_seeks_and_stays_inside_its_bounds(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"0123456789")
    with FileRange(file, 2, 8).open() as stream:
        assert stream.read() == b"234567"
        assert stream.read() == b""
        assert stream.seek(-2, io.SEEK_END) == 4
        assert stream.read(10) == b"67"
        stream.seek(1)
        assert stream.read(2) == b"34"
    with pytest.raises(ValueError, match="Not a range"):
        FileRange(file, 3, 2)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
def test_many_ranges_hold_no_descriptors(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 10)
    before = len(list(Path("/proc/self/fd").iterdir()))
    additions = [CommitOperationAdd(f"{n}", FileRange(file, 0, n % 10)) for n in range(2000)]
    assert sum(len(b"".join(addition.blocks())) for addition in additions) == 9000
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_an_operation_pickles(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    copy = pickle.loads(pickle.dumps(CommitOperationAdd("x", tmp_path / "f")))
    assert b"".join(copy.blocks()) == b"content"


def regular(path: str, content: bytes | Path) -> CommitOperationAdd:
    addition = CommitOperationAdd(path, content)
    addition.set_upload_mode("regular")
    return addition


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        2,
        3,
        DEFAULTS.block_bytes - 1,
        DEFAULTS.block_bytes,
        DEFAULTS.block_bytes + 1,
        3 * DEFAULTS.block_bytes + 2,
    ],
)
def test_a_commits_body_is_as_long_as_it_says(size: int) -> None:
    additions = [regular("ä/x.txt", os.urandom(size)), CommitOperationDelete("old/")]
    body = CommitBody(CommitRequest("m", "line\nline", "a" * 40), additions)
    assert len(b"".join(body)) == len(body)
    assert b"".join(body) == b"".join(body)


def test_content_that_was_rewritten_breaks_the_body_before_its_end(tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    file.write_bytes(b"a" * 1000)
    addition = regular("f.txt", file)
    assert addition.git_blob_id
    with file.open("r+b") as rewritten:
        rewritten.write(b"b")
    body = CommitBody(CommitRequest("m"), [addition])
    sent = b""
    with pytest.raises(FileChangedError):
        for block in body:
            sent += block
    assert len(sent) < len(body)


def test_only_what_changes_something_is_committed() -> None:
    same, new, ignored, replaced = (regular(name, name.encode()) for name in ("same", "new", "ignored", "d/replaced"))
    same.set_upload_mode("regular", remote_oid=same.git_blob_id)
    new.set_upload_mode("regular", remote_oid="0" * 40)
    ignored.set_upload_mode("regular", should_ignore=True)
    replaced.set_upload_mode("regular", remote_oid=replaced.git_blob_id)
    deletion = CommitOperationDelete("d/")
    assert select_changes([deletion, same, new, ignored, replaced]) == [deletion, new, replaced]


def test_operations_are_checked_before_anything_is_sent() -> None:
    done = CommitOperationAdd("x", b"")
    done.is_committed = True
    for bad in (done, "not an operation"):
        with pytest.raises(HFValidationError):
            check_operations([bad])  # type: ignore[list-item]
    with pytest.warns(UserWarning, match="'x'"):
        check_operations([CommitOperationAdd("x", b"1"), CommitOperationAdd("x", b"2")])
    with pytest.raises(HFValidationError, match="Give both"):
        CommitOperationCopy("a", "b", src_repo_id="u/r")


def test_content_that_was_let_go_keeps_what_the_commit_needs() -> None:
    addition = CommitOperationAdd("x.bin", b"content")
    addition.set_upload_mode("lfs")
    digest = addition.sha256
    addition.release()
    assert addition.path_or_fileobj == b""
    assert (addition.size, addition.content_id) == (7, digest)


@pytest.mark.parametrize(
    ("url", "repo_type", "repo_id"),
    [
        ("http://h:1/u/m", "model", "u/m"),
        ("http://h:1/datasets/u/d", "dataset", "u/d"),
        ("http://h:1/spaces/u/s", "space", "u/s"),
        ("http://h:1/gpt2", "model", "gpt2"),
    ],
)
def test_an_address_of_a_repository_has_parts(url: str, repo_type: str, repo_id: str) -> None:
    for parsed in (RepoUrl(url), RepoUrl(url, "http://h:1"), pickle.loads(pickle.dumps(RepoUrl(url)))):
        assert (parsed, parsed.repo_type, parsed.repo_id) == (url, repo_type, repo_id)
        assert parsed.endpoint == "http://h:1"


def test_a_commit_knows_its_pull_request() -> None:
    info = CommitInfo("c", "m", "", "0" * 40, RepoUrl("http://h/u/r"), pr_url="http://h/u/r/discussions/12")
    assert (info.pr_num, info.pr_revision, str(info)) == (12, "refs/pr/12", "c")
