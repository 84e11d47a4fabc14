"""When pushes happen, and what trigger, flush, stop and a with statement promise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from hubspool import CommitInfo, CommitScheduler, ErrorEvent, FlushTimeout, HfApi, State
from hubspool.errors import HubConnectionError, HubspoolError, HubTimeoutError
from hubspool.local_hub import Fault, LocalHub

REPO = "local/kept"
SECONDS = 60

Make = Callable[..., Any]


@pytest.fixture
def settles() -> bool:
    return False


@pytest.fixture(autouse=True)
def let_go(make: Make, schedulers: list[CommitScheduler]) -> Iterator[None]:
    """Let the overrides of `Held` go on before `make` stops their schedulers."""
    yield
    for scheduler in schedulers:
        if isinstance(scheduler, Held):
            scheduler.go.release(1000)


class Held(CommitScheduler):
    """An override that a test lets go on, push by push."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[str] = []
        self.running = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.errors: list[BaseException] = []
        self.at_once = 0
        super().__init__(**options)

    def push_to_hub(self) -> CommitInfo | None:
        self.at_once += 1
        assert self.at_once == 1
        self.calls.append(threading.current_thread().name)
        self.running.release()
        assert self.go.acquire(timeout=SECONDS)
        self.at_once -= 1
        if self.errors:
            raise self.errors.pop(0)
        return None

    def wait_running(self) -> None:
        assert self.running.acquire(timeout=SECONDS)


def write(scheduler: CommitScheduler, text: str = "one\n") -> None:
    with scheduler.lock, (scheduler.folder_path / "a.txt").open("a") as file:
        file.write(text)


def test_the_first_push_comes_after_the_subclass_is_built(make: Make) -> None:
    class Late(CommitScheduler):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.last_future.done()  # it exists already
            self.archives = ["built last"]

        def push_to_hub(self) -> Any:
            return self.archives[0]

    assert make(Late).last_future.result(SECONDS) == "built last"


def test_the_override_is_called_on_trigger_flush_stop_and_never_twice_at_once(make: Make) -> None:
    scheduler = make(Held)
    scheduler.wait_running()
    asked = [scheduler.trigger() for _ in range(3)]
    assert not any(future.running() for future in asked)
    scheduler.go.release(100)
    for future in asked:
        future.result(SECONDS)
    assert len(scheduler.calls) == 2
    scheduler.flush(SECONDS)
    assert len(scheduler.calls) == 3
    scheduler.stop()
    assert len(scheduler.calls) == 4
    assert all(name.startswith("hubspool-push") for name in scheduler.calls)


@pytest.mark.parametrize("error", [ValueError("out of ink"), HubspoolError("out of ink"), SystemExit("out of ink")])
def test_what_an_override_raises_is_kept_and_the_thread_lives(
    error: BaseException, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[ErrorEvent] = []
    scheduler = make(Held, on_error=events.append)
    scheduler.errors = [error]
    scheduler.go.release()
    assert scheduler.last_future.exception(SECONDS) is error
    status = scheduler.status()
    assert "out of ink" in (status.last_error or "")
    assert status.consecutive_failures == 1
    assert [event.error for event in events] == [error]
    assert ("Traceback" in caplog.text) is not isinstance(error, HubspoolError)
    scheduler.go.release()
    scheduler.trigger().result(SECONDS)
    assert (scheduler.status().last_error, scheduler.status().consecutive_failures) == (None, 0)


@pytest.mark.parametrize("kind", [HubConnectionError, HubTimeoutError])
def test_an_override_is_not_called_again_before_the_next_period(kind: type[HubspoolError], make: Make) -> None:
    """Its author cares for duplicates; a flush tells the error and leaves the rest to the next period."""
    scheduler = make(Held)
    error = kind("the line is dead")
    scheduler.errors = [error] * 50
    scheduler.go.release(50)
    assert scheduler.last_future.exception(SECONDS) is error
    assert len(scheduler.calls) == 1
    with pytest.raises(kind):
        scheduler.flush(5)
    assert len(scheduler.calls) == 2


def test_flush_brings_all_that_was_written_before_it(make: Make, commits: Callable[[], int]) -> None:
    scheduler = make()
    write(scheduler)
    commit = scheduler.flush(SECONDS)
    assert commit is not None
    status = scheduler.status()
    assert (status.last_commit, status.commits_in_repo) == (commit.oid, 1)
    assert (status.pending_files, status.pending_bytes, status.pending_rows) == (0, 0, None)
    assert status.last_commit_at is not None
    assert status.next_push_at is not None
    assert status.next_push_at > status.last_commit_at


def test_flush_tells_when_its_time_is_over_and_the_data_follows_later(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    scheduler.last_future.result(SECONDS)
    local_hub.faults.add(Fault(route="preupload", times=None, delay=float("inf")))
    write(scheduler)
    with pytest.raises(FlushTimeout, match=REPO) as caught:
        scheduler.flush(timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    local_hub.faults.clear()
    assert scheduler.flush(SECONDS) is not None


def test_a_flush_is_not_done_while_another_process_holds_the_folder(make: Make, commits: Callable[[], int]) -> None:
    scheduler = make()
    scheduler.last_future.result(SECONDS)
    with FileLock(scheduler.folder_path / ".cache" / "huggingface" / "hubspool" / "push.lock"):
        write(scheduler)
        with pytest.raises(FlushTimeout):
            scheduler.stop(timeout=0.5)
    assert make().flush(SECONDS) is not None
    assert commits() == 1


def test_stop_sends_what_is_left_ends_the_thread_and_may_be_called_twice(
    make: Make, commits: Callable[[], int]
) -> None:
    before = set(threading.enumerate())
    scheduler = make()
    write(scheduler)
    scheduler.stop()
    scheduler.stop()
    assert commits() == 1
    assert not {t for t in set(threading.enumerate()) - before if t.name.startswith("hubspool")}
    status = scheduler.status()
    assert (status.state, status.next_push_at) == (State.STOPPED, None)
    assert scheduler.trigger().cancelled()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(scheduler.flush, 20)
        assert isinstance(late.exception(10), RuntimeError)


def test_stop_without_flush_leaves_the_rest_to_the_next_start(make: Make, commits: Callable[[], int]) -> None:
    scheduler = make()
    scheduler.last_future.result(SECONDS)
    write(scheduler)
    scheduler.stop(flush=False)
    assert commits() == 0
    make().flush(SECONDS)
    assert commits() == 1


def test_stop_ends_the_thread_although_the_hub_is_silent(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    scheduler.last_future.result(SECONDS)
    local_hub.faults.add(Fault(route="preupload", times=None, delay=float("inf")))
    write(scheduler)
    with pytest.raises(FlushTimeout):
        scheduler.stop(timeout=0.2)
    local_hub.faults.clear()
    assert scheduler.status().next_push_at is None


def test_stop_during_a_flush_of_another_thread_tells_it_what_happened(make: Make) -> None:
    scheduler = make(Held)
    scheduler.wait_running()
    raised: Future[BaseException] = Future()

    def flush() -> None:
        try:
            scheduler.flush(20)
        except BaseException as error:  # noqa: BLE001  whatever it is, is to be seen
            raised.set_result(error)

    thread = threading.Thread(target=flush)
    thread.start()
    while not scheduler._runner.loop._waiting:  # the flush has asked for its push
        thread.join(0.001)
    scheduler.stop(flush=False, timeout=0.01)
    error = raised.result(10)
    thread.join()
    assert isinstance(error, (RuntimeError, HubspoolError)), type(error)


def test_a_cancelled_trigger_does_not_make_a_flush_fail(make: Make) -> None:
    scheduler = make(Held)
    scheduler.wait_running()
    assert scheduler.trigger().cancel()
    scheduler.go.release(5)
    scheduler.flush(SECONDS)
    assert len(scheduler.calls) >= 2


def test_a_with_statement_flushes_and_stops(make: Make, commits: Callable[[], int]) -> None:
    with make() as scheduler:
        assert isinstance(scheduler, CommitScheduler)
        write(scheduler)
    assert commits() == 1
    assert scheduler.status().state is State.STOPPED


def test_the_users_exception_wins_and_the_scheduler_is_stopped(
    make: Make, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = make()
    scheduler.last_future.result(SECONDS)
    with pytest.raises(KeyError, match="mine") as caught, scheduler:
        local_hub.faults.add(Fault(route="commit", status=403, times=None))
        write(scheduler)
        raise KeyError("mine")
    assert isinstance(caught.value.__context__, HubspoolError)
    assert "403" in caplog.text
    assert scheduler.status().state is State.STOPPED


def test_a_failed_final_push_is_raised_where_the_user_raised_nothing(make: Make, local_hub: LocalHub) -> None:
    scheduler = make()
    scheduler.last_future.result(SECONDS)
    with pytest.raises(HubspoolError, match="403"), scheduler:
        local_hub.faults.add(Fault(route="commit", status=403, times=None))
        write(scheduler)
    assert scheduler.status().state is State.STOPPED


def test_a_lifespan_stops_the_scheduler_with_the_app(make: Make, commits: Callable[[], int]) -> None:
    scheduler = make()

    async def serve() -> None:
        async with scheduler.lifespan(object()):
            write(scheduler)

    asyncio.run(serve())
    assert commits() == 1
    assert scheduler.status().state is State.STOPPED


def test_a_newer_scheduler_for_the_same_folder_shares_thread_lock_and_ledger(
    make: Make, commits: Callable[[], int]
) -> None:
    old = make()
    old.last_future.result(SECONDS)
    new = make(Held)
    assert new.lock is old.lock
    assert new.last_future is old.last_future
    write(old)
    pushed = old.trigger()
    new.wait_running()  # its override
    new.go.release(9)
    assert pushed.result(SECONDS) is None
    new.stop()
    assert old.flush(SECONDS) is not None
    assert new.status().last_commit == old.status().last_commit is not None
    assert commits() == 1
    assert old.trigger().result(SECONDS) is None
    old.stop()
    assert old.trigger().cancelled()
    assert new.status().state is State.STOPPED


def test_schedulers_of_other_folders_or_repos_go_on(make: Make, tmp_path: Path, hub_api: HfApi) -> None:
    schedulers = [make(), make(repo_id="local/second"), make(folder_path=tmp_path / "other", path_in_repo="other")]
    for scheduler in schedulers:
        scheduler.last_future.result(SECONDS)
        write(scheduler)
    for scheduler in schedulers:
        scheduler.flush(SECONDS)
        assert scheduler.status().last_commit is not None
    assert "a.txt" in hub_api.list_repo_files("local/second", repo_type="dataset")
    assert "other/a.txt" in hub_api.list_repo_files(REPO, repo_type="dataset")


def test_an_unchanged_folder_is_looked_at_every_period(make: Make) -> None:
    scheduler = make(Held, every=0.01 / 60)
    scheduler.go.release(5)
    for _ in range(5):
        scheduler.wait_running()
    assert len(scheduler.calls) >= 5


def test_squash_history_leaves_one_commit_and_squashes_only_after_a_commit(
    make: Make, local_hub: LocalHub, hub_api: HfApi
) -> None:
    scheduler = make(squash_history=True)
    for number in range(2):
        write(scheduler, f"{number}\n")
        scheduler.flush(SECONDS)
    scheduler.flush(SECONDS)
    assert len(hub_api.list_repo_commits(REPO, repo_type="dataset")) == 1
    assert len(local_hub.requests.of("super-squash")) <= 2
