"""Compaction: joins the many small parts of past days into few files, each join in one commit with its manifest.

Days are joined into files of a day, these into files of half a month: every row is written twice more. So a year has
some 40 files for each split and form: 24 of these, and at most 18 of days. Whole months would make it 12 and 33. There
is no lease; two compactors are kept apart by parentCommit, and writers by the manifests (`manifest`).

A joined file is in the folder of the files that it is made of, so that the patterns of the card that match them match
it too: the files of version 0.1, which had no folders of months, stay beside these.
"""

from __future__ import annotations

import logging
import math
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import ClassVar

from hubspool.client.operations import CommitOperationAdd, CommitOperationDelete
from hubspool.client.repo_info import CommitInfo
from hubspool.client.retry import Caller
from hubspool.client.transfer.parallel import for_each
from hubspool.errors import ConflictError, ParentCommitMismatchError
from hubspool.files import sha256_of
from hubspool.push.defaults import DEFAULTS, PushLimits
from hubspool.push.encodings import Span
from hubspool.push.events import CommitEvent
from hubspool.push.ghosts import is_of_old_replica, removable_ghosts
from hubspool.push.joiner import Joiner, grouped
from hubspool.push.manifest import JoinedRun, Manifests, new_manifest, with_sha256
from hubspool.push.remote import Change, Head, PartRecords, RemoteFile, RemoteRepo, join_description
from hubspool.push.rules import cut_by_size
from hubspool.spool.segment_name import JoinedName, SegmentName, part_number, without_month

logger = logging.getLogger(__name__)

#: How far the clocks of the Hub's servers may be apart.
_HUB_CLOCKS = timedelta(minutes=10)
#: The level of a file of a day, and the last day of the first half of a month.
_DAY_FILE, _HALF = 1, 15


@dataclass(frozen=True)
class OldFile:
    """A file that may be joined: a part (`level` 0), or a file that was joined before.

    Args:
        file: on the Hub.
        folder: of the folders of months, in the repository.
        name: the split.
        day: of the newest segment in it.
        suffix: of the file.
        level: how often its rows were joined.
        order: parts of one segment follow each other.
    """

    file: RemoteFile
    folder: str
    name: str
    day: date
    suffix: str
    level: int
    order: tuple[str, int, int] = ("", 0, 0)

    @property
    def path(self) -> str:
        """The path in the repository."""
        return self.file.path

    @classmethod
    def of(cls, file: RemoteFile) -> OldFile | None:
        """Return the source; None for a file that no scheduler of ours has written."""
        path = PurePosixPath(file.path)
        folder = without_month(path.parent)
        place = "" if str(folder) == "." else str(folder)
        if (segment := SegmentName.of_part(path.name)) is not None:
            order = (segment.writer, segment.seq, part_number(path.name))
            day, suffix = _day(segment.date), segment.suffix or "jsonl"
            return None if day is None else cls(file, place, segment.name, day, suffix, 0, order)
        if (joined := JoinedName.parse(path.name)) is not None and (day := _day(joined.date)) is not None:
            return cls(file, place, joined.name, day, joined.suffix, joined.level)
        return None

    @property
    def parent(self) -> str:
        """The folder that it is in."""
        return str(PurePosixPath(self.path).parent)

    @property
    def segment(self) -> str:
        """The file name of the segment of a part; empty for a joined file."""
        return "" if self.level else str(SegmentName.of_part(PurePosixPath(self.path).name))

    @property
    def group(self) -> tuple[str, str, str, str, bool]:
        """What the files of a join have in common: their folder, split and suffix, and the half of a month."""
        return self.parent, self.name, self.suffix, f"{self.day:%Y-%m}", self.day.day > _HALF


@dataclass(frozen=True)
class Join:
    """Files to join into one, or into one for each schema."""

    sources: tuple[OldFile, ...]

    @property
    def level(self) -> int:
        """The level of the joined file."""
        return self.sources[0].level + 1

    def path(self, identifier: str) -> str:
        """Return the path of the joined file."""
        last = max(self.sources, key=lambda source: source.day)
        name = JoinedName(last.name, f"{last.day:%Y%m%d}", self.level, last.suffix).with_id(identifier)
        return str(PurePosixPath(last.parent) / name)


def due(files: Iterable[RemoteFile], held: Callable[[str], object], before: date, limits: PushLimits) -> list[Join]:
    """Return the joins that are due.

    Args:
        files: of the repository.
        held: returns a true value for the path of a part that was joined before; such a file is not joined again.
        before: parts whose segment is of this day or later are left alone; files of days, until their half of the month
            is two days over then.
        limits: of a joined file.
    """
    found = [source for file in files if (source := OldFile.of(file)) is not None and not held(source.path)]
    joins = []
    for level, last in ((0, before), (_DAY_FILE, before - timedelta(days=2))):
        ready = [s for s in found if s.level == level and s.day < last and (level == 0 or _half_end(s.day) < last)]
        ready.sort(key=lambda s: (s.group, s.day, s.order, s.path))
        for _, group in groupby(ready, lambda s: s.group):
            cut = cut_by_size(group, lambda source: source.file.size, limits.join_files, limits.join_bytes)
            joins += [Join(tuple(sources)) for sources in cut if len(sources) > 1]
    return joins


def _half_end(day: date) -> date:
    if day.day <= _HALF:
        return day.replace(day=_HALF)
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


@dataclass
class CompactionReport:
    """What a run of a compactor did.

    Args:
        commits: of the joins.
        files_before: how many files were joined.
        paths: of the joined files.
        bytes_joined: their size.
        ghosts: files that were deleted because their rows are in a joined file.
        left: joins that are still due.
    """

    commits: list[CommitInfo] = field(default_factory=list)
    files_before: int = 0
    paths: list[str] = field(default_factory=list)
    bytes_joined: int = 0
    ghosts: int = 0
    left: int = 0

    @property
    def all_commits(self) -> int:
        """How many commits it made; the deletion of ghosts is one."""
        return len(self.commits) + bool(self.ghosts)

    @property
    def files_less(self) -> int:
        """How many files the repository has less."""
        return self.files_before - len(self.paths) + self.ghosts

    def event(self, commit: CommitInfo) -> CommitEvent:
        """Return the event of a join."""
        return CommitEvent(commit.oid, tuple(self.paths), 0, 0, joined=self.files_before)


@dataclass(eq=False)
class Compactor:
    """Joins the old files of one folder of a repository. Used by one thread.

    Not guaranteed: that a join which another program's commit overtakes is made; it is tried five times.

    Args:
        repo: the branch.
        folder: of the data in the repository, or empty.
        joiners: suffix of the files → what joins them; other files are left alone.
        manifests: as far as they are known.
        limits: of joined files.
        may_go_on: returns False to stop before the next step.
        has_time: returns False to download no more, to join what was, and to wait for no other attempt.
        pause: waits for so many seconds; returns True to stop.
        refused: path and content of files that cannot be joined, as other compactors found out; it is extended.
    """

    #: Of a commit; gets the number of files that it replaces.
    title: ClassVar[str] = "Join {} files"

    repo: RemoteRepo
    folder: str
    joiners: Mapping[str, Joiner]
    manifests: Manifests = field(default_factory=Manifests)
    _: KW_ONLY
    limits: PushLimits = DEFAULTS
    may_go_on: Callable[[], bool] = lambda: True
    has_time: Callable[[], bool] = lambda: True
    pause: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)
    refused: set[tuple[str, str]] = field(default_factory=set)
    now: datetime = field(init=False)  # the Hub's time, as of the last call of `due`
    files: dict[str, RemoteFile] = field(default_factory=dict, init=False)  # as of that call
    _records: PartRecords | None = field(default=None, init=False)
    _tails: list[RemoteFile] = field(default_factory=list, init=False)  # ghosts with rows that nothing else has
    _seen: RemoteRepo = field(init=False)  # at the commit of that call: what is downloaded is what was listed

    def due(self, before: date | None = None) -> tuple[list[Join], list[str]]:
        """Return the joins that are due, and the ghosts: files whose rows are in a joined file.

        Args:
            before: segments of this day or later are left alone, and those of today (UTC, as the Hub's clock says):
                after a commit with rows of today, their writers do not look whether these were joined.
        """
        head, files = self._listed()
        before = min((head.at - _HUB_CLOCKS).date(), before or date.max)
        held = [file for path, file in files.items() if self.manifests.held(path)]
        ghosts = removable_ghosts(self._seen, held, self.manifests, head.named)
        self._tails = [file for file in held if file.path not in ghosts]
        self.refused &= {file.version for file in files.values()}
        left = [file for file in files.values() if file.version not in self.refused]
        joins = due(left, self.manifests.held, before, self.limits)
        return [join for join in joins if join.sources[0].suffix in self.joiners], ghosts

    def _listed(self) -> tuple[Head, dict[str, RemoteFile]]:
        """Return the newest commit and its files, after the manifests were read; downloads are of this commit."""
        head = self.repo.head()
        self.now, self._seen = head.at, self.repo.at(head.oid)
        self.files = self._seen.list_files(self.folder, recursive=True)
        self.manifests.read(self.repo, head, self.files)
        return head, self.files

    def run(self, before: date | None = None, note: Callable[[Join], object] = lambda _: None) -> CompactionReport:
        """Make all joins that are due.

        Args:
            before: see `due`.
            note: called with each join before it is made.

        Raises:
            HubspoolError: a request failed; what was joined before stays.
        """
        report = CompactionReport()
        # What is written meanwhile is left for another run, or this one might never end.
        for is_joined in (False, True):
            joins, ghosts = self.due(before)
            self.make([join for join in joins if bool(join.sources[0].level) is is_joined], ghosts, report, note)
            if report.left:
                break
        return report

    def make(
        self,
        joins: Sequence[Join],
        ghosts: Sequence[str],
        report: CompactionReport,
        note: Callable[[Join], object] = lambda _: None,
    ) -> None:
        """Delete ghosts and make joins that `due` returned; `report` counts them."""
        self._delete(ghosts, report)
        self._take_in_tails(report)
        for number, join in enumerate(joins):
            if not self.may_go_on():
                report.left = len(joins) - number
                return
            note(join)
            self._make(join, report)

    def _delete(self, ghosts: Sequence[str], report: CompactionReport) -> None:
        left: list[str] = []

        def change(head: Head) -> Change | None:
            left[:] = self.repo.at(head.oid).files(ghosts)
            deletions = [CommitOperationDelete(path) for path in left]
            return (deletions, "Delete files whose rows were joined", "") if left else None

        if ghosts and self._commit_at_head(change) is not None:
            report.ghosts += len(left)

    def _commit_at_head(self, change: Callable[[Head], Change | None]) -> CommitInfo | None:
        """Make the commit that `change` describes on top of the newest commit; again if others come first.

        Returns:
            None if it was not made: `change` returned None, others came first each time, or there is no time left.
        """
        if not self.may_go_on():
            return None
        caller = Caller(self.pause, seconds_left=lambda: math.inf if self.has_time() else 0.0)
        try:
            return self.repo.commit_at_head(change, self.limits.join_attempts, caller)
        except (ConflictError, ParentCommitMismatchError) as error:
            logger.info("other commits came first each time; the files are joined at another time: %s", error)
            return None

    def _make(self, join: Join, report: CompactionReport) -> None:
        with tempfile.TemporaryDirectory(prefix="hubspool-join-") as name:
            folder = Path(name)
            local = {source: folder / str(number) for number, source in enumerate(join.sources)}

            def fetch(source: OldFile) -> None:
                if self.may_go_on() and self.has_time():
                    self._seen.download(source.path, local[source])

            for_each(join.sources, fetch, self.limits.join_downloads)
            if not self.may_go_on():
                return
            local = {source: path for source, path in local.items() if path.exists()}
            joiner = self.joiners[join.sources[0].suffix]
            groups = self._groups(join, local)
            adds, runs = [], []
            for number, group in enumerate(groups):
                first, *others = group.sources
                out = folder / f"joined-{number}" if others else local[first]
                try:
                    offsets = joiner.join([local[source] for source in group.sources], out) if others else [0]
                except (ValueError, OSError):
                    if not self._refuse_damaged(group, local):
                        raise
                    self._make(join, report)  # without these
                    return
                joined = group.path(uuid.uuid4().hex[:12])
                adds.append(CommitOperationAdd(joined, out))
                files = [(source, local[source], at) for source, at in zip(group.sources, offsets, strict=True)]
                runs += self._runs(files, joined, out)
            if not groups or not self.may_go_on():
                return
            self._commit([source for group in groups for source in group.sources], adds, runs, report)

    def _refuse_damaged(self, group: Join, local: Mapping[OldFile, Path]) -> bool:
        """Refuse the damaged files of a join that failed; return False if there is none."""
        joiner = self.joiners[group.sources[0].suffix]
        damaged = {source.file.version for source in group.sources if not joiner.is_sound(local[source])}
        self.refused |= damaged
        return bool(damaged)

    def _groups(self, join: Join, local: Mapping[OldFile, Path]) -> list[Join]:
        """Return the files to join into one each, of those that were downloaded.

        Two files that go with no other one get their next names as they are: nothing would join them later either, and
        a join of them would be due for ever.
        """
        found = [Join(tuple(sources)) for sources in grouped(self._keyed(local), self.limits)]
        joined = [group for group in found if len(group.sources) > 1]
        is_whole = len(local) == len(join.sources)
        return found if len(found) > len(joined) + 1 and (is_whole or not joined) else joined

    def _keyed(self, local: Mapping[OldFile, Path]) -> Iterator[tuple[OldFile, Path, Joiner, object]]:
        """Yield the files that can be joined; the others are refused."""
        for source, path in local.items():
            if source.file.version in self.refused or (key := self._key_of(source, path)) is None:
                self.refused.add(source.file.version)
            else:
                yield source, path, self.joiners[source.suffix], key

    def _key_of(self, source: OldFile, path: Path) -> object:
        """Return the key of a file; None if it cannot be joined, or if it is not about the segment of its path."""
        joiner = self.joiners[source.suffix]
        key = joiner.key_of(path)
        if key is None or source.level or joiner.keeps_bytes:
            return key
        return key if (span := joiner.span_of(path)) and span.segment == source.segment else None

    def _take_in_tails(self, report: CompactionReport) -> None:
        """Put the rows that replicas without manifests have added to joined parts into the joined files.

        The next run deletes the ghosts. Writers that know manifests send such rows in another part.
        """
        for ghost in self._tails:
            if (source := OldFile.of(ghost)) is None:
                continue
            self._records = self._records or PartRecords(self.repo)
            if not is_of_old_replica(ghost, self._records.of([ghost.path], source.day).get(ghost.path)):
                continue
            run = self.manifests.run_of(ghost.path)
            joined = OldFile.of(self.files[run.path]) if run.path in self.files else None
            if joined is not None and not run.removed and self.may_go_on():
                self._take_in(ghost, run, source.order[2] - run.first, joined, report)

    def _take_in(
        self, ghost: RemoteFile, run: JoinedRun, index: int, joined: OldFile, report: CompactionReport
    ) -> None:
        """Replace a joined file by one in which a ghost takes the place of its part."""
        with tempfile.TemporaryDirectory(prefix="hubspool-join-") as name:
            old, late, new = (Path(name) / each for each in ("old", "late", "new"))
            self._seen.download(run.path, old)
            self._seen.download(ghost.path, late)
            if sha256_of(old, run.offset, sum(run.sizes)) != run.sha256:
                return  # a person has changed it
            at, more = run.offset + sum(run.sizes[:index]), ghost.size - run.sizes[index]
            content = old.read_bytes()  # at most `join_bytes`, as the ghost
            new.write_bytes(content[:at] + late.read_bytes() + content[at + run.sizes[index] :])
            sizes, digests = [*run.sizes], [*run.digests]
            sizes[index], digests[index] = ghost.size, ghost.content_id
            joiner = self.joiners[joined.suffix]
            longer = replace(
                run,
                sizes=(*sizes,),
                digests=(*digests,),
                rows=run.rows + joiner.rows(new) - joiner.rows(old),
                counts=(),
                sha256=sha256_of(new, run.offset, sum(sizes)),
            )
            path = Join((replace(joined, level=joined.level - 1),)).path(uuid.uuid4().hex[:12])
            found = [longer if each == run else each for each in self.manifests.runs_in(run.path)]
            runs = [replace(each, path=path, offset=each.offset + more * (each.offset > at)) for each in found]
            self._commit([joined], [CommitOperationAdd(path, new)], runs, report)

    def _runs(self, files: Sequence[tuple[OldFile, Path, int]], path: str, out: Path) -> list[JoinedRun]:
        """Return the lines of the manifest for one joined file.

        Args:
            files: that it is made of, each with its content on this disk and its offset in the joined file.
            path: of the joined file, in the repository.
            out: the joined file on this disk.
        """
        runs: list[JoinedRun] = []
        joiner = self.joiners[files[0][0].suffix]
        parts = [source.path for source, *_ in files if not source.level and joiner.keeps_bytes]
        self._records = self._records or PartRecords(self.repo)
        named = self._records.of(parts, min(source.day for source, *_ in files))
        for source, content, offset in files:
            if source.level:
                moved = self.manifests.runs_in(source.path)
                runs += [replace(run, path=path, offset=offset + run.offset) for run in moved]
                continue
            span = joiner.span_of(content)
            said, size = named.get(source.path), source.file.size
            if said and said.end - said.start == size and said.sha256 == sha256_of(content, 0, size):
                span = Span(source.segment, said.start, said.end)
            rows = joiner.rows(content)
            run = JoinedRun(
                segment=source.segment,
                folder=source.parent,
                path=path,
                offset=offset,
                first=source.order[2],
                sizes=(source.file.size if span is None else span.end - span.start,),
                digests=(source.file.content_id,),
                starts=() if span is None else (span.start,),
                rows=rows,
                counts=(rows,),
            )
            last = runs[-1] if runs else None
            runs[-1:] = [last.extended(run)] if last and last.continues_with(run) else [*runs[-1:], run]
        return with_sha256(runs, out) if joiner.keeps_bytes else runs

    def _commit(
        self,
        sources: Sequence[OldFile],
        adds: list[CommitOperationAdd],
        runs: list[JoinedRun],
        report: CompactionReport,
    ) -> None:
        """Commit a join, at the newest commit at which its sources are still what was joined."""
        replaced = {source.path for source in sources if source.level}
        wanted = {source.path: source.file.content_id for source in sources}
        # Before the newest commit is read: the more time passes after that, the more often others come first.
        self.repo.preupload(adds)

        def change(head: Head) -> Change | None:
            at = self.repo.at(head.oid)
            files = at.files([*wanted])
            self.manifests.read(self.repo, head, wanted)
            if any(path not in files or files[path].content_id != wanted[path] for path in wanted) or any(
                self.manifests.held(path) for path in wanted
            ):
                logger.info("%s was changed or joined meanwhile; it is joined at another time", sources[0].path)
                return None
            month = max(source.day for source in sources)
            old, kept = self.manifests.replaced_by(replaced)
            manifest = new_manifest(f"{month:%Y-%m}", head.at, [*kept, *runs], adds)
            deletions = [CommitOperationDelete(path) for path in [*wanted, *old]]
            title = self.title.format(len(wanted))
            return [*adds, manifest, *deletions], title, join_description(manifest.path_in_repo)

        if (commit := self._commit_at_head(change)) is not None:
            report.commits.append(commit)
            report.files_before += len(wanted)
            report.paths += [addition.path_in_repo for addition in adds]
            report.bytes_joined += sum(addition.size for addition in adds)
