"""Removes rows from the files of a repository: a compaction with a filter.

No part is written again under its name, which would shift what its writer sends next: files with rows to remove are
replaced by joined ones, and the manifest keeps the ranges of the parts and says how many of their rows were removed.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import date, datetime
from itertools import groupby
from pathlib import Path

from hubspool.client.operations import CommitOperationAdd
from hubspool.client.retry import Caller
from hubspool.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from hubspool.push.compaction import CompactionReport, Compactor, Join, OldFile
from hubspool.push.empty_splits import without_empty_splits
from hubspool.push.ghosts import removable_ghosts
from hubspool.push.joiner import Matches
from hubspool.push.manifest import JoinedRun, with_sha256
from hubspool.push.remote import Change, Head, RemoteFile, join_description
from hubspool.push.removal import Removal
from hubspool.spool.segment_name import SegmentName

logger = logging.getLogger(__name__)


@dataclass
class RemovalReport:
    """What `Remover.remove` did.

    Args:
        rows: that were removed, or would be.
        files: that had them.
        left: files with such rows that were not replaced, since they were changed while they were read.
        commits: that were made for it.
        ghosts: files that were deleted because a joined file has their rows.
        large_files: contents of the history that the Hub deleted.
        unread: data files that could not be read, or that no scheduler of hubspool wrote: they were not searched.
        kept: what still has the old content: large files that the Hub keeps, other branches, tags and pull requests.
        is_squashed: the history is gone. It stays if no file had such rows, now or in an earlier run that was ended.
    """

    rows: int = 0
    files: int = 0
    is_squashed: bool = False
    left: int = 0
    commits: int = 0
    ghosts: int = 0
    large_files: int = 0
    unread: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Hit:
    """A file with rows to remove: what takes its place, with the lines of the manifest, and how many rows it loses."""

    source: OldFile
    adds: list[CommitOperationAdd]
    runs: list[JoinedRun]
    rows: int


#: What the titles of its commits begin with.
_TITLE = "Remove rows from"


@dataclass(eq=False)
class Remover(Compactor):
    """Removes the rows that match from all files of one folder of a repository. Used by one thread.

    Not guaranteed: that rows which other writers commit meanwhile are found; a second look, an hour later, finds them.

    The arguments are those of `Compactor`.
    """

    title = f"{_TITLE} {{}} files"

    #: What the last call of `remove` did, also if it failed.
    report: RemovalReport = field(default_factory=RemovalReport, init=False)
    _removals: Sequence[Removal] = field(default=(), init=False)
    _is_dry: bool = field(default=False, init=False)
    _clean: set[tuple[str, str]] = field(default_factory=set, init=False)  # files that were read, without a match

    def due(self, before: date | None = None) -> tuple[list[Join], list[str]]:  # noqa: ARG002
        """Return the files of each month that were not read yet, and the ghosts."""
        head, files = self._listed()
        held = [file for path, file in files.items() if self.manifests.held(path)]
        ghosts = [] if self._is_dry else removable_ghosts(self._seen, held, self.manifests, head.named)
        found = [OldFile.of(file) for file in files.values() if file not in held]
        new = [each for each in found if each and each.file.version not in self._clean and self._asked(each)]
        others = [path for path in files if _is_data(path) and OldFile.of(files[path]) is None]
        unread = [each.path for each in new if each.suffix not in self.joiners]
        self.report.unread = sorted({*self.report.unread, *unread, *others})
        ready = sorted(
            (each for each in new if each.suffix in self.joiners), key=lambda each: (_month(each), each.path)
        )
        return [Join(tuple(group)) for _, group in groupby(ready, _month)], ghosts

    def _asked(self, file: OldFile) -> list[Removal]:
        """Return the removals that a file may have rows for: later days have rows that came after the request."""
        days = [SegmentName.of(run.segment).day for run in self.manifests.runs_in(file.path)] or [file.day]
        return [removal for removal in self._removals if any(map(removal.reaches, days))]

    def remove(
        self, removals: Sequence[Removal], *, is_dry: bool = False, note: Callable[[Join], object] = lambda _: None
    ) -> RemovalReport:
        """Remove the rows that one of `removals` chooses, and the history; with `is_dry`, only count them.

        Args:
            removals: what to remove.
            is_dry: change nothing.
            note: called with the files of each month before they are read.

        Raises:
            ConflictError: files with such rows were changed each time while they were read; the history stays too.
            HubspoolError: a request failed; what was removed before stays removed, as `report` says.
        """
        self._removals, self._is_dry = removals, is_dry
        self.report = report = RemovalReport()
        self._clean.clear()
        before = {} if is_dry else self.repo.large_files()
        for _ in range(self.limits.join_attempts):  # files that changed while they were read are read again
            rows, report.left = report.rows, 0
            report.ghosts += self.run(note=note).ghosts
            if is_dry or (report.rows == rows and not report.left):
                break
        if is_dry or not self.may_go_on():
            return report
        if report.left:
            files = "1 file was" if report.left == 1 else f"{report.left} files were"
            raise ConflictError(f"{files} changed meanwhile, and may have rows to remove: run it again.")
        if not report.rows and not any(commit.title.startswith(_TITLE) for commit in self.repo.commits()):
            return report
        self._name_no_empty_split()
        self._squash()
        report.is_squashed = True
        report.kept = [f"{name}, its files and its history" for name in self.repo.other_refs()]
        if not report.kept:  # the Hub would delete content that these show
            self._delete_large_files(before, report)
        return report

    def _make(self, join: Join, report: CompactionReport) -> None:
        """Read the files of a month, and replace those with rows to remove: up to a hundred in one commit."""
        waiting = iter(join.sources)
        source = next(waiting, None)
        while source is not None:
            with tempfile.TemporaryDirectory(prefix="hubspool-forget-") as name:
                hits: list[_Hit] = []
                size = 0
                while source is not None and len(hits) < self.limits.removal_files and size < self.limits.join_bytes:
                    if not self.may_go_on():
                        return
                    if (hit := self._searched(source, Path(name))) is not None:
                        hits.append(hit)
                        size += source.file.size
                    source = next(waiting, None)
                self._replace(hits, report)

    def _searched(self, source: OldFile, folder: Path) -> _Hit | None:
        """Return what is to take the place of a file; None if no row of it is to be removed."""
        joiner, report = self.joiners[source.suffix], self.report
        identifier = uuid.uuid4().hex[:12]
        old, new = folder / "old", folder / identifier
        try:
            self._seen.download(source.path, old)
        except (RemoteEntryNotFoundError, RevisionNotFoundError):  # the history was squashed since it was listed
            report.left += 1
            return None
        if not joiner.keeps_bytes and self._key_of(source, old) is None:
            report.unread.append(source.path)
            self._clean.add(source.file.version)
            return None
        removed = joiner.remove(old, new, any_of(self._asked(source)))
        if not removed or self._is_dry:
            self._clean.add(source.file.version)
            report.rows += len(removed)
            report.files += bool(removed)
            new.unlink(missing_ok=True)
            return None
        as_part = replace(source, level=max(source.level - 1, 0))  # a joined file keeps its level
        path = Join((as_part,)).path(identifier)
        runs = without_rows(self._runs([(source, old, 0)], source.path, old), removed, path)
        if joiner.keeps_bytes:
            runs = with_sha256(runs, new)
        is_left = len(removed) < joiner.rows(old)
        return _Hit(source, [CommitOperationAdd(path, new)] if is_left else [], runs, len(removed))

    def _replace(self, hits: Sequence[_Hit], report: CompactionReport) -> None:
        if not hits:
            return
        adds, runs = [add for hit in hits for add in hit.adds], [run for hit in hits for run in hit.runs]
        commits = len(report.commits)
        self._commit([hit.source for hit in hits], adds, runs, report)
        if len(report.commits) > commits:
            self.report.commits += 1
            self.report.rows += sum(hit.rows for hit in hits)
            self.report.files += len(hits)
        else:
            self.report.left += len(hits)

    def _name_no_empty_split(self) -> None:
        """Take splits of which no row is left out of the card."""

        def change(head: Head) -> Change | None:
            at = self.repo.at(head.oid)
            text = without_empty_splits(at.text("README.md") or "", at.list_files("", recursive=True))
            adds = [] if text is None else [CommitOperationAdd("README.md", text.encode())]
            return (adds, f"{_TITLE} the card: no row of a split is left", "") if adds else None

        with suppress(HFValidationError, UnicodeDecodeError):  # a person has to repair the card
            self._commit_at_head(change)

    def _squash(self) -> None:
        """Squash the history; the digest of a part of which rows were removed would let a reader check a guess."""
        at = self.repo.at(self.repo.head().oid)
        files = at.list_files(self.folder, recursive=True)

        def keep(path: str) -> bool:
            part = self.manifests.held(path)
            return path in files or (part is not None and part.is_whole)

        self.repo.squash(self.repo.commits(has_all=True), keep)

    def _delete_large_files(self, before: Mapping[str, tuple[str, str]], report: RemovalReport) -> None:
        """Delete the large files that only the history had; of files that people wrote, none is deleted."""
        head = self.repo.at(self.repo.head().oid)
        kept = {file.content_id for file in head.list_files("", recursive=True).values()}
        gone = {
            sha256: identifier
            for sha256, (identifier, path) in before.items()
            if sha256 not in kept and OldFile.of(RemoteFile(path, 0, "")) is not None
        }
        if not gone:
            return
        try:
            self.repo.delete_large_files([*gone.values()])
            report.large_files = len(gone)
        except (BadRequestError, ForbiddenError) as error:
            report.kept.append(f"{len(gone)} large files of the history, which the Hub keeps: {error}")

    def note(self, removals: Sequence[Removal]) -> None:
        """Write removals to the repository, where all replicas read them.

        Raises:
            ConflictError, ParentCommitMismatchError: other commits came first each time.
        """

        def change(_: Head) -> Change:
            adds = [CommitOperationAdd(each.path, each.content()) for each in removals]
            return adds, "Remove rows on request", join_description(removals[0].path)

        self.repo.commit_at_head(change, self.limits.join_attempts, Caller(self.pause))

    def check(self) -> tuple[RemovalReport | None, datetime | None]:
        """Look again for the rows of all removals that wait for their second look.

        Returns:
            What was removed now, None if no removal waits; and the time of the second look that is still to come.
        """
        head = self.repo.head()
        known = self.manifests.removals = Removal.read_all(self.repo.at(head.oid), self.manifests.removals)
        waiting = [each for each in known.values() if not each.is_checked]
        if not waiting:
            return None, None
        seconds = self.limits.second_look_seconds
        due = [each for each in waiting if each.is_due(head.at, seconds)]
        report = self.remove(waiting)
        if due and self.may_go_on():
            self.note(checked := [replace(each, is_checked=True) for each in due])
            self.manifests.removals |= {each.path: each for each in checked}
        return report, max((each.due_at(seconds) for each in waiting if each not in due), default=None)


def is_over(day: date, today: date, days: int) -> bool:
    """Return True if rows of a day are not kept any more, where they are kept for so many days."""
    return (today - day).days > days


def expired(files: Iterable[OldFile], today: date, days: int) -> list[OldFile]:
    """Return the files whose newest segment is of more than `days` days ago; never the newest file of a split."""
    splits: dict[tuple[str, str], list[OldFile]] = {}
    for file in files:
        splits.setdefault((file.folder, file.name), []).append(file)
    newest = {max(found, key=lambda file: (file.day, file.order, file.path)).path for found in splits.values()}
    old = [file for found in splits.values() for file in found if is_over(file.day, today, days)]
    return [file for file in old if file.path not in newest]


@dataclass(eq=False)
class Expirer(Compactor):
    """Removes files of which all rows are too old; the manifests say so, and nobody sends the rows again.

    Args:
        days: how many days rows are kept.
        split: the only one to look at, None for all.

    The other arguments are those of `Compactor`.
    """

    title = "Remove {} files of past days"
    _: KW_ONLY
    days: int
    split: str | None = None

    def due(self, before: date | None = None) -> tuple[list[Join], list[str]]:
        head, files = self._listed()
        found = [OldFile.of(file) for path, file in files.items() if not self.manifests.held(path)]
        known = [file for file in found if file is not None and file.suffix in self.joiners and self._is_ours(file)]
        old = sorted(expired(known, before or head.at.date(), self.days), key=lambda file: (file.day, file.path))
        groups = groupby(old, key=lambda file: (file.suffix, f"{file.day:%Y-%m}"))
        return [Join(tuple(group)) for _, group in groups], []

    def _is_ours(self, file: OldFile) -> bool:
        return file.folder == self.folder and self.split in (None, file.name)

    def _make(self, join: Join, report: CompactionReport) -> None:
        joiner, runs = self.joiners[join.sources[0].suffix], []
        for source in join.sources:
            with tempfile.TemporaryDirectory(prefix="hubspool-retain-") as folder:
                local = Path(folder) / "old"
                if source.level:  # its manifest says what it has
                    local.touch()
                else:
                    self._seen.download(source.path, local)
                    if not joiner.keeps_bytes and self._key_of(source, local) is None:
                        return
                runs += self._runs([(source, local, 0)], source.path, local)
        self._commit(join.sources, [], [replace(run, path="", removed=run.rows, sha256="") for run in runs], report)


def _month(file: OldFile) -> tuple[str, bool]:
    """Return what the files of one commit have in common: its manifest is of one month."""
    return f"{file.day:%Y-%m}", bool(file.level)


def any_of(removals: Iterable[Removal]) -> Matches:
    """Return whether one of the removals chooses a row."""
    found = [*removals]
    return lambda row: any(removal.matches(row) for removal in found)


def without_rows(runs: Sequence[JoinedRun], removed: Sequence[tuple[int, int]], path: str) -> list[JoinedRun]:
    """Return the runs of a file after rows of it were removed; those that lost some have no sha256 any more.

    Args:
        runs: in the order of their offsets.
        removed: (offset, size) of each row, ascending.
        path: of the file without them.
    """
    found = []
    for run, after in zip(runs, [*runs[1:], None], strict=False):
        inside = [at for at, _ in removed if run.offset <= at and (after is None or at < after.offset)]
        moved = replace(run, path=path, offset=run.offset - sum(size for at, size in removed if at < run.offset))
        if inside:
            gone = run.removed + len(inside)
            digests = ("",) * len(run.sizes) if run.sha256 else run.digests
            moved = replace(moved, path=path if gone < run.rows else "", removed=gone, digests=digests, sha256="")
        found.append(moved)
    return found


def _is_data(path: str) -> bool:
    return path != "README.md" and not path.startswith(".")
