"""Content is compared by hash; what is longer on the Hub is the only thing that is read from it."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from hubspool.files import has_content
from hubspool.push.compare import Relation, digests, relate
from hubspool.push.remote import RemoteFile

DATA = b"one\ntwo\nthree\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "rows.txt"
    found.write_bytes(DATA)
    return found


def remote(content: bytes) -> RemoteFile:
    return RemoteFile("rows.txt", len(content), sha256(content).hexdigest())


def git_id(content: bytes) -> str:
    command = ["git", "hash-object", "--stdin"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().strip()


def test_several_ends_are_read_in_one_pass(path: Path) -> None:
    found = digests(path, 4, [4, 8, 10, len(DATA)])
    assert [(each.sha256, each.rows) for each in found] == [
        (sha256(DATA[4:end]).hexdigest(), DATA[4:end].count(b"\n")) for end in (4, 8, 10, len(DATA))
    ]


def test_a_file_that_ends_early_is_told(path: Path) -> None:
    with pytest.raises(EOFError, match="15 were expected"):
        digests(path, 0, [4, 15])


def test_large_files_are_read_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "large"
    content = bytes(range(256)) * 20_000
    path.write_bytes(content)
    assert digests(path, 1, [3_000_000, len(content)])[1].sha256 == sha256(content[1:]).hexdigest()
    assert has_content(path, len(content), sha256(content).hexdigest())
    assert has_content(path, 2_000_001, git_id(content[:2_000_001]))


@pytest.mark.parametrize("size", [0, 4, len(DATA)])
def test_a_prefix_is_known_by_either_sort_of_id(size: int, path: Path) -> None:
    content = DATA[:size]
    for content_id in (sha256(content).hexdigest(), git_id(content)):
        assert has_content(path, size, content_id)
        assert not has_content(path, size, content_id[::-1])
    assert not has_content(path, len(DATA) + 1, sha256(DATA).hexdigest())


@pytest.mark.parametrize(
    ("theirs", "end", "expected"),
    [
        (DATA, len(DATA), Relation.EQUAL),
        (DATA[:8], 8, Relation.EQUAL),
        (DATA[:4], len(DATA), Relation.LOCAL_EXTENDS),
        (b"", len(DATA), Relation.LOCAL_EXTENDS),
        (b"six\n", len(DATA), Relation.DIVERGED),
        (DATA, 8, Relation.HUB_EXTENDS),
        (DATA + b"four\n", len(DATA), Relation.HUB_EXTENDS),
        (b"one\nsix\nthree\nfour\n", len(DATA), Relation.DIVERGED),
        (DATA, 0, Relation.HUB_EXTENDS),
        (b"", 0, Relation.EQUAL),
    ],
)
def test_how_a_local_file_relates_to_the_hubs(theirs: bytes, end: int, expected: Relation, path: Path) -> None:
    asked: list[int] = []

    def read(length: int) -> bytes:
        asked.append(length)
        return theirs[:length]

    assert relate(path, end, remote(theirs), read, 1000) is expected
    assert asked == ([end] if len(theirs) > end else [])


def test_nothing_there_is_absent_and_asks_nothing(path: Path) -> None:
    assert relate(path, 4, None, lambda length: pytest.fail("asked"), 1000) is Relation.ABSENT


def test_beyond_the_limit_nothing_is_downloaded(path: Path) -> None:
    assert relate(path, 8, remote(DATA), lambda length: pytest.fail("asked"), 7) is Relation.DIVERGED
