"""Publishes the rows of a bucket to a dataset: the compaction of a bucket.

The files of a month that no manifest of the dataset covers become one commit: joined files, the card, and a manifest
whose runs name segment and bytes. Then a marker in the bucket says what was published, and only after that files are
deleted. parentCommit keeps two publishers apart; each step may be repeated, by whoever comes next, so a publisher may
be killed at any of them.
"""

from __future__ import annotations

import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, count, groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from hubspool.client.operations import CommitOperationAdd
from hubspool.client.retry import METADATA, ON_HEAD, Caller, call_with_retries
from hubspool.client.transfer.parallel import for_each
from hubspool.errors import BucketBatchError, ChangedMeanwhileError, HFValidationError, RemoteEntryNotFoundError
from hubspool.files import sha256_of as _sha256
from hubspool.push.defaults import DEFAULTS, PushLimits
from hubspool.push.encodings import Span
from hubspool.push.kinds import together
from hubspool.push.manifest import JoinedRun, Manifests, manifest_path
from hubspool.push.published import marker, marker_path, uncovered, unpublished
from hubspool.push.remote import RemoteFile, RemoteRepo, join_description
from hubspool.spool.segment_name import JoinedName, RangeName, part_rule

if TYPE_CHECKING:
    from hubspool.client.repo_info import CommitInfo
    from hubspool.push.joiner import Joiner
    from hubspool.push.remote_bucket import RemoteBucket

#: Folder of the months, and split → the new files of it on this disk, with their rows and bytes.
NewFiles: TypeAlias = Mapping[tuple[str, str], Sequence[Path]]
#: Takes the dataset, the form and the new files, which it reads; returns what returns the card for a parent, if needed.
CardOf: TypeAlias = Callable[[RemoteRepo, str, NewFiles, int], Callable[[str], Iterable[CommitOperationAdd]]]


@dataclass(frozen=True)
class RangeToPublish:
    """The bytes [start, end) of a segment, in a file of the bucket; `folder` is that of its month in the dataset."""

    file: RemoteFile
    name: RangeName
    folder: str
    start: int
    end: int

    @property
    def place(self) -> tuple[str, str, str]:
        """Month, folder and split: pieces of one place are joined."""
        return self.name.segment.month, self.folder, self.name.segment.name

    @property
    def segment(self) -> str:
        """The file name of the segment."""
        return str(self.name.segment)

    @property
    def form(self) -> str:
        """The suffix of the file."""
        return self.name.segment.suffix or "jsonl"


@dataclass
class PublishReport:
    """What a run did.

    Args:
        commits: of the dataset.
        paths: of their files of rows.
        files, rows: that were published.
        deleted: files of the bucket.
        left: path → reason, of files that cannot be published.
        is_whole: nothing else is left to publish; False if there was no time.
    """

    commits: list[CommitInfo] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    files: int = 0
    rows: int = 0
    deleted: int = 0
    left: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False


class Publisher:
    """Publishes what schedulers wrote to a bucket. Used by one thread.

    Not guaranteed: that rows which arrive while it runs are published; the next run takes them.

    Args:
        bucket: to read, and to delete from.
        inside: a folder of it; empty for all of it.
        repo: the branch of the dataset, which exists.
        joiners: suffix → what joins files of that form.
        card_of: makes the dataset card.
        form: suffix of the files in the dataset; None: that of the files in the bucket.
        limits: of joined files and commits.
        may_go_on: returns False to stop before the next step.
        has_time: returns False to download no more, and to publish what was.
        pause: waits for so many seconds; returns True to stop.
    """

    def __init__(
        self,
        bucket: RemoteBucket,
        inside: str,
        repo: RemoteRepo,
        joiners: Mapping[str, Joiner],
        card_of: CardOf,
        *,
        form: str | None = None,
        limits: PushLimits = DEFAULTS,
        may_go_on: Callable[[], bool] = lambda: True,
        has_time: Callable[[], bool] = lambda: True,
        pause: Callable[[float], bool],
    ) -> None:
        self.bucket, self.inside, self.repo, self.joiners, self.card_of = bucket, inside, repo, joiners, card_of
        self.form, self.limits, self.may_go_on, self.has_time = form, limits, may_go_on, has_time
        self.manifests = Manifests()
        self.goes_on = False  # a run has published only a part of what was listed; the next one goes on from there
        self._caller = Caller(pause, lambda *_: None)
        self._files: dict[str, list[tuple[RangeName, RemoteFile]]] = {}  # of each segment
        self._gone: set[str] = set()  # since they were listed
        self._done: set[RangeToPublish] = set()  # by this object
        self._report = PublishReport()

    def run(self, *, delete: bool = False, note: Callable[[int, int], object] = lambda *_: None) -> PublishReport:
        """Publish everything that the bucket lists, a commit for each month; with `delete` remove what is there.

        The list is that of `look`, or of the run before if `goes_on` is True.

        Args:
            delete: remove from the bucket what a marker and the dataset have.
            note: called after each download, by the thread that made it: how many files of the next commit are here, of
                how many.

        Raises:
            HFValidationError: the files do not have one form, or cannot be published in the one that is asked for.
            HubspoolError: a request failed; another run goes on.
        """
        self._report = PublishReport(left=self._report.left if self.goes_on else {})
        try:
            self.look()
            form = self._form()
            while self.may_go_on() and not self._report.is_whole:
                self._report.is_whole = not call_with_retries(
                    partial(self._publish, form, note), METADATA, self._caller
                )
                if not self.has_time():  # not before the first file was downloaded
                    break
            if delete and self._report.is_whole:
                self._delete()
        finally:
            self.goes_on = not self._report.is_whole and (self.goes_on or bool(self._report.commits))
            self.forget()
        return self._report

    def look(self) -> bool:
        """List the bucket, unless that was done for the next run; return whether it has files of rows."""
        if not self._files:
            self._list()
        return bool(self._files)

    def forget(self) -> None:
        """Let the next look list the bucket again, unless a publish goes on."""
        if not self.goes_on:
            self._files = {}

    def seconds_until_due(self, period: float) -> float:
        """Return the seconds until a publish is due: the newest manifest of the dataset is `period` seconds old."""
        self.look()
        head = self.repo.head()
        self.manifests.read(self.repo, head, self._files)
        newest = self.manifests.newest()
        return 0.0 if newest is None else max(period - (head.at - newest).total_seconds(), 0.0)

    def _list(self) -> None:
        self._files, self._gone = {}, set()
        for path, file in sorted(self.bucket.list_files(self.inside, recursive=True).items()):
            if (name := RangeName.parse(PurePosixPath(path).name)) is not None:
                self._files.setdefault(str(name.segment), []).append((name, file))

    def _form(self) -> str:
        """Return the suffix of the files in the dataset."""
        found = {name.segment.suffix or "jsonl" for files in self._files.values() for name, _ in files}
        form = self.form or min(found, default="jsonl")
        for each in sorted(found - {form}):
            if each != "jsonl" or self.form is None:
                raise HFValidationError(
                    f"{self.bucket.target.repo_id} has {each} files, which cannot become {form} files.",
                    hint="Give the folder of files of one form: hf://buckets/OWNER/NAME/FOLDER.",
                )
        if missing := {form, *found} - self.joiners.keys():
            raise HFValidationError(f"Nothing reads {', '.join(missing)} files.", hint="Install hubspool's extras.")
        return form

    def _publish(self, form: str, note: Callable[[int, int], object]) -> bool:
        """Make one commit, of one month; return False if there is nothing to publish, and markers tell all of it.

        Raises:
            ChangedMeanwhileError: what was read is older than a commit of this object.
        """
        head = self.repo.head()
        self.manifests.read(self.repo, head, self._files)
        self._mark({manifest: oid for oid, manifest in head.joins.items()})
        pieces = sorted(self._pieces(), key=lambda each: (each.place, each.segment, each.start))
        batch: list[RangeToPublish] = []
        size = 0
        for piece in pieces:
            size += piece.file.size
            if batch and (piece.place[0] != batch[0].place[0] or size > self.limits.publish_bytes):
                break
            batch.append(piece)
        if not self._done.isdisjoint(batch):  # the manifests that were read are old: nothing is published twice
            raise ChangedMeanwhileError(batch[0].file.path)
        if batch:
            with tempfile.TemporaryDirectory(prefix="hubspool-publish-") as folder:
                self._commit(batch, form, Path(folder), note)
        return bool(batch)

    def _covered(self, segment: str) -> list[tuple[int, int]]:
        held = self.manifests.of_segment(segment).values()
        return [(part.start, part.end(part.start)) for part in held if part.start is not None]

    def _pieces(self) -> Iterable[RangeToPublish]:
        for segment, files in self._files.items():
            ranges = {(name.start, name.end): (name, file) for name, file in files}
            is_cut = segment.count(".") == 1
            for each, left in unpublished(ranges, self._covered(segment), is_cut=is_cut):
                name, file = ranges[each]
                if file.path in self._report.left or file.path in self._gone:
                    continue
                if not left:
                    self._report.left[file.path] = "a part of its rows is published, and its form cannot be cut"
                place, month = PurePosixPath(file.path).relative_to(self.inside).parent, name.segment.month
                place = place.parent if place.name == month else place
                folder = f"{place if place.name else 'data'}/{month}"
                yield from (RangeToPublish(file, name, folder, start, end) for start, end in left)

    def _mark(self, commits: Mapping[str, str]) -> None:
        """Write the markers that are missing; `commits` are manifest → its commit, as far as they are known.

        What a marker says depends only on its manifest, which never changes, so that any number of publishers may
        write it.
        """
        marked = self.bucket.published()
        for manifest in sorted({path for segment in self._files for path in self.manifests.naming(segment)}):
            ranges: dict[str, list[tuple[int, int]]] = {}
            for run in self.manifests.runs_of(manifest):
                pairs = zip(run.starts, run.sizes, strict=False)
                ranges.setdefault(run.segment, []).extend((start, start + size) for start, size in pairs)
            if any(uncovered(*each, marked.get(segment, ())) for segment in ranges for each in ranges[segment]):
                path = marker_path(commits.get(manifest, PurePosixPath(manifest).stem))
                self._change_bucket(add=[(marker(self.repo.target.repo_id, ranges), path)])

    def _change_bucket(self, **changes: Sequence[tuple[bytes, str]] | Sequence[str]) -> None:
        self.bucket.api.batch_bucket_files(self.bucket.target.repo_id, **changes)  # type: ignore[arg-type]

    def _delete(self) -> None:
        """Delete the files whose whole range a marker, and a manifest of the dataset, has.

        JSON Lines of another size are not what their name says, and stay.
        """
        marked = self.bucket.published()
        gone = [
            file.path
            for segment, files in self._files.items()
            for covered in [self._covered(segment)]
            for name, file in files
            if (name.segment.suffix or file.size == name.end - name.start)
            and not uncovered(name.start, name.end, marked.get(segment, ()))
            and not uncovered(name.start, name.end, covered)
        ]
        try:
            if gone:
                self._change_bucket(delete=gone)
        except BucketBatchError as error:  # another publisher may have deleted some
            if self.bucket.files([each["path"] for each in error.failures]):
                raise
        self._report.deleted = len(gone)

    def _fetch(self, piece: RangeToPublish, to: Path) -> None:
        """Download a piece, if there is time; a file that is not what its name says is left."""
        if not self.may_go_on() or not self.has_time():
            return
        path, joiner = piece.file.path, self.joiners[piece.form]
        try:
            if piece.file.size > DEFAULTS.json_probe_bytes:
                self.bucket.download(path, to)
            else:
                to.write_bytes(self.bucket.content(path))
        except RemoteEntryNotFoundError:  # another publisher was first
            self._gone.add(path)
            return
        span = (piece.name.start, piece.name.start + to.stat().st_size)
        if joiner.keeps_bytes and (piece.start, piece.end) != span:
            content = to.read_bytes()[piece.start - piece.name.start : piece.end - piece.name.start]
            to.write_bytes(content)
        found: Span | None = Span(piece.segment, *span)
        if not joiner.keeps_bytes:
            found = joiner.span_of(to) if joiner.is_sound(to) else None
        if found != Span(piece.segment, piece.name.start, piece.name.end):
            self._report.left[path] = "it does not hold the rows that its name says"

    def _groups(
        self, pieces: Iterable[RangeToPublish], local: Mapping[RangeToPublish, Path]
    ) -> Iterable[list[RangeToPublish]]:
        """Return the pieces that are joined into one file each."""
        groups: list[tuple[object, Counter[str], list[RangeToPublish]]] = []
        for piece in pieces:
            joiner, path = self.joiners[piece.form], local[piece]
            if piece.file.path in self._report.left or (key := joiner.key_of(path)) is None:
                self._report.left.setdefault(piece.file.path, "it is damaged: a line of it is cut or is no row")
                continue
            sizes = Counter(join_bytes=path.stat().st_size, join_memory=joiner.memory_of(path))
            for number, (other, taken, sources) in enumerate(groups):
                both, new = together(other, key), taken + sizes
                if both is not None and all(count <= getattr(self.limits, name) for name, count in new.items()):
                    groups[number] = both, new, [*sources, piece]
                    break
            else:
                groups.append((key, sizes, [piece]))
        return [sources for _, _, sources in groups]

    def _join(
        self, group: Sequence[RangeToPublish], local: Mapping[RangeToPublish, Path], form: str, out: Path
    ) -> list[JoinedRun]:
        """Write a joined file; return its runs, whose first part has no number yet: neighbours are one part."""
        joiner, segment = self.joiners[group[0].form], group[0].name.segment
        name = JoinedName(segment.name, max(each.name.segment.date for each in group), 1, form)
        path = f"{group[0].folder}/{name.with_id(uuid.uuid4().hex[:12])}"
        joined = out.with_suffix(".joined")
        offsets = joiner.join([local[piece] for piece in group], joined)
        if form != group[0].form:
            self.joiners[form].from_lines(joined, out)
        else:
            joined.rename(out)
        counts = [joiner.rows(local[piece]) for piece in group]
        if form != group[0].form:
            offsets = [0, *accumulate(counts)]
        runs: list[JoinedRun] = []
        for piece, offset, rows in zip(group, offsets, counts, strict=False):
            size, at = piece.end - piece.start, piece.start
            last = runs[-1] if runs else None
            if last and (last.segment, last.starts[0] + last.sizes[0]) == (piece.segment, at):
                both = last.rows + rows
                runs[-1] = replace(last, sizes=(last.sizes[0] + size,), rows=both, counts=(both,))
            else:
                run = JoinedRun(piece.segment, piece.folder, path, offset, 0, (size,), ("",), (at,), rows)
                runs.append(replace(run, counts=(rows,)))
        if self.joiners[form].keeps_bytes:
            digests = [_sha256(out, run.offset, run.sizes[0]) for run in runs]
            runs = [replace(run, sha256=each, digests=(each,)) for run, each in zip(runs, digests, strict=True)]
        return runs

    def _commit(
        self, batch: Sequence[RangeToPublish], form: str, folder: Path, note: Callable[[int, int], object]
    ) -> None:
        """Commit pieces, at the newest commit at which none of them is published.

        Raises:
            ChangedMeanwhileError: another publisher was first.
        """
        local = {piece: folder / f"{number}.piece" for number, piece in enumerate(batch)}
        arrived = count(1)

        def fetch(piece: RangeToPublish) -> None:
            self._fetch(piece, local[piece])
            note(next(arrived), len(batch))

        for_each(batch, fetch, self.limits.publish_downloads)
        runs: list[JoinedRun] = []
        adds: list[CommitOperationAdd] = []
        new: dict[tuple[str, str], list[Path]] = {}
        taken: list[RangeToPublish] = []
        for (_, parent, split), pieces in groupby(batch, key=lambda each: each.place):
            for group in self._groups([piece for piece in pieces if local[piece].exists()], local):
                out = folder / f"{len(adds)}.{form}"
                of_group = self._join(group, local, form, out)
                adds.append(addition := CommitOperationAdd(of_group[0].path, out))
                runs += [replace(run, file=addition.sha256) for run in of_group]
                new.setdefault((str(PurePosixPath(parent).parent), split), []).append(out)
                taken += group
        if not adds or not self.may_go_on():
            return
        rows = sum(run.rows for run in runs)
        card = self.card_of(self.repo, form, new, rows)
        target = self.repo.target
        # Before the newest commit is read, as in a compaction.
        self.repo.api.preupload_lfs_files(
            target.repo_id, [*self._rule(self.repo, form), *adds], repo_type=target.repo_type, revision=target.revision
        )

        def attempt() -> CommitInfo | None:
            head = self.repo.head()
            self.manifests.read(self.repo, head, self._files)
            covered = {segment: self._covered(segment) for segment in {piece.segment for piece in taken}}
            if any(uncovered(*at, covered[p.segment]) != [at] for p in taken for at in [(p.start, p.end)]):
                return None
            manifest = manifest_path(taken[0].place[0], head.at, uuid.uuid4().hex[:12])
            content = b"".join(run.line() for run in self._numbered(runs))
            extra = [*self._rule(self.repo.at(head.oid), form), *card(head.oid)]
            operations = [*adds, CommitOperationAdd(manifest, content), *extra]
            return self.repo.commit(operations, f"Publish {rows} rows", join_description(manifest), head.oid)

        policy = replace(ON_HEAD, attempts=self.limits.join_attempts)
        if (commit := call_with_retries(attempt, policy, self._caller)) is None:
            raise ChangedMeanwhileError(taken[0].file.path)
        self._done.update(taken)
        self._report.commits.append(commit)
        self._report.paths += [addition.path_in_repo for addition in adds]
        self._report.files, self._report.rows = self._report.files + len(taken), self._report.rows + rows

    def _numbered(self, runs: Iterable[JoinedRun]) -> Iterable[JoinedRun]:
        """Give parts the numbers after those that the manifests name."""
        given: Counter[str] = Counter()
        for run in runs:
            known = max(self.manifests.of_segment(run.segment), default=-1) + 1
            yield replace(run, first=known + given[run.segment])
            given[run.segment] += 1

    def _rule(self, at: RemoteRepo, form: str) -> list[CommitOperationAdd]:
        """Return a new ``.gitattributes``, if the dataset has no rule that its files go through Xet."""
        text, rule = at.text(".gitattributes") or "", part_rule("" if form == "jsonl" else form)
        with_rule = f"{text.rstrip()}\n{rule}\n".lstrip()
        return [] if rule in text.splitlines() else [CommitOperationAdd(".gitattributes", with_rule.encode())]
