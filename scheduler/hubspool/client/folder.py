"""What of a local folder is to be uploaded, and what on the Hub it replaces."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from hubspool.client.operations import CommitOperationAdd, CommitOperationDelete
from hubspool.client.patterns import Patterns, path_filter
from hubspool.client.validation import FORBIDDEN_FOLDERS, check_path_in_repo
from hubspool.errors import HFValidationError

logger = logging.getLogger(__name__)

#: Entries of one folder from which on the Hub gets slow.
FILES_PER_FOLDER = 10_000


def find_files(
    folder_path: str | Path, allow_patterns: Patterns = None, ignore_patterns: Patterns = None
) -> dict[str, Path]:
    """Return the files of a folder that the patterns choose: path in the folder with ``/`` → local path, sorted.

    Files in a folder named ``.git`` or ``.cache``, wherever it is, are never among them. Links to files count as the
    files that they lead to; links to folders are not followed.

    Raises:
        HFValidationError: It is no folder, or holds a name that the Hub does not take.
    """
    root = Path(folder_path).expanduser()
    if not root.is_dir():
        problem = "is a file" if root.exists() else "is not there"
        raise HFValidationError(f"Not a local folder: {str(folder_path)!r} {problem}.", path=root)
    root = root.resolve()
    chosen = path_filter(allow_patterns, ignore_patterns)
    found = {path: local for path, local in sorted(_walk(root, "")) if chosen(path)}
    outside = [path for path, local in found.items() if local.is_symlink() and root not in local.resolve().parents]
    if outside:
        logger.warning("%d links lead out of %s; what they lead to is sent, first %s.", len(outside), root, outside[0])
    for name, count in Counter(path.rpartition("/")[0] for path in found).items():
        if count > FILES_PER_FOLDER:
            logger.warning("%s/ has %d files; the Hub advises at most %d a folder.", name, count, FILES_PER_FOLDER)
    return found


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower() in FORBIDDEN_FOLDERS:
                continue
            path = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{path}/")
            elif entry.is_file():
                yield path, folder / entry.name
            elif entry.is_symlink() and not entry.is_dir():
                logger.warning("%s leads nowhere; it is not sent.", path)


def in_folder(path_in_repo: str | None, path: str) -> str:
    """Return where `path` goes when its folder goes to `path_in_repo` (None, ``""``, ``.`` and ``./``: the root)."""
    inner = (path_in_repo or "").removeprefix("./").strip("/")
    return path if inner in ("", ".") else f"{inner}/{path}"


def folder_additions(files: dict[str, Path], path_in_repo: str | None) -> list[CommitOperationAdd]:
    """Return an addition for each file.

    Raises:
        HFValidationError: A name is none for the Hub.
    """
    return [CommitOperationAdd(in_folder(path_in_repo, path), local) for path, local in files.items()]


def folder_deletions(
    remote: Iterable[str], path_in_repo: str | None, patterns: Patterns
) -> list[CommitOperationDelete]:
    """Return the deletion of each remote file below `path_in_repo` that the patterns choose.

    ``.gitattributes`` stays in any case: without it the repository does not work.
    """
    prefix = in_folder(path_in_repo, "")
    if prefix:
        check_path_in_repo(prefix, folder_allowed=True)
    chosen = path_filter(patterns)
    return [
        CommitOperationDelete(path, is_folder=False)
        for path in remote
        if path.startswith(prefix) and chosen(path[len(prefix) :]) and path != ".gitattributes"
    ]
