"""Lists the files of a local folder to upload, and the files on the Hub to delete with them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from hubspool.client.defaults import DEFAULTS
from hubspool.client.operations import CommitOperationDelete
from hubspool.client.patterns import Patterns, path_filter
from hubspool.client.validation import FORBIDDEN_FOLDERS, check_path_in_repo
from hubspool.errors import HFValidationError
from hubspool.files import is_spool

logger = logging.getLogger(__name__)


def find_files(
    folder_path: str | Path, allow_patterns: Patterns = None, ignore_patterns: Patterns = None
) -> dict[str, Path]:
    """Return the files of a folder that the patterns select: path in the folder with ``/`` → local path, sorted.

    Files in folders named ``.git`` or ``.cache``, at any depth, are left out, as are spools of rows. A link to a file
    counts as that file; links to folders are not followed.

    Raises:
        HFValidationError: `folder_path` is not a folder.
    """
    root = Path(folder_path).expanduser()
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise HFValidationError(f"Not a local folder: {str(folder_path)!r} {problem}.", path=root)
    root = root.resolve()
    selected = path_filter(allow_patterns, ignore_patterns)
    found = {path: local for path, local in sorted(_walk(root, "")) if selected(path)}
    outside = [path for path, local in found.items() if local.is_symlink() and root not in local.resolve().parents]
    if outside:
        logger.warning("Links out of %s are followed: %d, first %s.", root, len(outside), outside[0])
    for name, count in full_folders(found, DEFAULTS.files_per_folder + 1).items():
        logger.warning("%s/ has %d entries; the Hub takes %d in a folder.", name, count, DEFAULTS.files_per_folder)
    return found


def full_folders(paths: Iterable[str], least: int = DEFAULTS.nearly_full_folder) -> dict[str, int]:
    """Return folder → number of files and folders in it, for the folders of `paths` with at least so many."""
    counts: Counter[str] = Counter()
    seen = {""}
    for path in paths:
        entry = path
        while entry not in seen:
            seen.add(entry)
            entry = entry.rpartition("/")[0]
            counts[entry] += 1
    return {folder: count for folder, count in counts.items() if count >= least}


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower() in FORBIDDEN_FOLDERS:
                continue
            path = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if not is_spool(folder / entry.name):
                    yield from _walk(folder / entry.name, f"{path}/")
            elif entry.is_file():
                yield path, folder / entry.name
            elif entry.is_symlink() and not entry.is_dir():
                logger.warning("%s is a broken link; it is not sent.", path)


def in_folder(path_in_repo: str | None, path: str) -> str:
    """Return the path in the repository of a folder's `path`; None, ``""``, ``.`` and ``./`` mean the root."""
    inner = (path_in_repo or "").removeprefix("./").strip("/")
    return path if inner in ("", ".") else f"{inner}/{path}"


def folder_deletions(
    remote: Iterable[str], path_in_repo: str | None, patterns: Patterns
) -> list[CommitOperationDelete]:
    """Return the deletion of each remote file below `path_in_repo` that the patterns select.

    ``.gitattributes`` is never deleted: the repository does not work without it.
    """
    prefix = in_folder(path_in_repo, "")
    if prefix:
        check_path_in_repo(prefix, folder_allowed=True)
    selected = path_filter(patterns, as_git=False)
    return [
        CommitOperationDelete(path, is_folder=False)
        for path in remote
        if path.startswith(prefix) and selected(path[len(prefix) :]) and path != ".gitattributes"
    ]
