"""`TrainingLogs` mirrors a run: whole records at every commit, only new bytes, never checkpoints, one rank."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboardX import SummaryWriter
from tensorboardX.record_writer import RecordWriter

from hubspool import HfApi
from hubspool.cli import main
from hubspool.cli.flush import scheduler_from
from hubspool.errors import HubspoolError, SettingError
from hubspool.local_hub import Fault, LocalHub
from hubspool.push.events import State
from hubspool.push.tfrecord import last_record_end
from hubspool_templates import HubSummaryWriter, TrainingLogs
from tests.support.paths import PROGRAMS

REPO = "local/digits"
RUN = PROGRAMS / "digits_run.py"
SECONDS = 60

Make = Callable[..., TrainingLogs]
#: Fetches a file as it was at a commit.
Fetch = Callable[[str, str], bytes]


@pytest.fixture
def fetch(local_hub: LocalHub) -> Fetch:
    headers = {"Authorization": f"Bearer {local_hub.token}"}

    def get(path: str, revision: str = "main") -> bytes:
        answer = requests.get(f"{local_hub.endpoint}/{REPO}/resolve/{revision}/{path}", headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.content

    return get


@pytest.fixture
def scheduler_kind() -> type[TrainingLogs]:
    return TrainingLogs


@pytest.fixture
def scheduler_options(tmp_path: Path) -> dict[str, Any]:
    return {"repo_id": REPO, "repo_type": "model", "folder_path": tmp_path / "first"}


def record_ends(data: bytes) -> list[int]:
    """The framing read by hand: length, checksum, data, checksum."""
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + int.from_bytes(data[ends[-1] : ends[-1] + 8], "little") + 16)
    return ends[1:]


def files(api: HfApi, revision: str | None = None) -> list[str]:
    return sorted(path for path in api.list_repo_files(REPO, revision=revision) if path != ".gitattributes")


@pytest.mark.slow
def test_a_run_that_is_killed_half_way_and_continued_is_readable_at_every_commit(
    local_hub: LocalHub, hub_api: HfApi, fetch: Fetch, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    environment = {**os.environ, "HF_ENDPOINT": local_hub.endpoint, "HF_TOKEN": local_hub.token}
    command = [sys.executable, str(RUN), str(folder), "--epochs"]
    run = subprocess.Popen(
        [*command, "1000"], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert run.stdout is not None
        for line in run.stdout:
            if line == "epoch 5\n":
                break
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        assert run.wait(SECONDS) == -signal.SIGKILL
        run.stdout.close()
    (killed,) = folder.glob("*tfevents*")
    whole = killed.stat().st_size
    with killed.open("ab") as events:  # what a power loss leaves, after what the kill left
        events.write(bytes(4096))
    last = len((folder / "metrics.csv").read_text().splitlines()) + 3
    subprocess.run([*command, str(last)], env=environment, check=True, capture_output=True, timeout=100)

    commits = [commit.commit_id for commit in hub_api.list_repo_commits(REPO)]
    looked = 0
    for commit in commits:
        for path in files(hub_api, commit):
            assert path.startswith("runs/run/")
            data = fetch(path, commit)
            if "tfevents" in path:
                assert record_ends(data)[-1] == len(data)
                copy = tmp_path / "copy"
                copy.write_bytes(data)
                assert len(list(EventFileLoader(str(copy)).Load())) == len(record_ends(data))
                looked += 1
            else:  # whole lines, but for a last one that did not change for 10 s
                assert fetch(path).startswith(data)
    assert looked >= 8
    head = tmp_path / "head"
    head.mkdir()
    names = [path.rpartition("/")[2] for path in files(hub_api)]
    assert len(names) == 4
    assert not [name for name in names if name.endswith(".pt")]
    for name in names:
        (head / name).write_bytes(fetch(f"runs/run/{name}"))
    accumulator = EventAccumulator(str(head))
    accumulator.Reload()
    steps = [event.step for event in accumulator.Scalars("accuracy")]
    assert steps[-1] == last
    assert sorted(set(steps)) == list(range(1, last + 1))
    assert [len(accumulator.Images("digit")) > 0, len(accumulator.Histograms("weights")) > 0] == [True, True]
    assert (head / killed.name).stat().st_size <= whole
    for name in ("metrics.csv", "train.log"):
        assert (head / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.slow
def test_a_hundred_thousand_steps_arrive_as_they_were_logged(make: Make, fetch: Fetch, tmp_path: Path) -> None:
    import pandas as pd

    steps, pushes = 100_000, 5
    logs = make()
    with SummaryWriter(str(logs.folder_path)) as writer, (logs.folder_path / "metrics.csv").open("w") as table:
        table.write("step,loss,note\n")
        for step in range(steps):
            writer.add_scalar("loss", 1 / (step + 1), step)
            table.write(f'{step},{1 / (step + 1)!r},"ψ, {step % 7}"\n')
            if step % (steps // pushes) == 1000:
                writer.flush()
                table.flush()
                logs.trigger().result(SECONDS)
    logs.flush(SECONDS)
    (events,) = logs.folder_path.glob("*tfevents*")
    data = fetch(f"runs/first/{events.name}")
    assert data == events.read_bytes()
    (tmp_path / events.name).write_bytes(data)
    accumulator = EventAccumulator(str(tmp_path / events.name), {"scalars": 0})
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("loss")] == [*range(steps)]
    found = pd.read_csv(io.BytesIO(fetch("runs/first/metrics.csv")), dtype={"loss": str})
    assert found["step"].tolist() == [*range(steps)]
    assert found["loss"].tolist() == [repr(1 / (step + 1)) for step in range(steps)]
    assert found["note"].tolist() == [f"ψ, {step % 7}" for step in range(steps)]


@pytest.mark.parametrize("tail", ["none", "a byte", "torn", "a blank", "blanks", "garbage"])
def test_only_whole_records_leave_the_disk(tail: str, make: Make, fetch: Fetch) -> None:
    logs = make()
    with SummaryWriter(str(logs.folder_path)) as writer:
        for step in range(3):
            writer.add_scalar("x", step, step)
    (events,) = logs.folder_path.glob("*tfevents*")
    whole = events.read_bytes()
    last = whole[record_ends(whole)[-2] :]
    tails = {"none": b"", "a byte": last[:1], "torn": last[:-1], "a blank": bytes(3), "blanks": bytes(5000)}
    events.write_bytes(whole + tails.get(tail, (4).to_bytes(8, "little") + b"\xff" * 24))
    logs.flush(SECONDS)
    assert fetch(f"runs/first/{events.name}") == whole


def test_a_record_whose_bytes_a_power_loss_took_waits(make: Make, fetch: Fetch) -> None:
    logs = make()
    with SummaryWriter(str(logs.folder_path)) as writer:
        writer.add_text("x", "y" * 5000)
    (events,) = logs.folder_path.glob("*tfevents*")
    whole = events.read_bytes()
    ends = record_ends(whole)
    start = ends[-2]
    events.write_bytes(whole[: start + 12] + bytes(len(whole) - start - 12))
    logs.flush(SECONDS)
    assert fetch(f"runs/first/{events.name}") == whole[:start]


def test_an_event_file_that_another_tool_sent_inside_a_record_goes_on(
    make: Make, hub_api: HfApi, local_hub: LocalHub, fetch: Fetch
) -> None:
    logs = make()
    with SummaryWriter(str(logs.folder_path)) as writer:
        for step in range(3):
            writer.add_scalar("x", step, step)
    (events,) = logs.folder_path.glob("*tfevents*")
    whole = events.read_bytes()
    path = f"runs/first/{events.name}"
    hub_api.upload_file(path_or_fileobj=whole[: len(whole) - 7], path_in_repo=path, repo_id=REPO)
    local_hub.faults.add(Fault(route="preupload", status=403))
    with pytest.raises(HubspoolError):  # by now it is known what the Hub has, and no more was sent
        logs.trigger().result(SECONDS)
    assert local_hub.faults.hits
    logs.flush(SECONDS)
    assert fetch(path) == whole


def test_of_a_text_log_only_new_lines_travel(make: Make, fetch: Fetch, local_hub: LocalHub, hub_api: HfApi) -> None:
    logs = make(path_in_repo="runs/my first")
    path, settings = logs.folder_path / "train.log", logs.folder_path / "config.yaml"
    path.write_text("".join(f"{os.urandom(50).hex()}\n" for _ in range(5_000)))
    settings.write_text("rate: 0.1\n")
    logs.flush(SECONDS)
    local_hub.requests.clear()
    with path.open("a") as file:
        file.write("the last line\n")
    logs.flush(SECONDS)
    assert local_hub.requests.wait_idle()
    assert sum(record.bytes_in for record in local_hub.requests) < 200_000
    assert fetch("runs/my first/train.log") == path.read_bytes()
    log, config = (
        info for info in hub_api.get_paths_info(REPO, [f"runs/my first/{n}" for n in ("train.log", "config.yaml")])
    )
    assert (log.lfs is not None, config.lfs) == (True, None)
    assert fetch(".gitattributes").decode().count("runs/my[[:space:]]first/train.log") == 1
    assert "config.yaml" not in fetch(".gitattributes").decode()


def test_the_rule_of_a_log_at_the_root_is_for_no_other_file(
    make: Make, fetch: Fetch, hub_api: HfApi, local_hub: LocalHub, tmp_path: Path
) -> None:
    hub_api.create_repo(REPO)
    hub_api.upload_file(path_or_fileobj=b"old\n", path_in_repo="old/train (1) ö.log", repo_id=REPO)
    logs = make(path_in_repo="")
    (logs.folder_path / "train (1) ö.log").write_text("new\n")
    logs.flush(SECONDS)
    subprocess.run(
        ["git", "clone", "--quiet", f"{local_hub.endpoint}/{REPO}".replace("://", f"://x:{local_hub.token}@"), "clone"],
        cwd=tmp_path,
        env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1", "GIT_TERMINAL_PROMPT": "0"},
        check=True,
        timeout=SECONDS,
    )
    command = ["git", "-c", "core.quotePath=false", "check-attr", "filter", "train (1) ö.log", "old/train (1) ö.log"]
    told = subprocess.run(command, cwd=tmp_path / "clone", capture_output=True, text=True, check=True, timeout=SECONDS)
    assert [line.rpartition(" ")[2] for line in told.stdout.splitlines()] == ["lfs", "unspecified"]
    new, old = sorted(hub_api.get_paths_info(REPO, ["train (1) ö.log", "old/train (1) ö.log"]), key=lambda i: i.size)
    assert {each.path for each in (new, old) if each.lfs is not None} == {"train (1) ö.log"}


def test_a_log_that_is_an_ordinary_file_on_the_hub_stays_one(make: Make, fetch: Fetch, hub_api: HfApi) -> None:
    hub_api.create_repo(REPO)
    hub_api.upload_file(path_or_fileobj=b"first\n", path_in_repo="runs/first/train.log", repo_id=REPO)
    before = fetch(".gitattributes")
    logs = make()
    (logs.folder_path / "train.log").write_text("first\nsecond\n")
    logs.flush(SECONDS)
    assert fetch("runs/first/train.log") == b"first\nsecond\n"
    assert fetch(".gitattributes") == before


def test_checkpoints_are_never_sent_and_logs_are(make: Make, hub_api: HfApi) -> None:
    logs = make(allow_patterns="*", ignore_patterns="secret*")
    names = ["a.log", "b.csv", "c.jsonl", "d.yaml", "sub/e.txt", "f.json", "secret.txt"]
    checkpoints = ["checkpoint-500/trainer_state.json", "x/checkpoints/epoch=1.yaml", "m.pt", "sub/m.safetensors"]
    for name in [*names, *checkpoints]:
        path = logs.folder_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    logs.flush(SECONDS)
    assert files(hub_api) == sorted(f"runs/first/{name}" for name in names[:-1])


def test_the_first_push_takes_the_default_kinds_only(make: Make, hub_api: HfApi, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    for name in ("a.log", "model.onnx", "photo.png", "code.py"):
        (tmp_path / "first" / name).write_text("x\n")
    make().stop()
    assert files(hub_api) == ["runs/first/a.log"]
    assert hub_api.list_repo_commits(REPO)[0].title == "Log a.log"


def test_a_large_event_file_gathers_a_sixteenth_before_it_is_sent(
    make: Make, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = make()
    events = logs.folder_path / "events.out.tfevents.1.host"
    records = RecordWriter(str(events))

    def write(size: int) -> int:
        records.write(os.urandom(size))
        records.flush()
        return events.stat().st_size

    def on_hub() -> int:
        return len(fetch(f"runs/first/{events.name}"))

    sent = write(1_600_000)
    logs.trigger().result(SECONDS)
    assert on_hub() == sent
    write(40_000)  # what came since the first push that this object made waits from here on
    logs.trigger().result(SECONDS)
    held = write(40_000)
    logs.trigger().result(SECONDS)
    assert on_hub() < held
    assert logs.status().pending_bytes >= 40_000
    monkeypatch.setattr(logs, "_clock", lambda: time.time() + 1801)
    logs.trigger().result(SECONDS)
    assert on_hub() == held
    write(40_000)
    logs.trigger().result(SECONDS)
    assert on_hub() == held
    sent = write(100_000)
    logs.trigger().result(SECONDS)
    assert on_hub() == sent
    sent = write(100)
    logs.flush(SECONDS)
    assert on_hub() == sent
    records.close()


@pytest.mark.parametrize(
    ("environment", "sends"),
    [({}, True), ({"RANK": "0", "SLURM_PROCID": "3"}, True), ({"SLURM_PROCID": "0"}, True), ({"RANK": "1"}, False),
     ({"RANK": "", "SLURM_PROCID": "2"}, False)],
    ids=str,
)  # fmt: skip
def test_only_rank_0_sends(
    environment: dict[str, str],
    sends: bool,
    make: Make,
    hub_api: HfApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with make() as logs:
        assert logs.is_sending is sends
        (tmp_path / "first").mkdir(exist_ok=True)
        (tmp_path / "first" / "a.log").write_text("x\n")
        with logs.lock:
            future = logs.trigger()
        future.result(SECONDS)
        assert (logs.flush(SECONDS) is None) is (not sends) or sends
        assert (logs.status().state is State.STOPPED) is (not sends)
    assert hub_api.repo_exists(REPO) is sends
    assert (tmp_path / "first" / ".cache").exists() is sends


def test_a_rank_that_is_no_number_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(SettingError, match="RANK is 'first'"):
        make()


def test_the_recipe_makes_the_same_object_again(make: Make, hub_api: HfApi) -> None:
    first = make(ignore_patterns=["x*"], path_in_repo="")
    again = scheduler_from(first.recipe(), first.folder_path, None, hub_api.token)
    assert type(again) is TrainingLogs
    assert (again.ignore_patterns, again.path_in_repo) == (first.ignore_patterns, "")
    again.stop(flush=False)


def test_the_status_command_does_not_count_checkpoints_as_pending(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = make()
    (logs.folder_path / "log.txt").write_text("epoch 1\n")
    (logs.folder_path / "model.pt").write_bytes(b"weights")
    logs.stop()
    assert main(["status", str(logs.folder_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pending_files"] == 0


@pytest.mark.parametrize("arguments", [{}, {"path_in_repo": None}], ids=["default", "root"])
def test_hub_summary_writer_takes_the_place_of_the_stock_one(
    arguments: dict[str, Any], hub_api: HfApi, fetch: Fetch, tmp_path: Path
) -> None:
    with HubSummaryWriter(REPO, logdir=str(tmp_path / "w"), commit_every=600, hf_api=hub_api, **arguments) as writer:
        writer.add_scalar("a", 1.5, 1)
        writer.add_text("b", "c")
    (path,) = files(hub_api)
    assert path.startswith("w/events" if arguments else "tensorboard/w/events")
    (tmp_path / "copy").write_bytes(fetch(path))
    assert len(list(EventFileLoader(str(tmp_path / "copy")).Load())) == 3
    assert hub_api.repo_info(REPO).private
    writer.close()


def test_its_signature_is_the_stock_ones_and_more() -> None:
    import inspect

    from huggingface_hub import HFSummaryWriter

    stock = inspect.signature(HFSummaryWriter.__init__).parameters
    ours = inspect.signature(HubSummaryWriter.__init__).parameters
    for name, parameter in stock.items():
        if name != "kwargs":
            assert (ours[name].kind, ours[name].default) == (parameter.kind, parameter.default)


def test_a_data_checksum_of_zero_is_a_checksum_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "events.tfevents"
    # The crc32c of these four bytes, masked, is 0: found by search, since a rule "zeros are torn" must not stop here.
    path.write_bytes(b"\x04" + bytes(7) + b"BER\x04" + b"E\xa3\xe7\x1f" + bytes(4))
    assert last_record_end(path, 0, 20) == 20
