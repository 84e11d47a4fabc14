"""What a scheduler of your own needs beyond ``import hubspool``; the ready-made schedulers use nothing else.

Not promised: that a name outside `__all__` of this module and of `hubspool` stays where it is.

The page "Your own scheduler" says which class to derive from, and what to override.

Rows on this disk:

- `Spool`: the segments of one scheduler in its folder. `write` appends one line, `close` ends the current segment.
- `Durability`: "process" (lines survive the end of the process) or "disk" (and of the machine).
- `SegmentName`: the fields of a segment's file name; `SegmentName.parse` returns None for any other file. `RangeName`:
  those of a file in a bucket, which holds a range of a segment.
- `StatePaths`: the paths of a spool's ledger and other state.
- `is_spool`, `is_spool_folder`: whether a folder, or a name, is that of a spool, which no upload takes for user files.
- `Stat`: size, times and inode of a file; differs after a change, unless two changes are within 50 ms.

Rows in another format on the Hub:

- `Encoding`: how the lines of a part become a file; override `encode` and `span_of`.
- `Matches`: whether a row is to be removed, as a joiner is asked (`hubspool forget`).
- `Span`: which lines of which segment a file holds.
- `Joiner`: how old files of that form are joined into few; an `Encoding` has one as `joiner`.
- `FileRange`: a byte range of a growing file; `open` reads exactly that range.
- `count_lines`, `is_object`: the lines in a range of a file; whether a line is one complete JSON object.

Files in the folder:

- `LineKind`, `kind_by_name`: whether a file grows by lines (`.txt`, `.csv`, `.jsonl` …), by TensorBoard records, or is
  replaced as a whole.
- `Patterns`: glob patterns as in `huggingface_hub`.
- `process_rank`: the number of this process in a distributed run; 0 elsewhere.

Options:

- `SchedulerOptions`: the keyword arguments of `CommitScheduler`, for ``**options: Unpack[SchedulerOptions]``.
- `CommonOptions`: the same without those that the ready-made schedulers declare with defaults of their own.
- `Compact`: the values of the option `compact`. `PublishOptions`: how the rows of a bucket are published.
- `DEFAULT_EVERY`: minutes between two pushes.
- `renew_after_fork`: gives a forked child a new value of an attribute, usually an unlocked lock.

The repository:

- `Target`: endpoint, id, type and revision of a repository; `CommitScheduler.target` is one.
- `RemoteRepo`: reads files, lists and ranges of a repository at a revision; `RemoteFile` is an entry of a list.
- `RemoteBucket`: the same of a bucket. `split_destination`: id, type and path of what a program gives as `repo_id`.
- `split_of`: the split of a scheduler's file on the Hub, by its name.
- `joined_runs`: what the joined files of a list are made of, a `JoinedRun` for consecutive parts; `is_manifest` tells
  the files that say so.
- `cached_file`: a file in the cache that `huggingface_hub` shares; downloaded if it is not there.
  `changed_meanwhile`: the error for content that is not, or no longer, what the list said.
- `PendingSegments`, `pending_segments`: rows of spools that a commit does not hold; `RangeOnHub` is what it holds.
- `Progress`: a bar on a terminal.
- `read_text`: the content of a small text file at a revision.
- `FrontMatter`: the fields at the top of a README.md; changes some and keeps comments and all else.
- `broken_card`: the error for a README.md that a person has to repair.

Errors: `HFValidationError` (a value cannot be used; also a ValueError), `RemoteEntryNotFoundError` (the repository has
no such file or folder), `RepositoryNotFoundError`, `RevisionNotFoundError`, `BadRequestError` (the Hub refused to
look), `CursorTooOldError` (history was squashed since a reader's last read), `ChangedMeanwhileError` (a push plans
again); every error is a `hubspool.HubspoolError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hubspool.client.file_range import FileRange
from hubspool.client.front_matter import FrontMatter, broken_card
from hubspool.client.patterns import Patterns
from hubspool.client.progress import Progress
from hubspool.client.target import Target
from hubspool.client.validation import split_destination
from hubspool.errors import (
    BadRequestError,
    ChangedMeanwhileError,
    CursorTooOldError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from hubspool.files import Stat, StatePaths, is_spool, is_spool_folder
from hubspool.fork import renew as renew_after_fork
from hubspool.push.backlog import PendingSegments, RangeOnHub, pending_segments
from hubspool.push.cache import cached_file, changed_meanwhile
from hubspool.push.encodings import Encoding, Span
from hubspool.push.joiner import Joiner, Matches
from hubspool.push.lines import Kind as LineKind
from hubspool.push.lines import count_lines, is_object, kind_by_name
from hubspool.push.manifest import MANIFESTS, JoinedRun, parse
from hubspool.push.remote import RemoteFile, RemoteRepo
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.scheduling.defaults import DEFAULTS as _SCHEDULING
from hubspool.scheduling.defaults import Compact
from hubspool.scheduling.options import CommonOptions, PublishOptions, SchedulerOptions
from hubspool.settings import process_rank
from hubspool.spool.segment_name import RangeName, SegmentName, split_of
from hubspool.spool.spool import Durability, Spool

if TYPE_CHECKING:
    from hubspool.client.hf_api import HfApi

__all__ = [
    "DEFAULT_EVERY",
    "BadRequestError",
    "ChangedMeanwhileError",
    "CommonOptions",
    "Compact",
    "CursorTooOldError",
    "Durability",
    "Encoding",
    "FileRange",
    "FrontMatter",
    "HFValidationError",
    "JoinedRun",
    "Joiner",
    "LineKind",
    "Matches",
    "Patterns",
    "PendingSegments",
    "Progress",
    "PublishOptions",
    "RangeName",
    "RangeOnHub",
    "RemoteBucket",
    "RemoteEntryNotFoundError",
    "RemoteFile",
    "RemoteRepo",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
    "SchedulerOptions",
    "SegmentName",
    "Span",
    "Spool",
    "Stat",
    "StatePaths",
    "Target",
    "broken_card",
    "cached_file",
    "changed_meanwhile",
    "count_lines",
    "is_manifest",
    "is_object",
    "is_spool",
    "is_spool_folder",
    "joined_runs",
    "kind_by_name",
    "pending_segments",
    "process_rank",
    "read_text",
    "renew_after_fork",
    "split_destination",
    "split_of",
]

DEFAULT_EVERY = _SCHEDULING.every


def is_manifest(path: str) -> bool:
    """Whether a path is that of a manifest, which says what joined files are made of."""
    return path.startswith(f"{MANIFESTS}/")


def joined_runs(manifests: Iterable[Path]) -> list[JoinedRun]:
    """Return what joined files are made of: the runs of parts in all manifests of a commit.

    Raises:
        ValueError: a manifest is damaged.
    """
    return [run for path in manifests for run in parse(path.read_bytes())]


def read_text(api: HfApi, target: Target, path: str, revision: str | None = None) -> str | None:
    """Return the content of a small UTF-8 file of a repository, or None if the repository has no such file.

    Not promised: the newest content of a branch; the Hub's replicas lag by some seconds.

    Args:
        api: the client, with its token.
        target: the repository.
        path: path in the repository.
        revision: a commit, branch or tag; by default the revision of `target`.

    Raises:
        UnicodeDecodeError: the file is not UTF-8.
        HubspoolError: the file cannot be read.
    """
    at = Target.of(target.endpoint, target.repo_id, target.repo_type, revision or target.revision)
    return RemoteRepo(api, at).text(path)
