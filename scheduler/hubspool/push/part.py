"""A part: a byte range of a local file under one path in the repo, and how it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Closed(str, Enum):
    """Why a part takes no further bytes, for ever."""

    FULL = "full"
    """It was committed 16 times (3 times if large), holds 32 MiB or is a day old."""
    UNKNOWN = "unknown"
    """A commit with it had an unknown outcome: it may land late, so the path must hold those bytes and no others."""
    FOREIGN = "foreign"
    """The Hub's content at its path is not what was committed: somebody changed or removed it."""
    ENCODED = "encoded"
    """The rows that follow cannot go on in its file: they have other columns."""
    REWRITTEN = "rewritten"
    """The local file no longer begins with what was committed."""


@dataclass(frozen=True)
class Part:
    """A byte range [start, end) of a local file under one path in the repo, as acknowledged by the Hub.

    Args:
        source: local path, relative to the folder.
        number: which part of the source, from 0.
        path: path in the repo.
        start: where it begins in the source; bytes.
        end: up to where the Hub has it; equals `start` while it has nothing.
        rows: lines in [start, end).
        sha256: of [start, end).
        content_id: what the Hub reports for that content: sha256, or a git blob id for a regular file.
        commits: how often it was committed.
        opened_at: seconds since the epoch.
        closed: why it takes no further bytes, or None.
        sending_end, sending_sha256, sending_id: the same three of a commit whose outcome is not known, else None.
        push_id: the id in that commit's description.
        sent_at: when it left; seconds since the epoch.
        head: bytes at the beginning of the source (a table's header) that its content begins with, before [start, end).
    """

    source: str
    number: int
    path: str
    start: int
    end: int
    opened_at: float
    rows: int = 0
    sha256: str | None = None
    content_id: str | None = None
    commits: int = 0
    closed: Closed | None = None
    sending_end: int | None = None
    sending_sha256: str | None = None
    sending_id: str | None = None
    push_id: str | None = None
    sent_at: float | None = None
    head: int = 0

    @property
    def in_doubt(self) -> bool:
        """Whether a commit with it has an outcome that is not known."""
        return self.sending_end is not None

    def sending(self, end: int, sha256: str, content_id: str, push_id: str, now: float) -> Part:
        """Return the part with the intent to commit [start, end)."""
        return replace(
            self, sending_end=end, sending_sha256=sha256, sending_id=content_id, push_id=push_id, sent_at=now
        )

    def acknowledged(self, rows: int) -> Part:
        """Return the part after its intent landed; `rows` are the lines in all of it."""
        assert self.sending_end is not None
        return replace(
            self.withdrawn(),
            end=self.sending_end,
            rows=rows,
            sha256=self.sending_sha256,
            content_id=self.sending_id,
            commits=self.commits + 1,
        )

    def withdrawn(self) -> Part:
        """Return the part after its intent is known not to have been applied."""
        return replace(self, sending_end=None, sending_sha256=None, sending_id=None, push_id=None, sent_at=None)
