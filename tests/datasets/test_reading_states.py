"""Appends, pushes, joins, kills, removals, days and squashes in any order: readers find every row exactly once.

``HUBSPOOL_EXAMPLES=200 pytest tests/datasets/test_reading_states.py`` tries more, for about half an hour.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hubspool import HfApi
from hubspool.client.target import Target
from hubspool.errors import CursorTooOldError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool.spool import spool
from hubspool_templates import JsonlScheduler, ParquetScheduler, read_rows
from hubspool_templates.joiners import JOINERS

EXAMPLES = int(os.environ.get("HUBSPOOL_EXAMPLES", "5"))
TODAY = datetime.now(timezone.utc).date()
WRITERS = st.sampled_from(["a", "b"])
REPOS = count()
SECONDS = 60


class Readers(RuleBasedStateMachine):
    """Two writers in folders of their own, two readers with cursors, and a compactor."""

    hub: LocalHub
    form: str

    @initialize()
    def begin(self) -> None:
        self.api = HfApi(endpoint=self.hub.endpoint, token=self.hub.token)
        self.repo = f"local/states-{next(REPOS)}"
        self.api.create_repo(self.repo, repo_type="dataset")
        self.folder = tempfile.TemporaryDirectory()
        self.appended: dict[str, list[int]] = {"a": [], "b": []}
        self.cursors: list[str | None] = [None, None]
        self.seen: list[list[int]] = [[], []]
        self.next_row = 0
        self.forgotten: list[int] = []
        self.day = TODAY - timedelta(days=40)
        self.schedulers = {name: self.start(name) for name in self.appended}

    def start(self, name: str) -> Any:
        kind = {"jsonl": JsonlScheduler, "parquet": ParquetScheduler}[self.form]
        spool._utc_date = lambda: f"{self.day:%Y%m%d}"
        made = kind(self.repo, Path(self.folder.name) / name, hf_api=self.api, every=600, handle_signals=False)
        made.last_future.exception(SECONDS)
        return made

    @rule(name=WRITERS, rows=st.integers(1, 3), pushes=st.sampled_from([True, True, False]))
    def append(self, name: str, rows: int, pushes: bool) -> None:
        for _ in range(rows):
            self.schedulers[name].append({"n": self.next_row})
            self.appended[name].append(self.next_row)
            self.next_row += 1
        if pushes:
            self.push(name)

    @rule(name=WRITERS)
    def push(self, name: str) -> None:
        self.schedulers[name].flush(SECONDS)

    @rule(name=WRITERS, applied=st.booleans())
    def push_with_a_lost_answer(self, name: str, applied: bool) -> None:
        self.hub.faults.add(Fault(route="commit", drop=True, applied=applied))
        self.push(name)
        self.hub.faults.clear()

    @rule(name=WRITERS)
    def kill(self, name: str) -> None:
        self.schedulers[name].stop(flush=False)
        self.schedulers[name] = self.start(name)

    @rule(days=st.sampled_from([1, 20]))
    def new_day(self, days: int) -> None:
        self.day = min(self.day + timedelta(days=days), TODAY)
        for scheduler in self.schedulers.values():
            scheduler.spool.close()

    @rule(days=st.integers(0, 2))
    def compact(self, days: int) -> None:
        repo = RemoteRepo(self.api, Target(self.hub.endpoint, self.repo, "dataset", "main"))
        joiners = {"jsonl": Joiner(), **{suffix: joiner() for suffix, joiner in JOINERS.items()}}
        Compactor(repo, "", joiners).run(date.today() + timedelta(days=days))  # noqa: DTZ011

    @rule()
    def squash(self) -> None:
        self.api.super_squash_history(self.repo, repo_type="dataset")

    @rule(name=WRITERS, which=st.integers(0, 3))
    def forget(self, name: str, which: int) -> None:
        """Remove one of the last rows of a writer; readers may have it already."""
        if which < len(rows := self.appended[name]):
            self.forgotten.append(rows.pop(-1 - which))
            self.schedulers[name].forget({"n": self.forgotten[-1]}, SECONDS)

    @rule()
    def read_at_times(self) -> None:
        self.read(1)

    def read(self, reader: int) -> None:
        try:
            rows = read_rows(self.repo, self.api, since=self.cursors[reader])
        except CursorTooOldError:  # a row was removed from the middle of what was read
            assert self.forgotten
            self.seen[reader] = []
            rows = read_rows(self.repo, self.api)
        self.seen[reader] += [row["n"] for row in rows]
        self.cursors[reader] = rows.cursor

    @rule(name=WRITERS, pushes=st.booleans())
    def read_with_pending(self, name: str, pushes: bool) -> None:
        rows = read_rows(self.repo, self.api, pending=self.schedulers[name])
        if pushes:
            self.push(name)
        found = [row["n"] for row in rows]
        assert len(found) == len({*found})
        own = {*self.appended[name]}
        assert [n for n in found if n in own] == self.appended[name]

    @invariant()
    def a_reader_that_reads_after_each_step_finds_no_row_twice(self) -> None:
        if hasattr(self, "schedulers"):
            self.read(0)
            for seen in self.seen:
                assert len(seen) == len({*seen})

    def teardown(self) -> None:
        try:
            for name in self.appended:
                self.push(name)
            everything = sorted([*self.appended["a"], *self.appended["b"]])
            assert sorted(row["n"] for row in read_rows(self.repo, self.api)) == everything
            for reader in (0, 1):
                self.read(reader)
                assert sorted({*self.seen[reader]} - {*self.forgotten}) == everything
        finally:
            for scheduler in self.schedulers.values():
                scheduler.stop(flush=False)
            self.folder.cleanup()


@pytest.fixture
def planted_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`Readers` plants days; the real clock comes back afterwards."""
    monkeypatch.setattr(spool, "_utc_date", spool._utc_date)
    return


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_every_reader_finds_every_row_once(form: str, local_hub: LocalHub, planted_clock: None) -> None:
    machine = type("ReadersOfOneForm", (Readers,), {"hub": local_hub, "form": form})
    few = settings(
        max_examples=EXAMPLES,
        stateful_step_count=15,
        deadline=None,
        derandomize="HUBSPOOL_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(machine, settings=few)
