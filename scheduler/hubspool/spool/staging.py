"""Encoded files on this disk: staged before they are sent, kept until they are acknowledged."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

import orjson

from hubspool.files import has_content, sha256_of, sync_file, sync_folder

_MANIFEST = ".json"


@dataclass(frozen=True)
class StagedFile:
    """An encoded file, as its manifest describes it.

    Args:
        source: the segment's path in the folder.
        start, end: range of the segment that the file encodes, in bytes.
        path: the part's path in the repository.
        lines: sha256 of the range.
        sha256, size: of the file, in hex digits and bytes.
    """

    source: str
    start: int
    end: int
    path: str
    lines: str
    sha256: str = ""
    size: int = 0


class StagingFolder:
    """Keeps encoded files, each with a manifest, until no part needs them.

    Losing them loses no row: the lines stay in their segment until the part is acknowledged, and a second encoding has
    the same rows. A commit of unknown outcome is repeated with the same bytes as long as its file is here.

    Used by the pushing thread only.

    Args:
        folder: one for each target; created by the first file.
        suffix: of the files, without the dot.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix

    def path_of(self, part_path: str, end: int) -> Path:
        """Return the path of the file for a part that ends at `end`."""
        return self.folder / f"{PurePosixPath(part_path).stem}-{end}.{self.suffix}"

    def find(self, path: Path) -> StagedFile | None:
        """Return the manifest of a file; None if the file has other bytes: a power loss may have left less of it."""
        staged = _manifest(path)
        with suppress(OSError):
            if staged and path.stat().st_size == staged.size and has_content(path, staged.size, staged.sha256):
                return staged
        return None

    def new_file(self) -> Path:
        """Return a hidden, unused path in the folder, for a file that `add` then renames."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f".{uuid.uuid4().hex}"

    def add(self, hidden: Path, staged: StagedFile) -> StagedFile:
        """Sync the file at `hidden`, give it its name and a manifest; return `staged` with its size and hash."""
        path = self.path_of(staged.path, staged.end)
        size = hidden.stat().st_size
        staged = replace(staged, size=size, sha256=sha256_of(hidden, 0, size))
        _publish(hidden, path)
        hidden.write_bytes(orjson.dumps(asdict(staged)))
        _publish(hidden, _manifest_path(path))
        sync_folder(self.folder)
        return staged

    def remove_superseded(self, part_path: str, needed_ends: Collection[int]) -> None:
        """Remove the files of a part for other ends: an outage would fill the disk with them."""
        needed = {self.path_of(part_path, end).name for end in needed_ends}
        prefix = f"{PurePosixPath(part_path).stem}-"
        for path in self._files():
            if path.name.startswith(prefix) and path.name not in needed:
                _remove(path)

    def clean_up(self, needed: Collection[str], sent: Mapping[str, int], folder: Path) -> None:
        """Remove the files that no part needs.

        Args:
            needed: names of the files that parts need.
            sent: source → the end of its acknowledged parts, in bytes.
            folder: the folder of the segments.
        """
        for path in self._files():
            staged = _manifest(path)
            if staged is None or (path.name not in needed and not _is_pending(staged, sent, folder)):
                _remove(path)

    def _files(self) -> list[Path]:
        """Return the staged files, and what a crash left unfinished, which has no manifest."""
        with suppress(FileNotFoundError):
            found = list(self.folder.iterdir())
            names = {path.name for path in found}
            return [p for p in found if p.suffix != _MANIFEST or p.name.removesuffix(_MANIFEST) not in names]
        return []


def _is_pending(staged: StagedFile, sent: Mapping[str, int], folder: Path) -> bool:
    """Return True if a later push of this process or the next one will send the file."""
    return staged.end > sent.get(staged.source, 0) and (folder / staged.source).exists()


def _manifest(path: Path) -> StagedFile | None:
    try:
        return StagedFile(**orjson.loads(_manifest_path(path).read_bytes()))
    except (OSError, ValueError, TypeError):  # none, or half of one
        return None


def _manifest_path(path: Path) -> Path:
    return path.with_name(path.name + _MANIFEST)


def _publish(hidden: Path, path: Path) -> None:
    sync_file(hidden)
    hidden.replace(path)


def _remove(path: Path) -> None:
    _manifest_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
