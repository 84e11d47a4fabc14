"""Decides for each file of an upload: in git or in LFS, and ignored or not."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Mapping

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.attributes import GitAttributes
from hubspool.local_hub.services.patterns import IgnoreRules, MatchBudget
from hubspool.local_hub.services.repositories import Repository


class UploadModeRules:
    """The rules of one commit; a `.gitignore` or `.gitattributes` in `given` replaces the committed one."""

    def __init__(self, repo: Repository, commit: str, given: Mapping[str, str]) -> None:
        self._repo, self._git = repo, repo.git
        self._root = root = repo.git.commit(commit).root
        names = (".gitignore", ".gitattributes")
        ignore, rules = (given[name] if name in given else repo.git.text(root, name) or "" for name in names)
        self._ignore = IgnoreRules(ignore.splitlines())
        self._attributes = GitAttributes(rules)
        self._budget = MatchBudget()

    def decide(self, path: str, size: int, sample: bytes) -> dict[str, object]:
        """Return how a file is uploaded, in the form of the answer to a preupload request.

        The rules, the size and the first bytes decide, so that the same file always gets the same answer.

        Args:
            path: path of the file in the repository.
            size: bytes of the file.
            sample: its first bytes.

        Raises:
            ApiError: as `MatchBudget.spend`.
        """
        is_binary = size > LIMITS.binary_file and not is_text(sample)
        lfs = size > 0 and (self._attributes.is_lfs(path, self._budget) or size > LIMITS.regular_file or is_binary)
        return {
            "path": path,
            "uploadMode": "lfs" if lfs else "regular",
            "shouldIgnore": self._ignore.ignores(path, self._budget),
            "oid": self._oid(path, lfs=lfs),
        }

    def _oid(self, path: str, *, lfs: bool) -> str | None:
        """Return the SHA-256 (LFS) or blob id (git) of the file at `path`; None if absent or in the other form."""
        entry = self._git.entry(self._root, path)
        if entry is None or entry.is_folder:
            return None
        _, pointer = self._repo.describe_blob(entry.oid)
        if lfs:
            return pointer.sha256 if pointer else None
        return entry.oid if pointer is None else None


def is_text(sample: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8; the last character of a full sample may be incomplete."""
    if b"\0" in sample:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=len(sample) < LIMITS.sample)
    except UnicodeDecodeError:
        return False
    return True


def decode_sample(text: str) -> bytes:
    """Return the bytes of a base64 sample; an invalid one counts as empty, since it is only a hint."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""
