"""Reads what `verify` compares: a repository at one commit, and the ledger of a folder."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from hubspool.client.progress import Progress
from hubspool.client.transfer.parallel import for_each
from hubspool.errors import HFValidationError
from hubspool.files import hash_range, new_blob_hash
from hubspool.push import lines, rules
from hubspool.push.backlog import spool_target
from hubspool.push.compaction import OldFile
from hubspool.push.defaults import DEFAULTS
from hubspool.push.joiner import Joiner
from hubspool.push.ledger import Ledger
from hubspool.push.manifest import MANIFESTS, JoinedRun, parse, run_ranges
from hubspool.push.part import Closed, Part
from hubspool.push.published import uncovered
from hubspool.push.remote import MOST_NAMED_PARTS, NamedPart, RemoteRepo, named_parts
from hubspool.push.remote_bucket import RemoteBucket
from hubspool.push.verify import BucketSnapshot, Config, FileFacts, Found, FoundKind, RepoSnapshot
from hubspool.spool.destination import SpoolFolder
from hubspool.spool.segment_name import RangeName, segments_in

#: An id as `RowScheduler(id=True)` gives: the time in nanoseconds, and chance.
_ID = re.compile(r"[0-9a-f]{32}")
#: How far the time in such an id may be from the day of its file; the column may have other ids, such as a session's.
_ID_DAYS = timedelta(days=40)
_MOST_TWICE = 100


def read_snapshot(
    repo: RemoteRepo,
    joiners: Mapping[str, Joiner],
    configs_of: Callable[[str | None], Iterable[tuple[Any, ...]]],
) -> RepoSnapshot:
    """Download every file of rows, one after the other, and return what they hold.

    Memory: what one file needs, and some hundred bytes for each part. The ids of all rows are on the disk meanwhile.

    Args:
        repo: the branch.
        joiners: suffix of the files → what reads them; other files are not read.
        configs_of: reads the configs of a README.md.

    Raises:
        HubspoolError: a request failed.
    """
    at = repo.at(repo.head().oid)
    files = at.list_files("", recursive=True)
    manifests = {path: _parsed(at.content(path)) for path in files if path.startswith(f"{MANIFESTS}/")}
    oids: list[str] = []
    named: dict[str, NamedPart] = {}
    names_all = True
    for commit in at.commits():
        of_commit = named_parts([commit])
        oids.append(commit.commit_id)
        names_all &= len(of_commit) < MOST_NAMED_PARTS
        for path, part in of_commit.items():
            named.setdefault(path, part)
    seen = RepoSnapshot(
        at.target.revision,
        files,
        named=named,
        manifests=manifests,
        commits={*oids},
        is_dataset=at.target.repo_type == "dataset",
    )
    try:
        seen.configs = [Config(*each) for each in configs_of(at.text("README.md"))]
    except (HFValidationError, UnicodeDecodeError) as error:
        seen.configs = f"it cannot be read: {error}"
    if names_all and (unnamed := seen.to_name()):
        before = repo.at(oids[-1]).files(unnamed)  # a squash of another program names no part
        seen.unnamed = [path for path in unnamed if path not in before]
    _read_facts(at, [source for source in seen.sources.values() if source.suffix in joiners], joiners, seen)
    return seen


def read_bucket(bucket: RemoteBucket, folder: str, joiners: Mapping[str, Joiner]) -> BucketSnapshot:
    """Download every file of rows in a folder of a bucket, as `read_snapshot` does; empty for all of it.

    Raises:
        HubspoolError: a request failed.
    """
    seen = BucketSnapshot("", bucket.list_files(folder, recursive=True), published=bucket.published())
    named = {path: RangeName.parse(PurePosixPath(path).name) for path in seen.files}
    chosen = [
        OldFile(seen.files[path], "", name.segment.name, name.segment.day, name.segment.suffix or "jsonl", 0)
        for path, name in named.items()
        if name is not None
    ]
    _read_facts(bucket, [source for source in chosen if source.suffix in joiners], joiners, seen)
    return seen


def _read_facts(at: RemoteRepo, chosen: Sequence[OldFile], joiners: Mapping[str, Joiner], seen: RepoSnapshot) -> None:
    total, done = sum(source.file.size for source in chosen), 0
    # The database is a file on the disk, which its close removes.
    with closing(sqlite3.connect("")) as ids, Progress("Reading", total) as progress:
        ids.execute("create table id (id text, row blob, path text)")
        for source, local in _downloads(at, chosen):
            seen.facts[source.path] = _facts(source, local, joiners[source.suffix], seen, ids)
            done += source.file.size
            progress.update(done)
        query = "select id, group_concat(path, '\n') from id group by id, row having count(*) > 1 limit ?"
        seen.twice = {each: paths.split("\n") for each, paths in ids.execute(query, (_MOST_TWICE,))}


def _parsed(content: bytes) -> Sequence[JoinedRun] | None:
    try:
        return parse(content)
    except ValueError:
        return None


def _downloads(repo: RemoteRepo, sources: Iterable[OldFile]) -> Iterator[tuple[OldFile, Path]]:
    """Yield each file and where it is on the disk; it is removed afterwards."""
    waiting = iter(sources)
    while group := list(islice(waiting, DEFAULTS.join_downloads)):
        with tempfile.TemporaryDirectory(prefix="hubspool-verify-") as name:
            local = {source: Path(name) / str(number) for number, source in enumerate(group)}
            for_each(group, lambda source: repo.download(source.path, local[source]), len(group))  # noqa: B023
            yield from local.items()


def _facts(source: OldFile, local: Path, joiner: Joiner, seen: RepoSnapshot, ids: sqlite3.Connection) -> FileFacts:
    columns: set[str] = set()
    day = datetime(source.day.year, source.day.month, source.day.day, tzinfo=timezone.utc)
    try:
        for names, found in joiner.check(local):
            columns.update(names)
            rows = ((each, row) for each, row in found if isinstance(each, str) and _is_ours(each, day))
            ids.executemany("insert into id values (?, ?, ?)", ((each, _key(row), source.path) for each, row in rows))
    except ValueError as error:
        return FileFacts(damage=str(error))
    return FileFacts(
        rows=joiner.rows(local),
        columns=frozenset(columns),
        span=joiner.span_of(local),
        ids=_digests(local, 0, source.file.size),
        hashes={
            where: _digests(local, *where)[0]
            for where in run_ranges([run for _, run in seen.runs.get(source.path, ())], source.file.size)
            if joiner.keeps_bytes
        },
    )


def _key(row: bytes) -> bytes:
    return blake2b(row, digest_size=16).digest()


def _is_ours(identifier: str, day: datetime) -> bool:
    if _ID.fullmatch(identifier) is None:
        return False
    return abs(int(identifier[:16], 16) / 1e9 - day.timestamp()) < _ID_DAYS.total_seconds()


def _digests(path: Path, start: int, size: int) -> tuple[str, str]:
    """Return the sha256 of some bytes of a file, and the git blob id that they would have as a file."""
    states = (sha256(), new_blob_hash(size))
    with path.open("rb") as file:
        hash_range(file, start, start + size, *states)
    return states[0].hexdigest(), states[1].hexdigest()


@dataclass(frozen=True)
class LedgerFacts:
    """What a ledger says of the segments of a spool: their parts, and which are looked for on the Hub again.

    `last_commit` is the id of the newest commit of its scheduler; None if there is none.
    """

    parts: Mapping[str, Sequence[Part]]
    recovering: Collection[str]
    last_commit: str | None

    @classmethod
    def read(cls, ledger: Ledger, spool: SpoolFolder) -> LedgerFacts:
        """Read the ledger of a spool."""
        target = spool_target(ledger, spool)
        if target is None:
            return cls({}, ledger.recovering(0), None)
        return cls(ledger.parts(target), ledger.recovering(target), ledger.identity(target)[1])


def spool_findings(folder: Path, before: LedgerFacts, after: LedgerFacts, seen: RepoSnapshot) -> Iterator[Found]:
    """Compare a spool with the Hub: what is pending, lost or unknown.

    Args:
        folder: the spool.
        before: its ledger, before the Hub was read: the Hub has at least what it says.
        after: its ledger, after that: a push may have gone on meanwhile.
        seen: what was read of the Hub.
    """
    for part in _sent(before):
        end = seen.hub_end(part.path, part.start)
        if end is not None and end < part.end:
            where = "are on this disk" if (folder / part.source).is_file() else "are gone from this disk too"
            text = f"the ledger of {folder} knows bytes {part.start} to {part.end} of {part.source} to be on the Hub,"
            yield Found(part.path, FoundKind.LEDGER_NEWER, f"{text} which has them up to {end}; the rows {where}")
    for source in segments_in(folder):
        of_source = after.parts.get(source, ())
        if source in after.recovering:
            text = "its ledger was lost; what the Hub has of it is looked for before anything is sent"
            yield Found(str(folder / source), FoundKind.UNKNOWN, text)
            continue
        pieces = seen.pieces.get(Path(source).name, ())
        for piece in pieces:
            if any(end > piece.start for _, end in rules.missing(of_source, piece.end)):
                text = f"the Hub has bytes {piece.start} to {piece.end} of it, and the ledger does not know that"
                yield Found(str(folder / source), FoundKind.LEDGER_OLDER, f"{text}; the next push looks")
        if any(part.in_doubt for part in of_source):
            text = "the answer to a commit with rows of it was lost; the next push looks"
            yield Found(str(folder / source), FoundKind.UNKNOWN, text)
        on_hub = [Part(source, piece.number, piece.path, piece.start, piece.end, 0) for piece in pieces]
        yield from _pending(folder / source, [*of_source, *on_hub])


def _sent(ledger: LedgerFacts) -> Iterator[Part]:
    """Yield the acknowledged parts that are on the Hub, where nobody but their scheduler has changed them."""
    for part in (part for parts in ledger.parts.values() for part in parts):
        if part.end > part.start and part.closed not in (Closed.FOREIGN, Closed.MOVED, Closed.REMOVED):
            yield part


def _pending(path: Path, parts: Sequence[Part]) -> Iterator[Found]:
    end = lines.cut(path, lines.Kind.TEXT, 0, path.stat().st_size)
    gaps = rules.missing(parts, end)
    healthy = [each for gap in gaps for each in uncovered(*gap, lines.damaged_lines(path, *gap))]
    if rows := sum(lines.count_lines(path, *each) for each in healthy):
        yield Found(str(path), FoundKind.SEGMENT_NEWER, f"{rows} of its rows are pending; the next push sends them")
