"""Publishes the rows of a bucket to a dataset: the compaction of a bucket.

The files of a month that no manifest of the dataset covers become one commit: joined files, the card, and a manifest
whose runs name segment and bytes. Then a marker in the bucket says what was published, and only after that files are
deleted. Of two publishers that commit at once, the Hub refuses one (412, by parentCommit), which reads again. Each step
can be repeated, so the next run goes on where a killed publisher stopped.
"""

from __future__ import annotations

import math
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from hubspool.client.operations import CommitOperationAdd
from hubspool.client.retry import METADATA, Caller, asked_seconds, call_with_retries
from hubspool.client.transfer.parallel import for_each
from hubspool.errors import (
    BadResponseError,
    BucketBatchError,
    ChangedMeanwhileError,
    HFValidationError,
    HubConnectionError,
    HubspoolError,
    RateLimitedError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from hubspool.files import xet_contents
from hubspool.push.defaults import DEFAULTS, PushLimits
from hubspool.push.encodings import Span
from hubspool.push.joiner import Joiner, grouped
from hubspool.push.manifest import JoinedRun, Manifests, new_manifest, with_sha256, written_at
from hubspool.push.published import marker, marker_path, uncovered, unpublished
from hubspool.push.remote import Change, Head, RemoteFile, RemoteRepo, join_description
from hubspool.push.remover import any_of
from hubspool.push.rules import cut_by_size
from hubspool.push.while_going import StoppedError, WhileGoing
from hubspool.spool.segment_name import JoinedName, RangeName, without_month

if TYPE_CHECKING:
    from hubspool.client.repo_info import CommitInfo
    from hubspool.push.remote_bucket import RemoteBucket

#: Folder of the months, and split → the new files of it on this disk, with their rows and bytes.
NewFiles: TypeAlias = Mapping[tuple[str, str], Sequence[Path]]
#: Takes the dataset, the form, the new files, and the number of rows. It may write files anew, so that they fit the
#: columns of the dataset. Returns what returns the card for a parent, if needed.
CardOf: TypeAlias = Callable[[RemoteRepo, str, NewFiles, int], Callable[[str], Iterable[CommitOperationAdd]]]

T = TypeVar("T")

#: Ends the name of a manifest whose commit did not take all that was to be published: the publish goes on at once.
_MORE = "-more"


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
        error: of the last attempt that failed.
    """

    commits: list[CommitInfo] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    files: int = 0
    rows: int = 0
    deleted: int = 0
    left: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False
    error: HubspoolError | None = None


@dataclass(eq=False)
class Publisher:
    """Publishes what schedulers wrote to a bucket, but for rows that were to be removed (`hubspool forget`).

    Not guaranteed: that rows which arrive while it runs are published; the next run takes them. Nor that other datasets
    have what is deleted from the bucket: they may be gone, or renamed, and are not asked. Used by one thread.

    Args:
        bucket: to read, and to delete from.
        inside: a folder of it; empty for all of it.
        repo: the branch of the dataset, which exists, or is created before its first commit if `private` is set.
        joiners: suffix → what joins files of that form.
        card_of: makes the dataset card.
        form: suffix of the files in the dataset; None: that of the files in the bucket.
        limits: of joined files and commits.
        may_go_on: returns False to stop before the next step.
        has_time: returns False to download no more, to publish what was, and to end a wait.
        pause: waits for so many seconds; returns True to stop.
    """

    bucket: RemoteBucket
    inside: str
    repo: RemoteRepo
    joiners: Mapping[str, Joiner]
    card_of: CardOf
    _: KW_ONLY
    form: str | None = None
    limits: PushLimits = DEFAULTS
    may_go_on: Callable[[], bool] = lambda: True
    has_time: Callable[[], bool] = lambda: True
    pause: Callable[[float], bool]
    manifests: Manifests = field(default_factory=Manifests, init=False)
    #: A run has published only a part of what was listed; the next one goes on from there.
    goes_on: bool = field(default=False, init=False)
    private: bool | None = field(default=None, init=False)  # visibility of the dataset, if it is created
    #: What the last `run` did, also if it failed.
    report: PublishReport = field(default_factory=PublishReport, init=False)
    _note: Callable[[int, int], object] = field(init=False)  # of the last `run`
    _files: dict[str, list[tuple[RangeName, RemoteFile]]] = field(default_factory=dict, init=False)  # of each segment
    _gone: set[str] = field(default_factory=set, init=False)  # since they were listed
    #: Of what was listed, with the reason; a copy goes into the report.
    _left: dict[str, str] = field(default_factory=dict, init=False)
    #: Files that the last attempt could not get, with the error of each.
    _refused: dict[str, str] = field(default_factory=dict, init=False)
    #: By this object, and not in a manifest that was read.
    _done: set[RangeToPublish] = field(default_factory=set, init=False)
    #: The commit of the dataset that was read last; empty if there is no dataset.
    _seen: str = field(default="", init=False)

    def run(self, *, delete: bool = False, note: Callable[[int, int], object] = lambda *_: None) -> PublishReport:
        """Publish everything that the bucket lists, a commit for each month; with `delete` remove what is there.

        The list is that of `look`, or of the run before if `goes_on` is True.

        Where the Hub refuses more downloads for now, what has arrived is published, and the rest after a wait.

        Args:
            delete: remove from the bucket what a marker and the dataset have.
            note: called after each download, whether it worked or not, by the thread that made it, one at a time: how
                many files of the next commit are done, of how many.

        Raises:
            HFValidationError: the files do not have one form, or cannot be published in the one that is asked for.
            HubspoolError: a request failed; another run goes on.
        """
        report = self.report = PublishReport()
        self._note = note
        try:
            self.look()
            publish = partial(self._publish, self._form())
            while self.may_go_on() and not report.is_whole:
                report.is_whole = not self._attempt(publish)
                if not self.has_time():  # not before the first file was downloaded
                    break
            if delete and report.is_whole and self._seen:
                self._delete()
        except StoppedError:
            pass
        finally:
            self.goes_on = not report.is_whole and (self.goes_on or bool(report.commits))
            report.left = {**self._left}
            self.forget()
        return report

    def _attempt(self, publish: Callable[[], bool]) -> bool:
        """Return what `publish` returns in the end; a file that cannot be had is left."""
        try:
            # The Hub's longest wait is five minutes.
            return call_with_retries(publish, replace(METADATA, seconds=math.inf), Caller(self._wait, self._failed))
        except HubspoolError:
            if not self.may_go_on():
                raise StoppedError from None
            if not self._refused:
                raise
            self._left |= self._refused
            return True

    def look(self) -> bool:
        """List the bucket, unless that was done for the next run; return whether it has files of rows."""
        if not self._files:
            self._left = {}
            self._list()
        return bool(self._files or self._left)

    def forget(self) -> None:
        """Let the next look list the bucket again, unless a publish goes on."""
        if not self.goes_on:
            self._files = {}

    def seconds_until_due(self, period: float) -> float:
        """Return the seconds until a publish is due: the newest one, as the markers say, is `period` seconds old.

        One that was ended before it had published all does not count: its marker has no time.
        """
        newest = max(
            (each.at for each in self.bucket.markers() if each.repo_id == self.repo.target.repo_id), default=""
        )
        if not newest:
            return 0.0
        return max(period - (self.repo.head().at - datetime.fromisoformat(newest)).total_seconds(), 0.0)

    def _going(self, items: Iterable[T]) -> list[T]:
        return WhileGoing(items, self.may_go_on)

    def _wait(self, seconds: float) -> bool:
        """Wait, while there is time, or for less than a second; return True to stop.

        The step that a publish ends with, its commit, comes when the time for downloads is over: one failed request
        must not throw away what was downloaded.
        """
        while not self.pause(min(seconds, 1.0)):
            seconds -= 1.0
            if seconds <= 0:
                return False
            if not self.has_time():
                break
        return True

    def _failed(self, error: HubspoolError, _: float | None) -> None:
        self.report.error = error

    def _list(self) -> None:
        found = self.bucket.list_files(self.inside, recursive=True)
        before = (file for files in self._files.values() for _, file in files)
        same = {file.path for file in before if found.get(file.path) == file}
        self._files, self._gone = {}, set()
        self._left = {path: reason for path, reason in self._left.items() if path in same}
        for path, file in sorted(found.items()):
            if (name := RangeName.parse(PurePosixPath(path).name)) is None:
                continue
            if any(part.startswith(".") for part in PurePosixPath(path).relative_to(self.inside).parts):
                self._left[path] = "a dataset does not show what is in a hidden folder"
            else:
                self._files.setdefault(str(name.segment), []).append((name, file))

    def _form(self) -> str:
        """Return the suffix of the files in the dataset."""
        found = {name.segment.suffix or "jsonl" for files in self._files.values() for name, _ in files}
        form = self.form or min(found, default="jsonl")
        for each in sorted(found - {form}):
            if each != "jsonl" or self.form is None:
                or_format = ", or publish with --format parquet" if each == "parquet" else ""
                raise HFValidationError(
                    f"{self.bucket.target.repo_id} has {each} files, which cannot become {form} files.",
                    hint=f"Give the folder of files of one form: hf://buckets/OWNER/NAME/FOLDER{or_format}.",
                )
        if missing := {form, *found} - self.joiners.keys():
            raise HFValidationError(f"Nothing reads {', '.join(missing)} files.", hint="Install hubspool's extras.")
        return form

    def _publish(self, form: str) -> bool:
        """Make one commit, of one month; return False if there is nothing to publish, and markers tell all of it.

        Raises:
            ChangedMeanwhileError: what was read is older than a commit of this object.
        """
        self._refused = {}
        try:
            head = self.repo.head()
        except RepositoryNotFoundError:
            if self.private is None:
                raise
            self.manifests, self._seen = Manifests(), ""
        else:
            self.manifests.read(self.repo, head, self._files)
            self._seen = head.oid
            self._mark({manifest: oid for oid, manifest in head.joins.items()})
        pieces = sorted(self._pieces(), key=lambda each: (each.place, each.segment, each.start))
        of_month = [piece for piece in pieces if piece.place[0] == pieces[0].place[0]]
        most, most_bytes = len(of_month), self.limits.publish_bytes
        batch = next(cut_by_size(of_month, lambda piece: piece.file.size, most, most_bytes), [])
        self._done.intersection_update(pieces)
        if not self._done.isdisjoint(batch):  # the manifests that were read are old: nothing is published twice
            raise ChangedMeanwhileError(batch[0].file.path)
        if batch:
            with tempfile.TemporaryDirectory(prefix="hubspool-publish-") as folder:
                self._commit(batch, form, Path(folder), is_last=len(batch) == len(pieces))
        return bool(batch)

    def _covered(self, segment: str, files: Container[str] | None = None) -> list[tuple[int, int]]:
        """Return the ranges of a segment that manifests name, with `files` of the dataset: those that are in one."""
        return [
            each
            for run in self.manifests.runs_of_segment(segment)
            if files is None or not run.path or run.path in files
            for each in run.ranges()
        ]

    def _pieces(self) -> Iterable[RangeToPublish]:
        without = {*self._left, *self._gone}
        for segment, files in self._files.items():
            ranges = {(name.start, name.end): (name, file) for name, file in files if file.path not in without}
            is_cut = segment.count(".") == 1
            for each, left in unpublished(ranges, self._covered(segment), is_cut=is_cut):
                name, file = ranges[each]
                if not left:
                    self._left[file.path] = "a part of its rows is published, and its form cannot be cut"
                place = without_month(PurePosixPath(file.path).relative_to(self.inside).parent)
                folder = f"{place if place.name else 'data'}/{name.segment.month}"
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
                ranges.setdefault(run.segment, []).extend(run.ranges())
            if any(uncovered(*each, marked.get(segment, ())) for segment in ranges for each in ranges[segment]):
                path = marker_path(commits.get(manifest, PurePosixPath(manifest).stem))
                at = None if PurePosixPath(manifest).stem.endswith(_MORE) else written_at(manifest)
                content = marker(self.repo.target.repo_id, ranges, at.isoformat() if at else "")
                self._change_bucket(add=[(content, path)])

    def _change_bucket(self, **changes: Sequence[tuple[bytes, str]] | Sequence[str]) -> None:
        self.bucket.api.batch_bucket_files(self.bucket.target.repo_id, **changes)  # type: ignore[arg-type]

    def _delete(self) -> None:
        """Delete the files whose whole range a marker, a manifest, and a file of the dataset have.

        JSON Lines of another size are not what their name says, and stay.
        """
        marked = self.bucket.published()
        here = self.repo.at(self._seen).list_files("", recursive=True)
        gone = [
            file.path
            for segment, files in self._files.items()
            for covered in [self._covered(segment, here)]
            for name, file in files
            if (name.segment.suffix or file.size == name.end - name.start)
            and not uncovered(name.start, name.end, marked.get(segment, ()))
            and not uncovered(name.start, name.end, covered)
        ]
        self.report.deleted = len(gone)

        def delete() -> None:
            try:
                self._change_bucket(delete=gone)
            except BucketBatchError as error:
                # Another publisher may have deleted some, and a batch that arrived late may have brought one back.
                before, gone[:] = len(gone), self.bucket.files(gone)
                if len(gone) == before:
                    raise
                if gone:
                    raise ChangedMeanwhileError(gone[0]) from error

        if gone:
            call_with_retries(delete, METADATA, Caller(self._wait))

    def _download(
        self, batch: Sequence[RangeToPublish], local: Mapping[RangeToPublish, Path]
    ) -> tuple[list[RangeToPublish], float, bool]:
        """Download pieces, and leave the files that are not what their names say.

        Returns:
            The pieces that are here and have the listed content; the seconds to wait before others are asked for; and
            whether each piece was asked for, and the Hub said what is wrong with those that are not here.

        Raises:
            HubspoolError: none is here, because of an error.
        """
        errors: dict[RangeToPublish, HubspoolError] = {}
        others: dict[str, str] = {}
        lock, done = threading.Lock(), 0

        def fetch(piece: RangeToPublish) -> None:
            nonlocal done
            try:
                # Each thread may meet one error: the Hub may refuse a single file, or all from now on.
                if len(errors) < self.limits.publish_downloads and self.may_go_on() and self.has_time():
                    get(piece, local[piece])
            except RemoteEntryNotFoundError:  # another publisher was first
                self._gone.add(piece.file.path)
            except HubspoolError as error:
                errors[piece] = error
            with lock:
                done += 1
                self._note(done, len(batch))

        def get(piece: RangeToPublish, path: Path) -> None:
            if piece.file.size > DEFAULTS.json_probe_bytes:
                self.bucket.download(piece.file.path, path)
            else:
                path.write_bytes(self.bucket.content(piece.file.path))
            if xet_contents([path]) != [(piece.file.size, piece.file.content_id)]:
                text = f"{piece.file.path} of {self.bucket.target.repo_id} has not the content that was listed."
                others[piece.file.path] = text
                raise BadResponseError(text)
            self._cut(piece, path)

        for_each(batch, fetch, self.limits.publish_downloads)
        here = [piece for piece in batch if piece not in errors and local[piece].exists()]
        wait = max((asked_seconds(error) or 0.0 for error in errors.values()), default=0.0)
        tried = {piece for piece in batch if piece.file.path in self._gone}.union(here, errors)
        if others:
            self._list()  # somebody may have replaced them
        if errors and not here:
            piece, error = next(iter(errors.items()))
            is_of_all = len(batch) > 1 or isinstance(error, HubConnectionError | RateLimitedError)
            self._refused = others or ({} if is_of_all else {piece.file.path: str(error)})
            raise error
        return here, wait, not wait and len(tried) == len(batch)

    def _cut(self, piece: RangeToPublish, path: Path) -> None:
        """Cut a file down to what is to be published of it; a file that is not what its name says is left."""
        joiner = self.joiners[piece.form]
        span = (piece.name.start, piece.name.start + path.stat().st_size)
        if joiner.keeps_bytes and (piece.start, piece.end) != span:
            path.write_bytes(path.read_bytes()[piece.start - piece.name.start : piece.end - piece.name.start])
        found: Span | None = Span(piece.segment, *span)
        if not joiner.keeps_bytes:
            found = joiner.span_of(path) if joiner.is_sound(path) else None
        if found != Span(piece.segment, piece.name.start, piece.name.end):
            self._left[piece.file.path] = "it does not hold the rows that its name says"

    def _without_rows(self, piece: RangeToPublish, path: Path) -> tuple[int, int]:
        """Remove the rows that were asked for from a piece; return how many it had, and how many these are.

        If they are all of its rows, the piece stays as it is.
        """
        joiner, out = self.joiners[piece.form], path.with_suffix(".kept")
        rows, day = joiner.rows(path), piece.name.segment.day
        asked = [removal for removal in self.manifests.removals.values() if removal.reaches(day)]
        removed = len(joiner.remove(path, out, any_of(asked))) if asked else 0
        if 0 < removed < rows:
            out.replace(path)
        return rows, removed

    def _keyed(
        self, pieces: Iterable[RangeToPublish], local: Mapping[RangeToPublish, Path]
    ) -> Iterator[tuple[RangeToPublish, Path, Joiner, object]]:
        """Yield the pieces that can be joined; those that are damaged are left."""
        for piece in self._going(pieces):
            joiner, path = self.joiners[piece.form], local[piece]
            if piece.file.path in self._left or (key := joiner.key_of(path)) is None:
                self._left.setdefault(piece.file.path, "it is damaged: a line of it is cut or is no row")
            else:
                yield piece, path, joiner, key

    def _join(
        self, group: Sequence[RangeToPublish], local: Mapping[RangeToPublish, Path], form: str, out: Path
    ) -> list[JoinedRun]:
        """Write a joined file, unless no row is left; return its runs.

        Their first part has no number yet: neighbours are one part.
        """
        joiner, segment = self.joiners[group[0].form], group[0].name.segment
        name = JoinedName(segment.name, max(each.name.segment.date for each in group), 1, form)
        path = f"{group[0].folder}/{name.with_id(uuid.uuid4().hex[:12])}"
        counts = [self._without_rows(piece, local[piece]) for piece in self._going(group)]
        left = [rows - removed for rows, removed in counts]
        offsets = [0, *accumulate(left)]
        if sources := [local[piece] for piece, rows in zip(group, left, strict=True) if rows]:
            joined = out.with_suffix(".joined")
            places = iter(joiner.join(self._going(sources), joined))
            if form == group[0].form:
                joined.rename(out)
                offsets = [next(places) if rows else 0 for rows in left]
            else:
                self.joiners[form].from_lines(joined, out)
        runs: list[JoinedRun] = []
        for piece, offset, (rows, removed) in zip(group, offsets, counts, strict=False):
            size, last = piece.end - piece.start, runs[-1] if runs else None
            end = last and (last.segment, last.starts[0] + last.sizes[0])
            if last and end == (piece.segment, piece.start) and not (removed or last.removed):
                both = last.rows + rows
                runs[-1] = replace(last, sizes=(last.sizes[0] + size,), rows=both, counts=(both,))
            else:
                file = path if removed < rows else ""
                run = JoinedRun(piece.segment, piece.folder, file, offset, 0, (size,), ("",), (piece.start,), rows)
                runs.append(replace(run, removed=removed, counts=(rows,)))
        if not self.joiners[form].keeps_bytes:
            return runs
        # The digest of a part of which rows were removed would let a reader check a guess.
        told = with_sha256(runs, out)
        return [replace(run, digests=("" if run.removed else run.sha256,)) for run in told]

    def _commit(self, batch: Sequence[RangeToPublish], form: str, folder: Path, *, is_last: bool) -> None:
        """Commit pieces, at the newest commit at which none of them is published; `is_last`: they are all.

        Raises:
            ChangedMeanwhileError: another publisher was first, or rows are to be removed since the pieces were read.
        """
        local = {piece: folder / f"{number}.piece" for number, piece in enumerate(batch)}
        here, wait, is_whole = self._download(batch, local)
        more = "" if is_whole and is_last else _MORE
        removals = {*self.manifests.removals}
        runs: list[JoinedRun] = []
        files: dict[str, Path] = {}
        new: dict[tuple[str, str], list[Path]] = {}
        taken: list[RangeToPublish] = []
        for (_, parent, split), pieces in groupby(here, key=lambda each: each.place):
            for group in self._going(grouped(self._keyed(pieces, local), self.limits)):
                out = folder / f"{len(files)}.{form}"
                of_group = self._join(group, local, form, out)
                taken += group
                if out.exists():
                    files[next(run.path for run in of_group if run.path)] = out
                    new.setdefault((str(PurePosixPath(parent).parent), split), []).append(out)
                runs += of_group
        if not runs or not self.may_go_on():
            return
        rows = sum(run.rows - run.removed for run in runs)
        target = self.repo.target
        if not self._seen:
            self.repo.api.create_repo(target.repo_id, repo_type="dataset", private=self.private, exist_ok=True)
        card = self.card_of(self.repo, form, new, rows)
        adds = [CommitOperationAdd(path, out) for path, out in files.items()]
        # Before the newest commit is read, as in a compaction.
        self.repo.preupload([*self.repo.attributes(form), *adds])

        def change(head: Head) -> Change | None:
            self.manifests.read(self.repo, head, self._files)
            covered = {segment: self._covered(segment) for segment in {piece.segment for piece in taken}}
            is_covered = any(uncovered(*at, covered[p.segment]) != [at] for p in taken for at in [(p.start, p.end)])
            if is_covered or self.manifests.removals.keys() != removals:
                return None
            manifest = new_manifest(taken[0].place[0], head.at, self._numbered(runs), adds, more)
            extra = [*self.repo.at(head.oid).attributes(form), *card(head.oid)]
            return [*adds, manifest, *extra], f"Publish {rows} rows", join_description(manifest.path_in_repo)

        if (commit := self.repo.commit_at_head(change, self.limits.join_attempts, Caller(self._wait))) is None:
            raise ChangedMeanwhileError(taken[0].file.path)
        self._done.update(taken)
        self.report.commits.append(commit)
        self.report.paths += [addition.path_in_repo for addition in adds]
        self.report.files, self.report.rows = self.report.files + len(taken), self.report.rows + rows
        if wait:
            self._wait(wait)

    def _numbered(self, runs: Iterable[JoinedRun]) -> Iterable[JoinedRun]:
        """Give parts the numbers after those that the manifests name."""
        given: Counter[str] = Counter()
        for run in runs:
            known = max(self.manifests.of_segment(run.segment), default=-1) + 1
            yield replace(run, first=known + given[run.segment])
            given[run.segment] += 1
