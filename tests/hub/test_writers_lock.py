"""`scheduler.lock` is a plain lock; a push waits for it only so long, and says when it went on without it."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubspool import CommitInfo, CommitScheduler
from hubspool.errors import LockHeldError
from hubspool.scheduling import writer_lock
from hubspool_templates import JsonlScheduler, ZipScheduler

SECONDS = 60
Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_lock, "DEFAULTS", replace(writer_lock.DEFAULTS, writer_lock_wait=0.2))


def add(scheduler: CommitScheduler, name: str, text: str) -> None:
    """Write as a program does that holds the lock already."""
    with (scheduler.folder_path / name).open("a") as file:
        file.write(text)


@pytest.fixture
def alarms() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarms")
def test_ctrl_c_at_any_moment_leaves_the_lock_free(make: Make) -> None:
    scheduler, interrupted, left = make(), 0, 0
    for _ in range(400):
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
            while True:
                with scheduler.lock:
                    pass
        except KeyboardInterrupt:
            interrupted += 1
        if scheduler.lock.locked():
            left += 1
            scheduler.lock.release()
    assert (interrupted, left) == (400, 0)


def test_the_lock_may_be_taken_in_an_executor_and_released_in_the_event_loop(
    make: Make, lines: Callable[[], list[bytes]]
) -> None:
    scheduler = make()

    async def write() -> None:
        await asyncio.get_running_loop().run_in_executor(None, scheduler.lock.acquire)
        add(scheduler, "rows.jsonl", '{"n": 1}\n')
        scheduler.lock.release()

    asyncio.run(write())
    assert scheduler.flush(SECONDS) is not None
    assert lines() == [b'{"n": 1}']


@pytest.mark.parametrize("method", ["flush", "stop"])
def test_flush_and_stop_while_the_lock_stays_held_send_the_lines_and_say_so(
    method: str, make: Make, contents: Callable[[], dict[str, bytes]]
) -> None:
    scheduler = make()
    with scheduler.lock:
        add(scheduler, "rows.jsonl", '{"n": 1}\n{"n": ')
        add(scheduler, "picture.png", "half")
        with pytest.raises(LockHeldError, match=r"scheduler\.lock"):
            getattr(scheduler, method)()
        assert contents() == {"rows.jsonl": b'{"n": 1}\n'}
        status = scheduler.status()
        assert "lock" in (status.last_error or "")
        assert "picture.png" in status.postponed
    if method == "flush":
        assert scheduler.flush(SECONDS) is not None
        assert contents()["picture.png"] == b"half"
        assert (scheduler.status().last_error, scheduler.status().postponed.keys()) == (None, {"rows.jsonl"})


def test_a_lock_that_is_held_too_long_is_an_error_of_every_push_until_it_is_free(make: Make) -> None:
    errors: list[BaseException] = []
    scheduler = make(on_error=lambda event: errors.append(event.error))
    with scheduler.lock:
        add(scheduler, "picture.png", "half")
        for failures in (1, 2):
            assert isinstance(scheduler.trigger().exception(SECONDS), LockHeldError)
            assert scheduler.status().consecutive_failures == failures
        assert scheduler.status().pending_files == 1
    assert scheduler.trigger().result(SECONDS) is not None
    assert scheduler.status().consecutive_failures == 0
    assert {type(error) for error in errors} == {LockHeldError}


def test_a_push_waits_for_a_lock_that_is_soon_free(
    make: Make, contents: Callable[[], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_lock, "DEFAULTS", replace(writer_lock.DEFAULTS, writer_lock_wait=SECONDS))
    scheduler = make()
    with scheduler.lock:
        add(scheduler, "a.png", "first ")
        future = scheduler.trigger()
        add(scheduler, "a.png", "second")
    assert future.result(SECONDS) is not None
    assert contents()["a.png"] == b"first second"


def test_a_subclass_that_holds_the_lock_around_a_push_gets_an_error_that_says_so(make: Make) -> None:
    class Holds(CommitScheduler):
        def push_to_hub(self) -> CommitInfo | None:
            with self.lock:
                return super().push_to_hub()

    scheduler = make(Holds)
    add(scheduler, "a.png", "whole")
    with pytest.raises(LockHeldError, match=r"super\(\)\.push_to_hub\(\)"):
        scheduler.flush(SECONDS)


@pytest.mark.parametrize("kind", [JsonlScheduler, ZipScheduler])
def test_rows_need_no_lock(kind: type[CommitScheduler], make: Make) -> None:
    scheduler = make(kind)
    with scheduler.lock:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(b"1", "a.bin")
        else:
            scheduler.append({"n": 1})
            scheduler.extend([{"n": 2}])
        assert scheduler.flush(SECONDS) is not None
    assert scheduler.pending_rows() == 0


def test_a_dropped_file_waits_for_the_lock_and_rows_do_not(make: Make) -> None:
    scheduler = make(ZipScheduler)
    with scheduler.lock:
        add(scheduler, "dropped.bin", "half")
        scheduler.add(b"1", "a.bin")
        with pytest.raises(LockHeldError):
            scheduler.flush(SECONDS)
        assert scheduler.pending_rows() == 0
        assert (scheduler.folder_path / "dropped.bin").exists()
    assert scheduler.flush(SECONDS) is not None
    assert not (scheduler.folder_path / "dropped.bin").exists()


def test_add_of_a_large_file_under_the_lock_does_not_wait_for_a_push(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_lock, "DEFAULTS", replace(writer_lock.DEFAULTS, writer_lock_wait=SECONDS))
    scheduler = make(ZipScheduler)
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * 300_000)
    with scheduler.lock:
        add(scheduler, "dropped.bin", "whole")
        future = scheduler.trigger()
        thread = threading.Thread(target=scheduler.add, args=(large,))
        thread.start()
        thread.join(SECONDS / 2)
        assert not thread.is_alive()
    assert future.result(SECONDS) is not None
