"""The rows of a repository at its newest commit: which are new, and in which order their files are fetched."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from functools import cached_property
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any
from zipfile import BadZipFile

from hubspool import HfApi, HubspoolError
from hubspool.extending import (
    BadRequestError,
    CursorTooOldError,
    HFValidationError,
    JoinedRun,
    Progress,
    RangeName,
    RemoteBucket,
    RemoteEntryNotFoundError,
    RemoteFile,
    RemoteRepo,
    RevisionNotFoundError,
    Target,
    cached_file,
    changed_meanwhile,
    is_manifest,
    joined_runs,
)
from hubspool_templates.card import Card
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.parquet.media import Media
from hubspool_templates.reading import formats
from hubspool_templates.reading.cursor import Cursor, Position, positions_of
from hubspool_templates.reading.formats import RangedFile, Row, Source
from hubspool_templates.reading.plan import NoCard, RowRange, chosen_files, is_lines, pieces_of, split_off
from hubspool_templates.schema import Schema

logger = logging.getLogger(__name__)

#: What the readers of the formats raise for damaged files; an OSError with a number is of this machine.
_DAMAGE = (ValueError, BadZipFile, KeyError, RuntimeError, EOFError, OSError, zlib.error)
#: A time before all commits: nothing was read.
NEVER = Cursor("", datetime.fromtimestamp(0, timezone.utc), names_files=True)


@dataclass(frozen=True)
class Listing:
    """The files of a commit.

    Args:
        repo: the repository at it.
        files: by path.
        manifests: id of the content of each → runs of which joined files are made.
    """

    repo: RemoteRepo
    files: dict[str, RemoteFile]
    manifests: dict[str, list[JoinedRun]]

    @classmethod
    def of(cls, repo: RemoteRepo, known: Mapping[str, list[JoinedRun]]) -> Listing:
        """List the files, in one request for a thousand, and read the manifests that are not known."""
        files = repo.list_files("", recursive=True)
        manifests = [file for path, file in files.items() if is_manifest(path)]
        return cls(
            repo, files, {each.content_id: known.get(each.content_id) or _runs(repo, each) for each in manifests}
        )

    @property
    def runs(self) -> list[JoinedRun]:
        """All runs of which joined files are made."""
        return [*chain.from_iterable(self.manifests.values())]


class HubRows:
    """Finds out what to read at the newest commit, and reads it.

    Args:
        api, target: the repository and revision.
        config, split, since: as in `read_rows`.
        folder: of a bucket; empty for all of it.
    """

    def __init__(
        self,
        api: HfApi,
        target: Target,
        config: str | None,
        split: str | None,
        since: str | date | None,
        folder: str = "",
    ) -> None:
        self.api, self.target, self._folder = api, target, folder
        try:
            self.listing, self.card = self._pinned()
        except RevisionNotFoundError:  # the history was squashed between two requests
            self.listing, self.card = self._pinned()
        paths = [path for path in self.listing.files if not is_manifest(path)]
        if target.is_bucket:
            self._check_bucket(config, paths)
        self.config, chosen = chosen_files(self.card, paths, config, split)
        self.columns = Schema.of_features(self.card.features(self.config))
        self.pieces = pieces_of([self.listing.files[path] for path in chosen], self.listing.runs)
        self._before = NEVER if since is None else self._since(since)
        self._counted: dict[str, int] = {}
        self.new = self.pieces if since is None else [new for piece in self.pieces for new in self._new_of(piece)]

    def _check_bucket(self, config: str | None, paths: list[str]) -> None:
        """Refuse what would give a part of the rows, or more than were asked for: a bucket has no card with configs."""
        address = self.target.address
        if config is not None:
            raise HFValidationError(
                f"config is {config!r}, and {address} has no card that names configs.",
                hint=f"Name the folder of the rows: {address}/FOLDER.",
            )
        forms = {path.rpartition(".")[2]: path for path in paths if RangeName.parse(PurePosixPath(path).name)}
        if len(forms) > 1:
            raise HFValidationError(
                f"{address} has rows of several forms: {', '.join(forms.values())}.",
                hint="Name a folder with one of them; give each form a folder of its own.",
            )

    def _pinned(self) -> tuple[Listing, Card]:
        """List the files of the newest commit, and read its card; a bucket has neither commits nor a card."""
        if self.target.is_bucket:
            self._older: Iterator[Any] = iter(())
            self.commits, self.at = [""], datetime.now(timezone.utc)
            bucket = RemoteBucket(self.api, self.target)
            return Listing(bucket, bucket.list_files(self._folder, recursive=True), {}), NoCard()
        listed = self.api.client().pages(self.target.route("commits"))
        page = list(islice(listed, 50))
        if not page:
            raise HFValidationError(f"{self.target.repo_id} has no commit at {self.target.revision}.")
        self._older = chain(page, listed)
        #: The newest commits, that which is read first.
        self.commits = [str(commit["id"]) for commit in page]
        self.at = _time(page[0]["date"])
        listing = Listing.of(RemoteRepo(self.api, replace(self.target, revision=self.commits[0])), {})
        if self.target.repo_type != "dataset":
            return listing, NoCard()
        card = listing.files.get("README.md")
        path = card and cached_file(self.api, listing.repo.target, card)
        return listing, Card(path.read_text(encoding="utf-8") if path else None)

    def cursor(self) -> Cursor:
        """Return the cursor after everything was read."""
        return self._before.after(self.commits[0], self.at, positions_of(self.pieces, self._counted))

    def _since(self, since: str | date) -> Cursor:
        if since == "":
            return NEVER
        if self.target.is_bucket:
            return self._own(str(since))
        if not isinstance(since, datetime):
            since = str(since)  # a date too
            if re.fullmatch(r"[0-9a-f]{40}", since):
                return self._at_commit(since, self.at)
            try:
                since = datetime.fromisoformat(since.replace("Z", "+00:00"))
            except ValueError:
                return self._own(str(since))
        since = since if since.tzinfo else since.replace(tzinfo=timezone.utc)
        commit: dict[str, Any] = {}
        for commit in self._older:
            if _time(commit["date"]) <= since:
                return self._at_commit(commit["id"], _time(commit["date"]))
        created = self.api.repo_info(self.target.repo_id, repo_type=self.target.repo_type).created_at
        if commit["title"] == "initial commit" or (created is not None and since < created):
            return NEVER
        raise self._too_old(f"The history before {since.isoformat()} was squashed.", _time(commit["date"]))

    def _own(self, text: str) -> Cursor:
        """Return the cursor of a bucket as this, or of a repository as this: they count parts in other ways.

        Raises:
            HFValidationError: it is none of these.
        """
        try:
            cursor = Cursor.parse(text)
        except ValueError:
            what, hint = (
                "cursor, commit or date.",
                "rows.cursor of an earlier read, the 40 digits of a commit, or a datetime.",
            )
            if self.target.is_bucket:
                what, hint = "cursor, and a bucket has no commits with times.", "rows.cursor of an earlier read of it."
            raise HFValidationError(f"since={text[:40]!r} is no {what}", hint=f"Pass {hint}") from None
        if cursor.positions and bool(cursor.commit) is self.target.is_bucket:
            kind = "repository" if cursor.commit else "bucket"
            raise HFValidationError(
                f"This cursor is of a {kind}, and {self.target.address} is none.", hint="Read it once without `since`."
            )
        return cursor

    def _at_commit(self, commit: str, at: datetime) -> Cursor:
        """Return what the repository held at a commit."""
        if self.target.is_bucket:
            raise self._too_old("A bucket has no history.")
        held = self.pieces
        if commit != self.commits[0]:
            repo = RemoteRepo(self.api, replace(self.target, revision=commit))
            try:
                listing = Listing.of(repo, self.listing.manifests)
            except (RevisionNotFoundError, BadRequestError) as error:
                raise self._too_old(f"There is no commit {commit} any more.") from error
            held = pieces_of(listing.files.values(), listing.runs)
        return Cursor(commit, at, positions_of(held, {}), is_complete=True)

    def _too_old(self, message: str, oldest: datetime | None = None) -> CursorTooOldError:
        if oldest is None:
            for commit in self._older:
                oldest = _time(commit["date"])
        return CursorTooOldError(message, oldest=oldest)

    @cached_property
    def _at_cursor(self) -> Cursor | None:
        """What the repository held at the cursor's commit; None if that was squashed away."""
        try:
            return self._at_commit(self._before.commit, self._before.at)
        except CursorTooOldError:
            return None

    def _new_of(self, piece: RowRange) -> list[RowRange]:
        before = self._before
        position = before.positions.get(piece.key)
        if position is None and not before.names(piece.key):
            if self._at_cursor is None:
                if piece.is_foreign:
                    raise self._too_old(f"It is not known whether {piece.key} was read.")
                return []
            position = self._at_cursor.positions.get(piece.key)
        if position is None:
            return [piece]
        if piece.is_foreign and position.changed_in(piece):
            return self._grown_file(piece, position)
        if position.units is None and position.changed_in(piece):
            position = replace(position, units=self._rows_then(piece, position))
        read = position.read_of(piece)
        if all(units == 0 for units in read.values()):
            return [piece]
        if all(units is None for units in read.values()):
            return []
        if piece.has_less or (piece.sizes is None and not piece.is_alone):
            raise CursorTooOldError(f"Rows of {piece.file.path} were removed since, and it is not known which.")
        return split_off(piece, read)

    def _grown_file(self, piece: RowRange, position: Position) -> list[RowRange]:
        """Return what is new in a changed file of another program: what was added, or all of it."""
        size = position.units or 0
        if is_lines(piece.file.path) and 0 < size < piece.file.size:
            path = cached_file(self.api, self.listing.repo.target, piece.file)
            if path and formats.begins_with(path, size, position.digits):
                return [replace(piece, start=size)]
        return [piece]

    def _rows_then(self, piece: RowRange, position: Position) -> int:
        """Return how many rows the last part that was read had then."""
        then = Target.of(self.target.endpoint, self.target.repo_id, self.target.repo_type, self._before.commit)
        paths = self._paths_of(piece, position.number) if piece.file.path.endswith(".parquet") else ()
        for path in paths:
            with suppress(RevisionNotFoundError, BadRequestError):
                repo = RemoteRepo(self.api, then)
                if file := repo.files([path]).get(path):
                    return formats.count_parquet_rows(RangedFile(repo, file))
        raise self._too_old(f"It is not known how much of {piece.file.path} was read.")

    def _paths_of(self, piece: RowRange, number: int) -> Iterator[str]:
        if piece.is_alone:
            yield piece.file.path
        for run in self.listing.runs:
            if run.path == piece.file.path:
                yield from (path for path, held in run.parts() if held.number == number and run.segment in piece.key)

    def rows(self, pieces: list[RowRange], as_value: Callable[[Media], Any]) -> Iterator[Row]:
        """Yield the rows of pieces, with their files fetched ahead."""
        total = sum({piece.file.path: piece.file.size for piece in pieces}.values())
        fetcher = _Fetcher(self.listing.repo, RemoteRepo(self.api, self.target), pieces)
        with fetcher, Progress(f"Reading {self.target.repo_id}", total) as bar:
            done = 0
            seen: set[str] = set()
            for number, piece in enumerate(pieces):
                count = 0
                try:
                    source = fetcher.source(number)
                except RemoteEntryNotFoundError:
                    repo = self.listing.repo
                    if not isinstance(repo, RemoteBucket) or not repo.is_published(piece.file.path):
                        raise changed_meanwhile(self.target, piece.file.path) from None
                    logger.warning(
                        "%s of %s was published to a dataset and deleted while the bucket was read; its rows are there",
                        piece.file.path,
                        self.target.address,
                    )
                    continue
                try:
                    for row in self._rows_of(piece, source, as_value):
                        count += 1
                        yield row
                except _DAMAGE as error:
                    if isinstance(error, HubspoolError) or getattr(error, "errno", None) is not None:
                        raise
                    why = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
                    raise HFValidationError(
                        f"{piece.file.path} of {self.target.address} cannot be read: {why}.",
                        hint="Repair or remove the file"
                        + ("." if self.target.is_bucket else "; the versions of a repository are in its commits."),
                    ) from error
                if piece.sizes is None and piece.is_alone:
                    self._counted[piece.key] = piece.start + count
                done += 0 if piece.file.path in seen else piece.file.size
                seen.add(piece.file.path)
                bar.update(done)

    def _rows_of(self, piece: RowRange, source: Source, as_value: Callable[[Media], Any]) -> Iterator[Row]:
        if is_lines(piece.file.path):
            start, end = piece.start, _end_of(piece)
            if isinstance(source, bytes):  # that range alone
                start, end = 0, end - start
            return formats.lines_of(source, start, end, self.columns.fields)
        read = formats.parquet_rows if piece.file.path.endswith(".parquet") else formats.archive_rows
        return read(source, piece.start, piece.end, as_value)


class _Fetcher(ExitStack):
    """Fetches the files of pieces in their order, up to two ahead of the one that is read.

    A file of which little is new is not fetched whole: of lines the range, of Parquet what is read.

    Args:
        repo: at the commit that is read.
        branch: in its place if a squash removes that commit meanwhile, of files that only grew since.
        pieces: to read.
    """

    def __init__(self, repo: RemoteRepo, branch: RemoteRepo, pieces: list[RowRange]) -> None:
        super().__init__()
        self._repo, self._branch = repo, branch
        self._wanted: dict[str, list[RowRange]] = {}
        for piece in pieces:
            self._wanted.setdefault(piece.file.path, []).append(piece)
        self._keys: list[int | str] = [n if self._is_range(p) else p.file.path for n, p in enumerate(pieces)]
        first: dict[int | str, RowRange] = {}
        for key, piece in zip(self._keys, pieces, strict=True):
            first.setdefault(key, piece)
        self._tasks = [*first.items()]
        self._rank = {key: number for number, (key, _) in enumerate(self._tasks)}
        self._futures: dict[int | str, Future[Source]] = {}
        self._begun = 0  # tasks
        self._pool = ThreadPoolExecutor(DEFAULTS.files_ahead, thread_name_prefix="hubspool-read")
        self.callback(self._pool.shutdown, wait=False, cancel_futures=True)

    def source(self, number: int) -> Source:
        """Return what holds the rows of a piece."""
        key = self._keys[number]
        while self._begun < min(len(self._tasks), self._rank[key] + 1 + DEFAULTS.files_ahead):
            task, piece = self._tasks[self._begun]
            self._futures[task] = self._pool.submit(self._fetch, piece)
            self._begun += 1
        return (self._futures.pop(key) if isinstance(key, int) else self._futures[key]).result()

    def _is_range(self, piece: RowRange) -> bool:
        path = piece.file.path
        if not is_lines(path):
            return piece.start > 0 and piece.is_alone and path.endswith(".parquet")
        wanted = self._wanted[path]
        size = sum(_end_of(each) - each.start for each in wanted)
        return size < piece.file.size and size <= DEFAULTS.range_bytes and len(wanted) <= DEFAULTS.ranges

    def _fetch(self, piece: RowRange) -> Source:
        try:
            path = cached_file(self._repo.api, self._repo.target, piece.file, download=not self._is_range(piece))
            if path is not None:
                return path
            if not is_lines(piece.file.path):
                return RangedFile(self._repo, piece.file)
            return self._repo.read(piece.file.path, piece.start, _end_of(piece) - piece.start)
        except (RevisionNotFoundError, RemoteEntryNotFoundError) as error:
            # After a squash: all of the file as the branch has it, whose beginning is compared with the listing.
            with suppress(RemoteEntryNotFoundError):
                if path := cached_file(self._branch.api, self._branch.target, piece.file):
                    return path
            if self._branch.target.is_bucket:
                raise
            raise changed_meanwhile(self._branch.target, piece.file.path) from error


def _runs(repo: RemoteRepo, manifest: RemoteFile) -> list[JoinedRun]:
    path = cached_file(repo.api, repo.target, manifest)
    try:
        return joined_runs([path] if path else [])
    except ValueError as error:
        raise HubspoolError(
            f"{manifest.path} on the Hub is damaged: {error}. It says which rows joined files have.",
            hint="Put back the version of the commit that added it; `hubspool verify` shows what else is damaged.",
            path=manifest.path,
        ) from error


def _end_of(piece: RowRange) -> int:
    return piece.file.size if piece.end is None else piece.end


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
