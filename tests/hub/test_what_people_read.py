"""What a person reads when something fails: one line of log, a short traceback, the status."""

from __future__ import annotations

import copy
import errno
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubspool import CommitScheduler, FlushTimeout, HfApi, State
from hubspool.client.retry import RetryPolicy
from hubspool.errors import ForbiddenError, HFValidationError, HubConnectionError, HubspoolError, UnauthorizedError
from hubspool.local_hub import Fault, LocalHub
from hubspool.scheduling.messages import copied, described, is_expected
from hubspool_templates import JsonlScheduler, ParquetScheduler, RowScheduler, ZipScheduler

SECONDS = 60
Make = Callable[..., Any]
NOWHERE = "http://127.0.0.1:9"


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines on stderr of a program that shows warnings."""
    formatter = logging.Formatter("%(message)s")
    shown = [formatter.format(each) for each in caplog.records if each.levelno >= logging.WARNING]
    return "\n".join(shown).splitlines()


@pytest.fixture
def rows(make: Make) -> JsonlScheduler:
    scheduler: JsonlScheduler = make(JsonlScheduler)
    scheduler.last_future.result(SECONDS)
    return scheduler


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "The Hub did not accept the token"),
        (403, "The token does not permit this"),
        (404, "The Hub has nothing at this address"),
        (422, "The Hub did not accept the request"),
    ],
)
def test_a_refused_push_is_one_line_that_ends_with_the_next_step(
    status: int, says: str, rows: JsonlScheduler, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    local_hub.faults.add(Fault(route="commit", status=status, times=None))
    rows.append({"a": 1})
    with pytest.raises(HubspoolError) as caught:
        rows.flush(SECONDS)
    assert local_hub.faults.hits
    assert says in str(caught.value)
    if status == 422:  # the rows are skipped, and named in status() and by flush()
        (reason,) = rows.status().skipped.values()
        assert says in reason
        return
    (line,) = lines_of(caplog)
    assert line.startswith(f"local/kept: the push failed, next try in 10 hours: {says}")
    assert line.index(says) < line.index("answered")
    found = rows.status()
    assert found.last_error_hint
    assert found.last_error_hint in line


@pytest.mark.parametrize("status", [409, 412, 429, 503])
def test_what_may_pass_is_one_line_too(
    status: int, rows: JsonlScheduler, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    asks = status in (429, 503)
    local_hub.faults.add(Fault(route="commit", status=status, headers={"Retry-After": "300"}))
    rows.append({"a": 1})
    with pytest.raises(HubspoolError, match=f"answered {status}") if asks else nullcontext():
        rows.flush(SECONDS)  # the Hub asks for a longer wait, or the next push succeeds
    assert local_hub.faults.hits
    (line,) = lines_of(caplog)
    assert f"next try {'in 10 hours' if asks else 'by flush()'}: " in line
    assert line.count(f"answered {status}") == 1
    if status == 429:
        assert "Wait 300 s, and push less often." in line


@pytest.mark.parametrize(
    ("endpoint", "reason"), [(NOWHERE, "Connection refused"), ("http://nowhere.invalid", "not known|resolution")]
)
def test_without_a_connection_the_constructor_says_so_in_one_line(
    endpoint: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = JsonlScheduler("local/rows", tmp_path / "rows", hf_api=HfApi(endpoint=endpoint, token="hf_x"))
    line = lines_of(caplog)[0]
    assert line.startswith("local/rows: the push failed, next try at once: The Hub cannot be reached: ")
    assert line.index("cannot be reached") < line.index("(GET http://")
    assert "Check the network and HF_ENDPOINT." in line
    scheduler.append({"a": 1})
    with pytest.raises(FlushTimeout, match=rf"Last error: The Hub cannot be reached: .*({reason})"):
        scheduler.flush(0.2)
    scheduler.stop(flush=False)
    assert not [line for line in lines_of(caplog) if line.startswith((" ", "Traceback"))]


def test_a_token_that_is_refused_in_the_constructor_is_told_once_with_the_time_of_the_next_try(
    tmp_path: Path, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    api = HfApi(endpoint=local_hub.endpoint, token="hf_wrong")
    scheduler = JsonlScheduler("local/rows", tmp_path / "rows", every=5, hf_api=api)
    assert isinstance(scheduler.last_future.exception(SECONDS), UnauthorizedError)
    (line,) = lines_of(caplog)
    assert "next try in 5 minutes: The Hub did not accept the token" in line
    scheduler.stop(flush=False)


def test_each_failure_that_changes_the_state_is_a_warning_and_the_same_again_is_not(
    rows: JsonlScheduler, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    rows.append({"a": 1})
    for status in (403, 403, 401, 403):
        local_hub.faults.add(Fault(route="commit", status=status))
        assert rows.trigger().exception(SECONDS) is not None
    assert [line.split("answered ")[1][:3] for line in lines_of(caplog)] == ["403", "401", "403"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_the_traceback_is_there_at_debug(
    rows: JsonlScheduler, local_hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    local_hub.faults.add(Fault(route="commit", status=403))
    rows.append({"a": 1})
    with caplog.at_level(logging.DEBUG, "hubspool"):
        assert rows.trigger().exception(SECONDS) is not None
    assert "Traceback (most recent call last)" in "\n".join(lines_of(caplog))


def test_an_error_of_an_override_keeps_its_traceback(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Own(CommitScheduler):
        def push_to_hub(self) -> None:
            raise ZeroDivisionError("mine")

    assert isinstance(make(Own).trigger().exception(SECONDS), ZeroDivisionError)
    assert "in push_to_hub" in "\n".join(lines_of(caplog))


def test_a_full_disk_is_one_line(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Own(CommitScheduler):
        def push_to_hub(self) -> None:
            raise OSError(28, "No space left on device", "/data/x")

    assert isinstance(make(Own).trigger().exception(SECONDS), OSError)
    (line,) = lines_of(caplog)
    assert line.endswith(
        "/data/x: No space left on device. Check that the disk has space and that this user may write to the folder."
    )


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("kind", [CommitScheduler, JsonlScheduler, ParquetScheduler, ZipScheduler])
@pytest.mark.parametrize("options", [{"every": -1}, {"evry": 1}, {"repo_id": "a b"}], ids=str)
def test_an_error_of_the_constructor_ends_with_the_users_line(
    kind: Any, options: dict[str, Any], tmp_path: Path, hub_api: HfApi
) -> None:
    given = {"repo_id": "local/rows", "folder_path": tmp_path / "rows", "hf_api": hub_api, **options}
    with pytest.raises((ValueError, TypeError)) as caught:
        kind(**given)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [Path(frame.filename).name for frame in frames[:1]] == ["test_what_people_read.py"]
    assert len(frames) == 2, shown(caught.value)


def test_an_error_of_a_subclass_keeps_its_line(make: Make) -> None:
    class Own(JsonlScheduler):
        def __init__(self, **options: Any) -> None:
            super().__init__(every=-1, **{k: v for k, v in options.items() if k != "every"})

    with pytest.raises(HFValidationError) as caught:
        make(Own)
    assert "super().__init__(every=-1" in shown(caught.value)


def test_flush_and_stop_show_an_error_once_and_no_frames_of_ours(rows: JsonlScheduler, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", status=429, times=None, headers={"Retry-After": "300"}))
    rows.append({"a": 1})
    with pytest.raises(HubspoolError) as caught:
        try:
            rows.flush(SECONDS)
        finally:
            rows.stop(timeout=SECONDS)
    text = shown(caught.value)
    assert text.count("Traceback (most recent call last)") == 1
    assert text.count("/hubspool/") == 1, text  # the frame of the call itself
    assert "rows.flush(" not in text


def test_flush_raises_a_copy_so_that_the_future_keeps_its_traceback(rows: JsonlScheduler, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", status=403, times=None))
    rows.append({"a": 1})
    with pytest.raises(ForbiddenError) as caught:
        rows.flush(SECONDS)
    kept = rows.last_future.exception(SECONDS)
    assert kept is not None
    assert (type(caught.value), str(caught.value)) == (type(kept), str(kept))
    assert "in push_to_hub" in shown(kept)
    assert "in flush" not in shown(kept)
    with pytest.raises(ForbiddenError) as again, rows:
        rows.last_future.result(SECONDS)
    assert again.value is kept
    assert "in push_to_hub" in shown(kept)


def test_a_flush_that_does_not_end_says_why_in_short(tmp_path: Path) -> None:
    rows = JsonlScheduler("local/rows", tmp_path / "rows", hf_api=HfApi(endpoint=NOWHERE, token="hf_x"))
    rows.append({"a": 1})
    with pytest.raises(FlushTimeout) as caught:
        rows.flush(0.2)
    assert isinstance(caught.value.__cause__, HubConnectionError)
    assert shown(caught.value).count("Traceback (most recent call last)") <= 2
    assert "push_loop.py" not in shown(caught.value)
    rows.stop(flush=False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),  # of a socket, or of the program
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), True),
        (OSError(errno.EIO, "Input/output error"), False),  # of a terminal
        (OSError(errno.EIO, "Input/output error", "/data/x"), True),
    ],
    ids=str,
)
def test_only_an_error_of_the_disk_goes_without_a_traceback(error: OSError, expected: bool) -> None:
    assert is_expected(error) is expected
    assert described(error)[0].endswith(": " + str(error.strerror) + ".") is expected


def test_a_copy_of_an_error_has_all_that_python_shows_of_it() -> None:
    try:
        try:
            raise KeyError("x")
        except KeyError as first:
            raise HFValidationError("second", hint="Do it.") from first
    except HFValidationError as error:
        error.add_note("a note")
        assert shown(copied(error)) == shown(error)
        assert copied(error) is not error


def test_a_with_block_shows_an_error_once(make: Make, local_hub: LocalHub) -> None:
    rows = make(JsonlScheduler, exit_budget=SECONDS)
    rows.last_future.result(SECONDS)
    local_hub.faults.add(Fault(route="commit", status=403, times=None))
    rows.append({"a": 1})
    with pytest.raises(HubspoolError) as caught, rows:
        rows.flush(SECONDS)
    assert shown(caught.value).count("Traceback (most recent call last)") == 1


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_append_after_stop_warns_once(
    kind: type[RowScheduler], make: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    scheduler = make(kind)
    scheduler.append({"a": 0})
    scheduler.stop()
    assert lines_of(caplog) == []
    for number in range(3):
        scheduler.append({"a": number})
    scheduler.stop()
    scheduler.append({"a": 4})
    (line,) = lines_of(caplog)
    assert line.startswith("A row was appended after stop().")
    assert f"hubspool flush {tmp_path / 'folder'}" in line


def test_a_row_of_a_scheduler_that_joins_during_the_last_flush_is_not_late(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    joined: list[JsonlScheduler] = []
    first = make(JsonlScheduler, on_commit=lambda _: joined.append(make(JsonlScheduler, settle=False)))
    first.last_future.result(SECONDS)
    first.append({"a": 0})
    first.stop()
    (second,) = joined
    second.append({"a": 1})
    assert second.flush(SECONDS) is not None
    assert lines_of(caplog) == []
    second.stop()
    second.append({"a": 2})
    (line,) = lines_of(caplog)
    assert line.startswith("A row was appended after stop().")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("commit_message", 5),
        ("on_commit", 5),
        ("on_before_commit", "print"),
        ("on_error", []),
        ("squash_history", "x"),
        ("squash_history", -1),
        ("allow_patterns", 5),
        ("ignore_patterns", ["*.a", 5]),
        ("versioned", b"*.a"),
        ("private", "yes"),
        ("restore", 2),
        ("strict", "no"),
        ("handle_signals", 0.5),
        ("allow_own_space", "x"),
        ("state_dir", 5),
        ("path_in_repo", 5),
        ("hf_api", 5),
        ("exit_budget", "8"),
    ],
)
def test_a_value_that_no_push_could_use_is_refused_in_the_constructor(
    name: str, value: Any, make: Make, local_hub: LocalHub
) -> None:
    with pytest.raises(HFValidationError, match=f"^{name} is ") as caught:
        make(CommitScheduler, **{name: value})
    assert (repr(value) in str(caught.value)) is (name != "hf_api")  # it may be a token
    assert caught.value.hint
    assert not list(local_hub.requests)


@pytest.mark.parametrize("value", [1, 0, None, np.True_, np.False_])
def test_a_flag_may_be_any_value_that_means_yes_or_no(value: Any, make: Make) -> None:
    flags = ("restore", "strict", "handle_signals", "allow_own_space", "private")
    scheduler = make(CommitScheduler, **dict.fromkeys(flags, value))
    assert scheduler.recipe()["private"] is (True if value is None else bool(value))
    assert scheduler.status().last_error is None


@pytest.mark.parametrize("given", [{"token": b"hf_secret"}, {"hf_api": "hf_secret"}], ids=str)
def test_a_token_of_another_type_is_not_shown(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(HFValidationError) as caught:
        CommitScheduler(repo_id="a/b", folder_path=tmp_path, **given)
    assert "hf_secret" not in str(caught.value)


def test_a_base_class_says_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Use JsonlScheduler"):
        RowScheduler("local/rows", tmp_path)  # type: ignore[abstract]


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_scheduler_cannot_be_copied(act: Callable[[object], object], make: Make) -> None:
    with pytest.raises(TypeError, match="A JsonlScheduler cannot be copied or pickled"):
        act(make(JsonlScheduler))


def test_status_and_repr_are_short_blocks(rows: JsonlScheduler, local_hub: LocalHub) -> None:
    rows.append({"a": 1})
    local_hub.faults.add(Fault(route="commit", status=403, times=None))
    with pytest.raises(HubspoolError):
        rows.flush(SECONDS)
    text = str(rows.status())
    names = [line[:14].strip() for line in text.splitlines()]
    assert names == ["state", "last error", "next step", "pending", "last commit", "next push", "repository"]
    assert "failing" in text.splitlines()[0]
    assert "1 row, 1 file, 8 bytes" in text
    assert repr(rows).splitlines()[0].startswith("JsonlScheduler('local/kept', ")
    assert repr(rows).endswith(text)
    assert "<tr><th>state</th><td>failing</td></tr>" in rows._repr_html_()
    local_hub.faults.clear()
    rows.flush(SECONDS)
    assert rows.status().state is State.IDLE
    assert "0 rows, 0 files, 0 bytes" in str(rows.status())


def test_the_html_of_a_status_is_escaped(rows: JsonlScheduler, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", status=403, headers={"X-Error-Message": "<script>x</script>"}))
    rows.append({"a": 1})
    assert rows.trigger().exception(SECONDS) is not None
    assert "<script>" not in rows.status()._repr_html_()
    assert "&lt;script&gt;" in rows.status()._repr_html_()


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_pending_bytes_agree_with_pending_rows_at_any_time(
    kind: type[RowScheduler], tmp_path: Path, hub_api: HfApi, local_hub: LocalHub
) -> None:
    unreachable = HfApi(endpoint=NOWHERE, token="hf_x")
    first = kind("local/rows", tmp_path / "rows", hf_api=unreachable)
    first.append({"a": 1})
    found = first.status()
    assert (found.pending_rows, found.pending_files, found.pending_bytes) == (1, 1, 8)
    first.stop(flush=False)
    second = kind("local/more", tmp_path / "more", hf_api=hub_api, every=600)
    second.append({"a": 1})
    second.flush(SECONDS)
    done = second.status()
    assert (done.pending_rows, done.pending_files, done.pending_bytes) == (0, 0, 0)
    second.extend([{"a": 1}, {"a": 2}])
    assert (second.status().pending_rows, second.status().pending_bytes) == (2, 16)
    second.stop()


def test_the_back_off_of_a_flush_goes_on_in_the_next_call(
    make: Make, local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubspool.scheduling import push_runner

    scheduler = make()
    (scheduler.folder_path / "a.txt").write_text("one\n")
    local_hub.faults.add(Fault(route="commit", status=503, times=None, headers={"Retry-After": "300"}))
    seen: list[int] = []
    decide = push_runner.decide_retry

    def note(policy: Any, error: Any, *, attempt: int, elapsed: float, chance: float) -> Any:
        seen.append(attempt)
        return decide(policy, error, attempt=attempt, elapsed=elapsed, chance=0.99)

    monkeypatch.setattr(push_runner, "decide_retry", note)
    for _ in range(3):
        with pytest.raises(HubspoolError, match="answered 503"):
            scheduler.flush(SECONDS)
    assert seen == [1, 2, 3]
    local_hub.faults.clear()
    assert scheduler.trigger().result(SECONDS) is not None  # a push that no flush waits for
    (scheduler.folder_path / "b.txt").write_text("two\n")
    local_hub.faults.add(Fault(route="commit", status=503, headers={"Retry-After": "300"}))
    with pytest.raises(HubspoolError, match="answered 503"):
        scheduler.flush(SECONDS)
    assert seen == [1, 2, 3, 1]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING, "hubspool"):
        yield


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_flush_returns_a_commit_whose_answer_was_lost(
    kind: type[RowScheduler], make: Make, local_hub: LocalHub, hub_api: HfApi
) -> None:
    told: list[str] = []
    scheduler = make(kind, on_commit=lambda event: told.append(event.oid))
    scheduler.last_future.result(SECONDS)
    scheduler.append({"a": 1})
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True))
    commit = scheduler.flush(SECONDS)
    assert local_hub.faults.hits
    (newest, *_) = hub_api.list_repo_commits(scheduler.repo_id, repo_type="dataset")
    assert commit is not None
    assert commit.oid == newest.commit_id == scheduler.status().last_commit
    assert told == [commit.oid]
    assert scheduler.flush(SECONDS) is None


def test_a_folder_that_cannot_be_created_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"file/rows cannot be created: Not a directory\. Choose a folder") as caught:
        CommitScheduler(repo_id="a/b", folder_path=tmp_path / "file" / "rows")
    assert len(traceback.extract_tb(caught.value.__traceback__)) == 2


def test_a_hub_without_tls_is_a_sentence(local_hub: LocalHub) -> None:
    api = HfApi(endpoint=local_hub.endpoint.replace("http:", "https:"), token="hf_x")
    api.session = api.session.within(20, RetryPolicy(attempts=1))
    with pytest.raises(HubspoolError, match=r"^The connection to the Hub broke: TLS says [a-z ]+ \(GET https://"):
        api.whoami()
