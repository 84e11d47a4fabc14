"""Whether an open file was removed or moved, and how a removed segment is written again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubspool.errors import FilesMissingError
from hubspool.files import is_in_place
from hubspool.spool.rescue import Rescue, rescue_of
from hubspool.spool.segment_file import write_again


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "train.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"1\n2\n")
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    yield fd
    os.close(fd)


def test_a_file_is_in_place_while_its_path_names_it(path: Path, fd: int) -> None:
    assert is_in_place(path, fd)
    path.unlink()
    assert not is_in_place(path, fd)
    path.write_bytes(b"another\n")
    assert not is_in_place(path, fd)
    path.unlink()
    path.parent.rmdir()
    assert not is_in_place(path, fd)


def test_a_moved_file_is_named_with_its_place(path: Path, fd: int, tmp_path: Path) -> None:
    moved = path.parent.rename(tmp_path / "moved") / path.name
    with pytest.raises(FilesMissingError, match=str(moved)):
        is_in_place(path, fd)
    path.parent.mkdir()
    path.write_bytes(b"another\n")
    with pytest.raises(FilesMissingError, match=str(moved)):
        is_in_place(path, fd)
    moved.replace(path)
    assert is_in_place(path, fd)


def test_a_file_that_has_another_name_left_is_not_written_again(path: Path, tmp_path: Path) -> None:
    """As a segment, which is opened before it gets its name: the system does not tell where it is."""
    hidden = path.with_name(".hidden")
    path.rename(hidden)
    fd = os.open(hidden, os.O_RDWR)
    os.link(hidden, path)
    hidden.unlink()
    assert is_in_place(path, fd)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(FilesMissingError, match="was moved or removed"):
        is_in_place(path, fd)
    os.close(fd)


def test_nfs_names_a_removed_file_anew(path: Path, fd: int) -> None:
    path.rename(path.with_name(".nfs000000000000"))
    assert not is_in_place(path, fd)


@pytest.mark.parametrize(
    ("found", "left"),
    [(None, b"1\n2\n"), (b"", b"1\n2\n"), (b"1\n", b"1\n2\n"), (b"1\n2\n", b"1\n2\n"), (b"1\n2\n3\n", b"1\n2\n3\n")],
)
def test_a_removed_segment_is_written_again_over_nothing_but_its_own_beginning(
    path: Path, fd: int, found: bytes | None, left: bytes
) -> None:
    path.unlink()
    if found is not None:
        path.write_bytes(found)
    fresh = write_again(fd, path)
    assert fresh is not None
    assert path.read_bytes() == left
    assert os.path.samestat(os.fstat(fresh), path.stat())
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    os.close(fresh)


@pytest.mark.parametrize("found", [b"2\n", b"1\n3\n", b"3\n4\n5\n"])
def test_a_file_with_the_name_of_a_removed_segment_is_left_alone(path: Path, fd: int, found: bytes) -> None:
    path.unlink()
    path.write_bytes(found)
    assert write_again(fd, path) is None
    assert path.read_bytes() == found
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_has_one_rescue_while_somebody_uses_it(tmp_path: Path) -> None:
    first = rescue_of(tmp_path)
    assert rescue_of(tmp_path / "x" / "..") is first
    assert rescue_of(tmp_path / "x") is not first


def test_a_rescue_closes_its_descriptors_when_nobody_uses_it(path: Path) -> None:
    rescue = Rescue(path.parent)
    rescue.keep([path.name], {path.name: None})
    held = rescue._held
    (fd,) = held.values()
    assert os.fstat(fd).st_size
    del rescue
    assert not held
