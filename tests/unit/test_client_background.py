"""Jobs in the background: in order, to the end, and not a process's own after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from hubspool.client.background import BackgroundJobs
from hubspool.client.transfer.parallel import for_each


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )


def test_jobs_run_one_at_a_time_in_the_order_they_were_given() -> None:
    jobs, order, gate = BackgroundJobs(), [], threading.Event()
    first = jobs.submit(gate.wait, 30)
    rest = [jobs.submit(order.append, n) for n in range(50)]
    assert not any(future.done() for future in rest)
    gate.set()
    assert first.result(30) is True
    rest[-1].result(30)
    assert order == list(range(50))


def test_a_job_that_fails_does_not_stop_the_next_one() -> None:
    jobs = BackgroundJobs()
    failed = jobs.submit(int, "x")
    assert jobs.submit(int, "7").result(30) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result(30)


def test_a_job_that_was_cancelled_does_not_run() -> None:
    jobs, gate, ran = BackgroundJobs(), threading.Event(), []
    first = jobs.submit(gate.wait, 30)
    second = jobs.submit(ran.append, 1)
    assert second.cancel()
    gate.set()
    first.result(30)
    assert jobs.submit(len, ran).result(30) == 0


def test_jobs_may_be_given_until_the_interpreter_ends() -> None:
    done = run(
        """
        import atexit, threading
        from hubspool.client.background import BackgroundJobs
        jobs = BackgroundJobs()
        atexit.register(lambda: print("at exit", jobs.submit(lambda: "ran").result(30)))
        gate = threading.Event()
        jobs.submit(gate.wait, 30)
        jobs.submit(lambda: jobs.submit(print, "given by a job", flush=True))
        jobs.submit(print, "waiting when the main thread ended", flush=True)
        gate.set()
        """
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "waiting when the main thread ended",
        "given by a job",
        "at exit ran",
    ]


def test_the_interpreter_waits_for_the_jobs_that_were_given() -> None:
    done = run(
        """
        import hashlib, threading
        from hubspool.client.background import BackgroundJobs
        jobs = BackgroundJobs()
        jobs.submit(threading.main_thread().join)
        jobs.submit(hashlib.sha256, bytes(100_000_000))
        jobs.submit(print, "after the main thread", flush=True)
        """
    )
    assert (done.stdout.strip(), done.stderr) == ("after the main thread", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_jobs_of_its_own() -> None:
    done = run(
        """
        import os, threading, warnings
        warnings.simplefilter("ignore")
        from hubspool.client.background import BackgroundJobs
        jobs, gate = BackgroundJobs(), threading.Event()
        jobs.submit(gate.wait, 30)
        if os.fork() == 0:
            os._exit(jobs.submit(lambda: 42).result(30))
        code = os.waitstatus_to_exitcode(os.wait()[1])
        gate.set()
        print(code)
        """
    )
    assert (done.stdout.strip(), done.stderr) == ("42", "")


def test_a_list_is_worked_off_by_several_threads_and_the_first_error_wins() -> None:
    barrier, seen = threading.Barrier(3, timeout=30), set()

    def work(item: int) -> None:
        barrier.wait()
        seen.add((item, threading.current_thread().name))

    for_each(range(9), work, 3)
    assert len({item for item, _ in seen}) == 9
    assert len({name for _, name in seen}) == 3

    def fail(item: int) -> None:
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        for_each(range(1000), fail, 1)


def test_a_list_is_worked_off_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    seen: list[int] = []
    for_each(range(5), seen.append, 4)
    assert seen == list(range(5))
    assert BackgroundJobs().submit(int, "3").result(0) == 3


def test_the_client_is_light_to_import() -> None:
    done = run(
        """
        import sys, hubspool.client.hf_api
        print([m for m in ("requests", "hf_xet", "yaml", "tqdm", "huggingface_hub", "starlette") if m in sys.modules])
        """
    )
    assert done.stdout.strip() == "[]", done.stderr
