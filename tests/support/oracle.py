"""Compares the Hub with the producers' records, after the faults have ended and one more process has pushed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from hubspool import CommitScheduler, HfApi
from hubspool.cli.verify import check
from hubspool.client import http, retry
from hubspool.client.repo_info import RepoFile
from hubspool.client.target import Target
from hubspool.client.validation import split_destination
from hubspool.errors import HubspoolError
from hubspool.local_hub import LocalHub
from hubspool.push.defaults import PushLimits
from hubspool.push.manifest import MANIFESTS, parse
from hubspool.push.remote_bucket import remote_of
from hubspool.push.verify import Severity
from hubspool.spool.segment_name import SegmentName
from hubspool_templates import JsonlScheduler
from hubspool_templates.rows import RowScheduler
from tests.support.producer import Producer, is_intact

REPO = "local/rows"
BUCKET = "hf://buckets/local/rows"
SECONDS = 90


@dataclass
class Verdict:
    """What was found; every list is empty when the promise was kept.

    Args:
        acknowledged: rows whose call returned.
        lost: of them, those that the head of the branch lacks.
        doubled: ids that stand there twice, in any version of the branch.
        never_issued: rows that nobody wrote, or whose payload is not what was written.
        unparsed: versions of data files with a line that is no row.
        vanished: rows that one commit had and a later one lacks.
        left: what is pending, running or open after the last stop.
        torn_tails: segments with an unfinished last line, before the last start.
        commits: versions of the branch that were read.
        last_flush: how long the last flush took, in words.
    """

    acknowledged: int = 0
    on_hub: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    never_issued: list[str] = field(default_factory=list)
    unparsed: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    torn_tails: int = 0
    commits: int = 0
    last_flush: str = ""

    @property
    def faults(self) -> dict[str, list[str]]:
        """Every broken promise."""
        names = ("lost", "doubled", "never_issued", "unparsed", "vanished", "left")
        return {name: found for name in names if (found := getattr(self, name))}

    def check(self) -> Verdict:
        """Raise AssertionError unless the promise was kept."""
        assert not self.faults, "; ".join(f"{name} {len(v)}: {v[:5]}" for name, v in self.faults.items())
        return self


def recorded(records: Path, kind: str) -> set[str]:
    """Return the ids in the producers' records of one kind: "issued" or "acknowledged"."""
    lines = (line for path in records.glob(f"*.{kind}") for line in path.read_text().split("\n")[:-1])
    return set(lines)


def torn_tails(folder: Path) -> int:
    """Return how many segments in the folder do not end in a newline."""
    segments = [path for path in folder.rglob("*.jsonl") if SegmentName.parse(path.name)]
    torn = 0
    for path in segments:
        with contextlib.suppress(FileNotFoundError):  # removed by a push that still runs
            content = path.read_bytes()
            torn += bool(content) and not content.endswith(b"\n")
    return torn


@contextlib.contextmanager
def second_look_after(seconds: float) -> Iterator[None]:
    """Let the second look of the schedulers that push from now on come after so many seconds, in place of an hour."""
    before, CommitScheduler._limits = CommitScheduler._limits, PushLimits(second_look_seconds=seconds)
    try:
        yield
    finally:
        CommitScheduler._limits = before


@contextlib.contextmanager
def hub_ahead(days: int = 62) -> Iterator[None]:
    """Let the Hub's clock be ahead: what schedulers of this process write meanwhile is old there, and may be joined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "hub_time", lambda headers: retry.hub_time(headers) + timedelta(days=days))
        yield


def judge(
    hub: LocalHub,
    folder: Path,
    records: Path,
    *,
    repo: str = REPO,
    start: bool = True,
    kind: type[RowScheduler] = JsonlScheduler,
    flush_seconds: float = SECONDS,
) -> Verdict:
    """Stop the faults, start once more, wait until nothing is pending, read the branch and all of its history.

    The hour before the second look has passed by then.

    Args:
        start: False leaves the folder alone and only reads the Hub.
        kind: of the scheduler that the folder is of.
        flush_seconds: how long the last flush may take.
    """
    hub.faults.clear()
    verdict = Verdict(torn_tails=torn_tails(folder) if folder.exists() else 0)
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    if start:
        with second_look_after(0):
            _start_once_more(kind, api, folder, records, repo, verdict, flush_seconds)
    issued, acknowledged = recorded(records, "issued"), recorded(records, "acknowledged")
    verdict.acknowledged = len(acknowledged)
    head: Counter[str] = Counter()
    before: set[str] = set()
    for head in _versions(api, repo, verdict):
        verdict.commits += 1
        verdict.doubled += sorted(row for row, count in head.items() if count > 1)
        verdict.vanished += sorted(before - set(head))
        before = set(head)
    verdict.on_hub = len(head)
    verdict.lost += sorted(acknowledged - set(head))
    verdict.never_issued += sorted(set(head) - issued)
    verdict.doubled = sorted(set(verdict.doubled))
    if start:
        _look_at_what_is_left(folder, set(head), verdict)
    return verdict


def verified(hub: LocalHub, folder: Path, repo: str = REPO, *, all_sent: bool = True) -> list[str]:
    """Return what `hubspool verify` says against the Hub and the folder.

    Args:
        all_sent: False for a folder that somebody is still to send from: only damage counts.
    """
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    _, found = check(remote_of(api, _target(api, repo)), folder)
    wrong = {Severity.DAMAGE, Severity.WARNING} if all_sent else {Severity.DAMAGE}
    return [f"{each.path}: {each.sentence}" for each in found if each.kind.severity in wrong]


def _target(api: HfApi, repo: str, revision: str = "main") -> Target:
    """Return the dataset, or the bucket of an address."""
    repo_id, kind, _ = split_destination(repo, "dataset", None)
    return Target.of(api.endpoint, repo_id, kind, revision)


def _start_once_more(
    kind: type[RowScheduler], api: HfApi, folder: Path, records: Path, repo: str, verdict: Verdict, flush_seconds: float
) -> None:
    threads = set(threading.enumerate())
    scheduler = kind(repo, folder, every=600, hf_api=api, handle_signals=False)
    fresh = Producer(scheduler.append, records)
    try:
        fresh.put()
        began, left = time.monotonic(), scheduler.status().pending_bytes
        scheduler.flush(flush_seconds)
        verdict.last_flush = f"the last flush took {time.monotonic() - began:.0f} s for {left:,} bytes"
    except HubspoolError as error:
        verdict.left.append(f"flush: {error}")
    finally:
        fresh.close()
        scheduler.stop(flush=False, timeout=SECONDS)
    status = scheduler.status()
    for name in ("pending_files", "pending_bytes", "pending_rows", "consecutive_failures"):
        if getattr(status, name):
            verdict.left.append(f"{name}={getattr(status, name)}")
    ours = {thread for thread in set(threading.enumerate()) - threads if _is_of_a_scheduler(thread)}
    for thread in ours:
        thread.join(30)  # one that has just been told to end may still be on its last lines, a sync among them
    verdict.left += [f"thread {thread.name}" for thread in ours if thread.is_alive()]
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith(f"{folder.resolve()}/"):
            verdict.left.append(f"descriptor {target}")


def _is_of_a_scheduler(thread: threading.Thread) -> bool:
    # The Hub of the test runs in this process, too, and starts the threads that sync its files when it needs them.
    others = ("hubspool-watchdog", "hubspool-local-hub", "hubspool-fsync")
    return thread.name.startswith("hubspool-") and not thread.name.startswith(others)


def _look_at_what_is_left(folder: Path, on_hub: set[str], verdict: Verdict) -> None:
    """Check that complete rows which are still on the disk are on the Hub too."""
    for path in folder.rglob("*.jsonl"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            row = _parse(line)
            if row is not None and row.get("id") not in on_hub:
                verdict.left.append(f"{path.name}: row {row.get('id')}")


def _versions(api: HfApi, repo: str, verdict: Verdict) -> Iterator[Counter[str]]:
    """Yield how often each version of the branch holds each row, oldest version first; a bucket has one version."""
    if (bucket := _target(api, repo)).is_bucket:
        paths = (entry.path for entry in api.list_bucket_tree(bucket.repo_id) if not entry.path.startswith("."))
        yield Counter(row for path in paths for row in _rows(api, repo, "main", path, verdict))
        return
    read: dict[tuple[str, str], list[str]] = {}
    manifests: dict[str, set[str]] = {}
    for commit in reversed(api.list_repo_commits(repo, repo_type="dataset")):
        rows: Counter[str] = Counter()
        tree = list(api.list_repo_tree(repo, recursive=True, repo_type="dataset", revision=commit.commit_id))
        entries = [entry for entry in tree if isinstance(entry, RepoFile)]
        joined = {path for entry in entries for path in _joined(api, repo, commit.commit_id, entry, manifests)}
        for entry in entries:
            if entry.path.startswith(".") or not entry.path.endswith((".jsonl", ".parquet")) or entry.path in joined:
                continue
            key = (entry.path, entry.content_id)
            if key not in read:
                read[key] = _rows(api, repo, commit.commit_id, entry.path, verdict)
            rows.update(read[key])
        yield rows


def _joined(api: HfApi, repo: str, revision: str, entry: RepoFile, known: dict[str, set[str]]) -> set[str]:
    """Return the paths that a manifest names; readers leave out what stands there."""
    if not entry.path.startswith(f"{MANIFESTS}/"):
        return set()
    if entry.path not in known:
        target = Target.of(api.endpoint, repo, "dataset", revision)
        content = api.client().request("GET", target.file_url(entry.path)).content
        known[entry.path] = {path for run in parse(content) for path, _ in run.parts()}
    return known[entry.path]


def _rows(api: HfApi, repo: str, revision: str, path: str, verdict: Verdict) -> list[str]:
    content = api.client().request("GET", _target(api, repo, revision).file_url(path)).content
    found = []
    for line in _lines(content) if path.endswith(".parquet") else content.splitlines():
        row = _parse(line)
        if row is None:
            verdict.unparsed.append(f"{path}@{revision[:8]}: {line[:60]!r}")
        elif "id" not in row or not is_intact(row):
            verdict.never_issued.append(f"{path}@{revision[:8]}: {line[:60]!r}")
        else:
            found.append(str(row["id"]))
    return found


def _lines(content: bytes) -> Iterator[bytes]:
    """Yield the rows of a Parquet file as JSON."""
    import io

    import pyarrow.parquet as pq

    try:
        yield from map(orjson.dumps, pq.read_table(io.BytesIO(content)).to_pylist())
    except ValueError as error:
        yield str(error).encode()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
