"""Nobody waits for a push in the thread that makes it, or before that thread is there: it is an error at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from hubspool import CommitScheduler
from hubspool.local_hub import Fault, LocalHub
from hubspool.scheduling.watchdog import watchdog
from hubspool_templates import JsonlScheduler

SECONDS = 30
Make = Callable[..., Any]
#: What waits for a push.
WAITS: dict[str, Callable[[Any], object]] = {
    "flush": lambda scheduler: scheduler.flush(),
    "stop": lambda scheduler: scheduler.stop(),
    "with": lambda scheduler: scheduler.__exit__(None, None, None),
    "result": lambda scheduler: scheduler.trigger().result(),
    "exception": lambda scheduler: scheduler.trigger().exception(),
    "last_future": lambda scheduler: scheduler.last_future.result(),
}


class Waits(JsonlScheduler):
    """A scheduler that waits in one of its hooks."""

    errors: dict[str, BaseException]

    def wait(self, *_: object) -> Any:
        for name, wait in WAITS.items():
            try:
                wait(self)
            except RuntimeError as error:
                self.errors[name] = error
        return "a message"

    def __init__(self, *args: Any, hook: str, **options: Any) -> None:
        self.errors, self.hook = {}, hook
        options["handle_signals"] = False
        if hook in ("on_before_commit", "on_commit", "on_error", "commit_message"):
            options[hook] = self.wait
        super().__init__(*args, **options)

    def additional_operations(self, plan: Any) -> Any:
        if self.hook == "additional_operations":
            self.wait()
        return super().additional_operations(plan)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "hook", ["on_before_commit", "on_commit", "on_error", "commit_message", "additional_operations"]
)
def test_a_hook_that_waits_for_a_push_gets_an_error_and_the_push_goes_on(
    hook: str, make: Make, local_hub: LocalHub, lines: Callable[[], list[bytes]]
) -> None:
    scheduler = make(Waits, hook=hook)
    if hook == "on_error":
        local_hub.faults.add(Fault(route="commit", status=403))
    scheduler.append({"n": 1})
    scheduler.trigger().exception(SECONDS)
    assert scheduler.errors.keys() == WAITS.keys()
    assert all("pushing thread" in str(error) for error in scheduler.errors.values())
    scheduler.append({"n": 2})
    assert len([*scheduler.spool_folder.glob("*.jsonl")]) == 1, "a refused stop() closes nothing"
    scheduler.flush(SECONDS)
    assert lines() == [b'{"n":1}', b'{"n":2}']


@pytest.mark.timeout(60)
def test_the_deadline_of_the_exit_stays_when_one_of_two_objects_stops(make: Make) -> None:
    first, second = make(JsonlScheduler), make(JsonlScheduler)
    runner = first._runner
    runner._begin_final_push(time.monotonic() + 5).result(SECONDS)
    second.stop(flush=False)
    assert runner.seconds_allowed <= 5
    runner._end_final_push()
    assert runner.seconds_allowed == math.inf


@pytest.mark.timeout(60)
def test_a_constructor_that_waits_for_a_push_gets_an_error(make: Make) -> None:
    errors: list[str] = []

    class Eager(CommitScheduler):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            for wait in WAITS.values():
                with pytest.raises(RuntimeError) as caught:
                    wait(self)
                errors.append(str(caught.value))

    scheduler = make(Eager)
    assert len(errors) == len(WAITS)
    assert all("constructor" in error for error in errors)
    assert scheduler.flush(SECONDS) is None


@pytest.mark.timeout(60)
def test_a_hook_of_the_watchdog_cannot_wait_for_the_push_that_hangs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(Waits, hook="on_error")
    tracker = scheduler._tracker
    tracker.seconds_without_progress = lambda: 1e6
    with monkeypatch.context() as patch:
        thread = threading.Thread(target=tracker.report_stall)
        patch.setattr(watchdog, "thread", thread)
        thread.start()
        thread.join(SECONDS)
    assert not thread.is_alive()
    assert scheduler.errors.keys() == WAITS.keys()
