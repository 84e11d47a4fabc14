"""How each file of an upload will travel, and which files are left out."""

from __future__ import annotations

import base64
import binascii
import codecs
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from hubspool.local_hub.services.attributes import Attributes
from hubspool.local_hub.services.commit_writer import MAX_REGULAR
from hubspool.local_hub.services.content import Pointer
from hubspool.local_hub.services.repositories import Repository

BINARY_FROM = 1 << 20  # bytes; the real Hub's border is not published, small binary files have been seen to pass
SAMPLE = 512  # bytes of each file that clients send


@dataclass(frozen=True)
class Candidate:
    """A file that a client wants to upload; `sample` holds its first bytes."""

    path: str
    size: int
    sample: bytes


@dataclass(frozen=True)
class Verdict:
    """`oid` is what stands at the path now, in the form in which the file would travel; None when nothing does."""

    lfs: bool
    ignored: bool
    oid: str | None


class Preupload:
    """The rules of one revision, with what the request brings along taking precedence over what is committed."""

    def __init__(
        self, repo: Repository, commit: str, *, gitignore: str | None = None, gitattributes: str | None = None
    ) -> None:
        self._git = repo.git
        self._root = repo.git.commit(commit).root
        ignore = gitignore if gitignore is not None else self._text(".gitignore")
        self._ignore = GitIgnoreSpec.from_lines(ignore.splitlines())
        self._attributes = Attributes(gitattributes if gitattributes is not None else self._text(".gitattributes"))

    def _text(self, path: str) -> str:
        entry = self._git.entry(self._root, path)
        return "" if entry is None or entry.is_folder else self._git.blob(entry.oid).decode("utf-8", "replace")

    def judge(self, candidate: Candidate) -> Verdict:
        """Decide by rules, size and the first bytes only, so that the same file always gets the same answer."""
        lfs = candidate.size > 0 and (
            self._attributes.is_lfs(candidate.path)
            or candidate.size > MAX_REGULAR
            or (candidate.size > BINARY_FROM and not is_text(candidate.sample))
        )
        return Verdict(lfs, self._ignore.match_file(candidate.path), self._oid(candidate.path, lfs=lfs))

    def _oid(self, path: str, *, lfs: bool) -> str | None:
        entry = self._git.entry(self._root, path)
        if entry is None or entry.is_folder:
            return None
        pointer = Pointer.parse(self._git.blob(entry.oid))
        if lfs:
            return pointer.sha256 if pointer else None
        return entry.oid if pointer is None else None


def is_text(sample: bytes) -> bool:
    """Whether the first bytes look like UTF-8; a character cut at the sample's end is fine."""
    if b"\0" in sample:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=len(sample) < SAMPLE)
    except UnicodeDecodeError:
        return False
    return True


def decode_sample(text: str) -> bytes:
    """The sample as bytes; one that cannot be read counts as empty, since it is a hint only."""
    try:
        return base64.b64decode(text)
    except (ValueError, binascii.Error):
        return b""
