"""What a push is made of: the one object that `Pusher`, `Planner` and `Committer` share."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from hubspool.client.hf_api import HfApi
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.repo_info import CommitInfo
from hubspool.client.target import Target
from hubspool.files import Stat
from hubspool.push.budget import Budget
from hubspool.push.defaults import DEFAULTS, PushLimits
from hubspool.push.encodings import Encoding
from hubspool.push.events import CommitEvent, CommitPlan, PushResult, State
from hubspool.push.ledger import Ledger
from hubspool.push.manifest import Manifests
from hubspool.push.part import Closed, Part
from hubspool.push.payloads import Payloads
from hubspool.push.published import Marker
from hubspool.push.remote import ForeignChanges, Head, RemoteRepo
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.push.removal import Removal
from hubspool.push.rules import Naming, OnExisting, is_second_look


@dataclass(frozen=True)
class PushHooks:
    """What a scheduler adds to a push. All hooks run in the pushing thread, without the writers' lock.

    Args:
        enter: called with each state.
        is_turn: called once per push with the number of the repository's writers; returns False to commit later.
        message: returns the commit message.
        before_commit: called after the transfer and before the commit; an exception stops the commit.
        additional_operations: returns files for the same commit.
        committed: called after each commit that landed.
        planned: called with what is to be sent before the first request for it; an exception stops the push.
    """

    enter: Callable[[State], None]
    is_turn: Callable[[int], bool]
    message: Callable[[CommitPlan], str]
    before_commit: Callable[[CommitPlan], None]
    additional_operations: Callable[[CommitPlan], Iterable[CommitOperationAdd]]
    committed: Callable[[CommitEvent, CommitInfo], None]
    planned: Callable[[PushResult], None] = lambda result: None  # noqa: ARG005


@dataclass
class PushMemory:
    """What the pushes of one folder have learned, for the next ones; a `Pusher` has it. Used by the pushing thread.

    Args:
        foreign_changes: paths of ours that had foreign content.
        was_used: the folder had an id before this object: its files may have continuations that the ledger has lost.
        has_lfs_rule: the repository is known to have the LFS rule for parts.
        plain_tables: CSV files with a stray quote, which are cut at newlines.
        open_quotes: CSV file → where its last balanced line ends, and since when.
        unchanged_since: file → its `Stat`, and since when it is that.
        record_pushes: record file → its acknowledged end, and since when it is that.
        told_of_rewritten: the warning about a rewritten line file was given.
        unfit: lines that the encoding could not store: name of the segment → position of the line → error.
        manifests: which parts were joined into other files.
        absent: late parts that are not there any more, each with the commit that named it.
        full_folders: folders of the repository near the Hub's limit → their entries.
        removals: of rows that a function of the program chooses; the Hub has those that values choose.
        held_back: segment → until when it is not sent (seconds since the epoch): rows that are to be removed were sent
            with an unknown outcome.
        identified_at: when a bucket was known to be the one of before, seconds since the epoch; None: at the start.
        markers: of publishes of a bucket, by path.
        expired: segment → how many rows of it were too old to be sent.
        hub_at: the Hub's time when a push last read the newest commit; None before.
        looked_at: when that was, in monotonic seconds; before, when this object was made.
    """

    foreign_changes: ForeignChanges
    was_used: bool
    has_lfs_rule: bool = False
    plain_tables: set[str] = field(default_factory=set)
    open_quotes: dict[str, tuple[int, float]] = field(default_factory=dict)
    unchanged_since: dict[str, tuple[Stat, float]] = field(default_factory=dict)
    record_pushes: dict[str, tuple[int, float]] = field(default_factory=dict)
    told_of_rewritten: bool = False
    unfit: dict[str, dict[int, str]] = field(default_factory=dict)
    manifests: Manifests = field(default_factory=Manifests)
    absent: set[tuple[str, str]] = field(default_factory=set)
    full_folders: dict[str, int] = field(default_factory=dict)
    removals: list[Removal] = field(default_factory=list)
    held_back: dict[str, float] = field(default_factory=dict)
    identified_at: float | None = None
    markers: dict[str, Marker] = field(default_factory=dict)
    expired: dict[str, str] = field(default_factory=dict)
    hub_at: datetime | None = None
    looked_at: float = field(default_factory=time.monotonic)


@dataclass
class PushContext:
    """One folder or spool, its target, and the options of one push. Used by the pushing thread.

    Args:
        api: the client.
        target: the repository and revision.
        path_in_repo: the folder's path in the repository, or empty.
        folder: the local folder: a spool, or the user's.
        is_spool: send the segments of a spool; otherwise the files of a user's folder.
        ledger: of the folder.
        memory: of the pushes of this folder.
        writer: the writer id in the commit descriptions.
        is_chosen: returns True for a path in the folder that is to be sent.
        lock: the writers' lock, whose value says whether it is held; held only while file lengths are taken.
        on_existing: what to do if a path has other content on the Hub.
        is_versioned: returns True for a path in the folder whose file is replaced as a whole, whatever its name says.
        versions_rewritten: line data that no longer begins with what was committed becomes a new version of its file.
        period_seconds: between two pushes.
        keep_local: keep segments on the disk after all of them is on the Hub.
        hooks: of the scheduler.
        budget: the commits that all writers of the repository share.
        encoding: of the segments; None sends their lines as they are.
        hub_id: the Hub's `_id` of the repository, if it is known.
        retain_days: rows of segments that began more days ago are not sent; None sends all.
        limits: the numbers of the push; the encoding replaces those for its parts.
        clock: returns seconds since the epoch.

    Attributes:
        key: the target's number in the ledger.
        naming: names the paths in the repository.
        payloads: the content of the parts.
        repo: reads the target.
    """

    api: HfApi
    target: Target
    path_in_repo: str
    folder: Path
    ledger: Ledger
    memory: PushMemory
    writer: str
    is_chosen: Callable[[str], bool]
    lock: AbstractContextManager[bool]
    on_existing: OnExisting
    is_versioned: Callable[[str], bool]
    versions_rewritten: bool
    period_seconds: float
    keep_local: bool
    hooks: PushHooks
    budget: Budget
    encoding: Encoding | None
    is_spool: bool = False
    hub_id: str | None = None
    retain_days: int | None = None
    limits: PushLimits = DEFAULTS
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if self.encoding is not None:
            commits = self.encoding.part_commits  # the encoding's own number, also for a large part
            part_bytes = self.encoding.part_bytes
            self.limits = replace(self.limits, part_commits=commits, large_commits=commits, part_bytes=part_bytes)
        self.repo = RemoteRepo(self.api, self.target)
        if self.target.is_bucket:  # a file of rows never changes there
            self.limits = replace(self.limits, part_commits=1, large_commits=1)
            self.repo = RemoteBucket(self.api, self.target, self.memory.markers)

    def find_target(self) -> int:
        """Return the target's number in the ledger."""
        return self.ledger.target(self.target, self.path_in_repo, self.hub_id)

    def read_ledger(self) -> None:
        """Set what depends on the ledger; called by each push, which first puts back a ledger that was removed.

        Another process may have begun a new ledger meanwhile, where the target has another number.
        """
        self.key = self.find_target()
        prefix = f"{self.path_in_repo}/" if self.path_in_repo else ""
        self.naming = Naming(prefix, self.ledger.folder_id, by_range=self.target.is_bucket)
        self.payloads = Payloads(self.encoding, self.ledger.paths.staged(self.key), self.memory.unfit)

    def after_joins(
        self, head: Head, parts: Iterable[Part], sources: Collection[str] = ()
    ) -> dict[tuple[str, int], Part]:
        """Read the manifests at the commit `head.oid`, and store in the ledger what they say about parts of segments.

        Args:
            head: of the branch.
            parts: as the ledger has them.
            sources: segments of which these are all parts that the ledger has: one of which the manifests name another
                part is recovered, since the ledger is older than the Hub. The months of other segments are forgotten.

        Returns:
            The parts that changed, by source and number.
        """
        known, manifests = list(parts), self.memory.manifests
        asked = [*head.late_parts, *sources, *(part.source for part in known)]
        manifests.read(self.repo, head, asked, only=bool(sources))
        after = {(part.source, part.number): self._after_join(head, part) for part in known}
        changed = {key: part for key, part in after.items() if part not in known}
        if changed:
            self.ledger.save(self.key, changed.values())
        unknown = {s for s in sources for number in manifests.of_segment(s) if (s, number) not in after}
        self.ledger.recover(sorted(unknown - self.ledger.recovering(self.key).keys()))
        return changed

    def _after_join(self, head: Head, part: Part) -> Part:
        manifests, told = self.memory.manifests, self.memory.foreign_changes.closed
        held = manifests.held(part.path)
        if held is None or part.closed is Closed.MOVED or (part.closed is Closed.FOREIGN and part.path in told):
            return part
        if part.closed is Closed.COMPACTED and held.end(part.start) <= part.end:
            return part
        has_landed = part.in_doubt and head.landed_before(part.push_id, manifests.named_in(part.path))
        is_last = part.push_id in head.pushes or is_second_look(part.sent_at, self.clock(), self.limits)
        try:
            path = self.folder / part.source
            after = self.payloads.after_join(path, part, held, has_landed=has_landed, is_last=is_last)
        except FileNotFoundError:  # the segment was removed meanwhile: all of it is sent
            return part
        if after.closed is Closed.FOREIGN:
            told[part.path] = "somebody else changed it before it was joined"
        return after
