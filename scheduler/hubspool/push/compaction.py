"""Compaction: joins the many small parts of past days into few files, each join in one commit with its manifest.

Days are joined into files of a day, these into files of half a month: every row is written twice more, and a year has
some 40 files for each split and form. There is no lease; two compactors are kept apart by parentCommit, and writers
by the manifests (`manifest`).
"""

from __future__ import annotations

import logging
import random
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from hashlib import sha256
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hubspool.client.operations import CommitOperation, CommitOperationAdd, CommitOperationDelete
from hubspool.client.transfer.parallel import for_each
from hubspool.errors import ConflictError, ParentCommitMismatchError
from hubspool.push.defaults import DEFAULTS, PushLimits
from hubspool.push.events import CommitEvent
from hubspool.push.joiner import Joiner
from hubspool.push.manifest import JoinedRun, Manifests, manifest_path
from hubspool.push.remote import RemoteFile, RemoteRepo, join_description
from hubspool.spool.segment_name import SegmentName, part_number

if TYPE_CHECKING:
    from hubspool.client.repo_info import CommitInfo

logger = logging.getLogger(__name__)

#: ``<name>-<date>-joined.<id>-<seq>-p<level>.<suffix>``: the globs of parts match it, and it is no segment's name.
_JOINED = re.compile(
    r"(?P<name>.+)-(?P<date>\d{8})-joined\.[0-9a-f]{12}-\d{5}-p(?P<level>\d{4})\.(?P<suffix>[a-z0-9]+)"
)
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
        folder = path.parent.parent if re.fullmatch(r"\d{4}-\d\d", path.parent.name) else path.parent
        place = "" if str(folder) == "." else str(folder)
        if (segment := SegmentName.of_part(path.name)) is not None:
            order = (segment.writer, segment.seq, part_number(path.name))
            day, suffix = _day(segment.date), segment.suffix or "jsonl"
            return None if day is None else cls(file, place, segment.name, day, suffix, 0, order)
        if (match := _JOINED.fullmatch(path.name)) is not None and (day := _day(match["date"])) is not None:
            return cls(file, place, match["name"], day, match["suffix"], int(match["level"]))
        return None

    @property
    def half(self) -> tuple[str, bool]:
        """Its month, and whether it is of the second half."""
        return f"{self.day:%Y-%m}", self.day.day > _HALF


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
        name = f"{last.name}-{last.day:%Y%m%d}-joined.{identifier}-00000-p{self.level:04d}.{last.suffix}"
        return str(PurePosixPath(last.folder) / f"{last.day:%Y-%m}" / name)


def due(files: Iterable[RemoteFile], held: Callable[[str], object], before: date, limits: PushLimits) -> list[Join]:
    """Return the joins that are due.

    Args:
        files: of the repository.
        held: whether a manifest names a path: what stands there is a ghost, and is not joined.
        before: parts whose segment is of this day or later are left alone; files of days, until their half of the month
            is two days over then.
        limits: of a joined file.
    """
    found = [source for file in files if (source := OldFile.of(file)) is not None and not held(source.path)]
    joins = []
    for level, last in ((0, before), (_DAY_FILE, before - timedelta(days=2))):

        def group_of(source: OldFile) -> tuple[str, str, str, tuple[str, bool]]:
            return source.folder, source.name, source.suffix, source.half

        ready = [s for s in found if s.level == level and s.day < last and (level == 0 or _half_end(s.day) < last)]
        ready.sort(key=lambda s: (group_of(s), s.day, s.order, s.path))
        for _, group in groupby(ready, group_of):
            joins += [Join(tuple(sources)) for sources in _cut(list(group), limits) if len(sources) > 1]
    return joins


def _cut(sources: Sequence[OldFile], limits: PushLimits) -> list[list[OldFile]]:
    cut: list[list[OldFile]] = [[]]
    size = 0
    for source in sources:
        if cut[-1] and (len(cut[-1]) >= limits.join_files or size + source.file.size > limits.join_bytes):
            cut.append([])
            size = 0
        cut[-1].append(source)
        size += source.file.size
    return cut


def _half_end(day: date) -> date:
    if day.day <= _HALF:
        return day.replace(day=_HALF)
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def _sha256(path: Path, start: int, size: int) -> str:
    digest = sha256()
    with path.open("rb") as file:
        file.seek(start)
        while size and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


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

    def event(self, commit: CommitInfo) -> CommitEvent:
        """Return the event of a join."""
        return CommitEvent(commit.oid, tuple(self.paths), 0, 0, joined=self.files_before)


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
        has_time: returns False to download no more, and to join what was.
        pause: waits for so many seconds; returns True to stop.
    """

    #: Of a commit; gets the number of files that it replaces.
    title = "Join {} files"

    def __init__(
        self,
        repo: RemoteRepo,
        folder: str,
        joiners: Mapping[str, Joiner],
        manifests: Manifests | None = None,
        *,
        limits: PushLimits = DEFAULTS,
        may_go_on: Callable[[], bool] = lambda: True,
        has_time: Callable[[], bool] = lambda: True,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self.repo = repo
        self.folder = folder
        self.joiners = joiners
        self.manifests = manifests or Manifests()
        self.limits = limits
        self.may_go_on = may_go_on
        self.has_time = has_time
        self.pause = pause or threading.Event().wait
        self.files: dict[str, RemoteFile] = {}  # as of the last call of `due`
        self._seen = repo  # at the commit of that call: what is downloaded is what was listed

    def due(self, before: date | None = None) -> tuple[list[Join], list[str]]:
        """Return the joins that are due, and the ghosts: files whose rows are in a joined file.

        Args:
            before: segments of this day or later are left alone; today by default, as the Hub's clock says.
        """
        head = self.repo.head()
        before = before or head.at.date()
        self._seen = self.repo.at(head.oid)
        self.files = files = self._seen.list_files(self.folder, recursive=True)
        self.manifests.read(self.repo, head, files)
        ghosts = [path for path in files if self.manifests.held(path)]
        joins = due(files.values(), self.manifests.held, before, self.limits)
        again = {f"{source.day:%Y-%m}" for join in joins for source in join.sources if source.level}
        self.manifests.read(self.repo, head, (), again)
        return [join for join in joins if join.sources[0].suffix in self.joiners], ghosts

    def run(
        self, before: date | None = None, most: int | None = None, note: Callable[[Join], object] = lambda _: None
    ) -> CompactionReport:
        """Make the joins that are due, or `most` of them.

        Args:
            before: see `due`.
            most: number of joins; None for all.
            note: called with each join before it is made.

        Raises:
            HubspoolError: a request failed; what was joined before stays.
        """
        report = CompactionReport()
        # What is written meanwhile is left for another run, or this one might never end.
        for level in (0, _DAY_FILE):
            joins, ghosts = self.due(before)
            self._delete(ghosts, report)
            now = [join for join in joins if join.sources[0].level == level]
            for number, join in enumerate(now):
                if not self.may_go_on() or (most is not None and len(report.commits) >= most):
                    report.left = len(joins) - number
                    return report
                note(join)
                self._make(join, report)
        return report

    def _delete(self, ghosts: Sequence[str], report: CompactionReport) -> None:
        if not ghosts:
            return
        head = self.repo.head()
        left = [*self.repo.at(head.oid).files(ghosts)]
        if left:
            self.repo.commit(
                [CommitOperationDelete(path) for path in left], "Delete files whose rows were joined", "", head.oid
            )
            report.ghosts += len(left)

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
            by_key: dict[object, list[OldFile]] = {}
            for source, path in local.items():
                if (key := joiner.key_of(path)) is not None:
                    by_key.setdefault(key, []).append(source)
            groups = [replace(join, sources=tuple(sources)) for sources in by_key.values() if len(sources) > 1]
            adds, lines = [], []
            for number, group in enumerate(groups):
                out = folder / f"joined-{number}"
                offsets = joiner.join([local[source] for source in group.sources], out)
                joined = group.path(uuid.uuid4().hex[:12])
                adds.append(CommitOperationAdd(joined, out))
                lines += self._runs(group, joined, out, local, dict(zip(group.sources, offsets, strict=True)))
            if not groups or not self.may_go_on():
                return
            self._commit([source for group in groups for source in group.sources], adds, lines, report)

    def _runs(
        self, join: Join, path: str, out: Path, local: Mapping[OldFile, Path], offsets: Mapping[OldFile, int]
    ) -> list[JoinedRun]:
        """Return the lines of the manifest for one joined file."""
        runs: list[JoinedRun] = []
        joiner = self.joiners[join.sources[0].suffix]
        for source in join.sources:
            content = local[source]
            if source.level:
                moved = self.manifests.runs_in(source.path)
                runs += [replace(run, path=path, offset=offsets[source] + run.offset) for run in moved]
                continue
            segment = SegmentName.of_part(PurePosixPath(source.path).name)
            assert segment is not None
            span = joiner.range_of(content)
            rows = joiner.rows(content)
            run = JoinedRun(
                segment=str(segment),
                folder=str(PurePosixPath(source.path).parent),
                path=path,
                offset=offsets[source],
                first=source.order[2],
                sizes=(source.file.size if span is None else span[1] - span[0],),
                digests=(source.file.content_id,),
                starts=() if span is None else (span[0],),
                rows=rows,
                counts=(rows,),
            )
            last = runs[-1] if runs else None
            runs[-1:] = [last.extended(run)] if last and last.continues_with(run) else [*runs[-1:], run]
        return (
            runs
            if not joiner.keeps_bytes
            else [run if run.sha256 else replace(run, sha256=_sha256(out, run.offset, sum(run.sizes))) for run in runs]
        )

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
        for attempt in range(self.limits.join_attempts):
            head = self.repo.head()
            at = self.repo.at(head.oid)
            files = at.files([*wanted])
            self.manifests.read(self.repo, head, wanted)
            if any(path not in files or files[path].content_id != wanted[path] for path in wanted) or any(
                self.manifests.held(path) for path in wanted
            ):
                logger.info("%s was changed or joined meanwhile; it is joined at another time", sources[0].path)
                return
            month = max(source.day for source in sources)
            manifest = manifest_path(f"{month:%Y-%m}", head.at, uuid.uuid4().hex[:12])
            old, kept = self.manifests.replaced_by(replaced)
            content = b"".join(run.line() for run in [*kept, *runs])
            operations: list[CommitOperation] = [
                *adds,
                CommitOperationAdd(manifest, content),
                *(CommitOperationDelete(path) for path in [*wanted, *old]),
            ]
            try:
                title = self.title.format(len(wanted))
                commit = self.repo.commit(operations, title, join_description(manifest), head.oid)
            except (ConflictError, ParentCommitMismatchError):
                if self.pause(random.uniform(0, 2**attempt)):  # noqa: S311  jitter
                    return
                continue
            report.commits.append(commit)
            report.files_before += len(wanted)
            report.paths += [addition.path_in_repo for addition in adds]
            report.bytes_joined += sum(addition.size for addition in adds)
            return
        logger.info(
            "other commits came first %d times; the files are joined at another time", self.limits.join_attempts
        )
