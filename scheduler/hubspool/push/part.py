"""A part: a byte range of a local file under one path in the repo, and how it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Closed(str, Enum):
    """Why a part is closed: it takes no further bytes, permanently."""

    FULL = "full"
    """It has reached a limit of `PushLimits` (commits, size or age), or it was found on the Hub. Lines are committed at
    most 16 times (3 times if large); an encoding has its own number (Parquet 8, zip 1)."""
    UNKNOWN = "unknown"
    """A commit with it had an unknown outcome. It may land late, so the path must hold those bytes and no others."""
    FOREIGN = "foreign"
    """The content at its path on the Hub is not what was committed: somebody changed or removed it, or it was there
    before."""
    ENCODED = "encoded"
    """Its encoded file cannot be extended by the next rows: they have other columns."""
    REWRITTEN = "rewritten"
    """The local file no longer begins with what was committed."""
    COMPACTED = "compacted"
    """Its file was joined with others; the manifest says up to where, and what is beyond goes to the next part."""
    REMOVED = "removed"
    """Its lines were removed on this disk (`hubspool forget`), and were never sent. Its number is negative, since no
    path on the Hub belongs to it."""
    MOVED = "moved"
    """A person sent its rows to another repository; its path is the name of the segment that they are in now."""


@dataclass(frozen=True)
class Part:
    """A byte range [start, end) of a local file under one path in the repo, as acknowledged by the Hub.

    Args:
        source: local path, relative to the folder.
        number: of the part in its source, from 0; negative for lines that were removed before they were sent.
        path: in the repository.
        start: of the range, in bytes.
        end: of the acknowledged range, in bytes; equals `start` until a commit is acknowledged.
        rows: lines in [start, end).
        sha256: of [start, end).
        content_id: id of that content on the Hub: sha256, or a git blob id for a regular file.
        commits: number of acknowledged commits.
        opened_at: seconds since the epoch.
        closed: why it takes no further bytes; None while it is open.
        sending_end, sending_sha256, sending_id: `end`, `sha256` and `content_id` of a commit in doubt, else None.
        push_id: the id in the description of that commit.
        sent_at: time of that commit's request, seconds since the epoch; if a look found its content, the time of that
            look, until a second one confirms it: only then the local data may be removed.
        head: number of bytes from the beginning of the source (a table's header) that its content has before
            [start, end).
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
        """Return True if the outcome of a commit with it is unknown."""
        return self.sending_end is not None

    @property
    def sent_end(self) -> int:
        """The end of what was sent (acknowledged or in doubt), in bytes."""
        return self.end if self.sending_end is None else self.sending_end

    def sending(self, end: int, sha256: str, content_id: str, push_id: str, now: float) -> Part:
        """Return the part with the intent to commit [start, end)."""
        return replace(
            self, sending_end=end, sending_sha256=sha256, sending_id=content_id, push_id=push_id, sent_at=now
        )

    def acknowledged(self, rows: int) -> Part:
        """Return the part after its commit landed; `rows` is the number of lines in [start, end)."""
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
        """Return the part after its commit is known not to have been applied."""
        return replace(self, sending_end=None, sending_sha256=None, sending_id=None, push_id=None, sent_at=None)
