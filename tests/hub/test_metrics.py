"""What monitoring sees: counters and ages, without a request."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hubspool import CommitEvent, CommitScheduler, HfApi
from hubspool.cli.status import status
from hubspool.errors import HubspoolError
from hubspool.local_hub import Fault, LocalHub
from hubspool_templates import JsonlScheduler, ParquetScheduler

REPO = "local/votes"


def sent(hub: LocalHub) -> int:
    return len(hub.requests)


@pytest.mark.parametrize("kind", [JsonlScheduler, ParquetScheduler])
def test_rows_and_bytes_are_counted_from_append_to_acknowledgement(
    kind: type[JsonlScheduler] | type[ParquetScheduler], local_hub: LocalHub, hub_api: HfApi, tmp_path: Path
) -> None:
    with kind(REPO, tmp_path / "rows", every=5, hf_api=hub_api) as scheduler:
        scheduler.flush()
        scheduler.append({"n": 1})
        scheduler.extend({"n": n} for n in range(9))
        before = scheduler.metrics()
        assert (before["hubspool.rows.appended"], before["hubspool.rows.pending"]) == (10, 10)
        assert before["hubspool.data.appended"] == before["hubspool.data.pending"] > 0
        assert before["hubspool.pending.age"] > 0
        scheduler.flush()
        after = scheduler.metrics()
    assert (after["hubspool.rows.acknowledged"], after["hubspool.rows.pending"]) == (10, 0)
    assert after["hubspool.data.acknowledged"] == before["hubspool.data.appended"]
    assert after["hubspool.pending.age"] == 0
    assert after["hubspool.parts"] == 1
    assert after["hubspool.pushes"] == before["hubspool.pushes"] + 1
    assert after["hubspool.requests"] > before["hubspool.requests"]


def test_neither_metrics_nor_status_ask_the_hub_and_every_request_counts(
    local_hub: LocalHub, hub_api: HfApi, tmp_path: Path
) -> None:
    with JsonlScheduler(REPO, tmp_path / "rows", every=5, hf_api=hub_api) as scheduler:
        scheduler.append({"n": 1})
        scheduler.flush()
        requests = sent(local_hub)
        for _ in range(5):
            counted = scheduler.metrics()["hubspool.requests"]
            str(scheduler.status())
        assert sent(local_hub) == requests
        assert counted == sum(not record.path.startswith("/xet") for record in local_hub.requests)


def test_a_failed_push_counts_and_the_age_of_the_oldest_row_grows(
    local_hub: LocalHub, hub_api: HfApi, tmp_path: Path
) -> None:
    with JsonlScheduler(REPO, tmp_path / "rows", every=5, hf_api=hub_api) as scheduler:
        scheduler.flush()
        local_hub.faults.add(Fault(route="commit", status=403, times=1))
        scheduler.append({"n": 1})
        with pytest.raises(HubspoolError):
            scheduler.flush()
        first = scheduler.metrics()
        scheduler.append({"n": 2})
        second = scheduler.metrics()
        assert first["hubspool.push.failures"] == 1
        assert 0 < first["hubspool.pending.age"] < second["hubspool.pending.age"]
        assert second["hubspool.rows.pending"] == 2


def test_files_of_the_user_have_no_rows(hub_api: HfApi, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.bin").write_bytes(b"12345")
    with CommitScheduler(
        repo_id=REPO, repo_type="dataset", folder_path=tmp_path / "files", every=5, hf_api=hub_api
    ) as scheduler:
        scheduler.flush()
        metrics = scheduler.metrics()
    assert metrics["hubspool.data.acknowledged"] == 5
    assert not [name for name in metrics if name in ("hubspool.rows.appended", "hubspool.rows.pending")]


def test_names_follow_the_conventions_of_opentelemetry(hub_api: HfApi, tmp_path: Path) -> None:
    with JsonlScheduler(REPO, tmp_path / "rows", every=5, hf_api=hub_api) as scheduler:
        assert all(re.fullmatch(r"hubspool(\.[a-z]+(_[a-z]+)*)+", name) for name in scheduler.metrics())


def test_events_name_new_parts(hub_api: HfApi, tmp_path: Path) -> None:
    events: list[CommitEvent] = []
    with JsonlScheduler(REPO, tmp_path / "rows", every=5, hf_api=hub_api, on_commit=events.append) as scheduler:
        for n in range(2):
            scheduler.append({"n": n})
            scheduler.flush()
        assert scheduler.status().parts == 1
    assert [event.parts_new for event in events] == [1, 0]


def test_prometheus_reads_what_status_prints(hub_api: HfApi, tmp_path: Path) -> None:
    with JsonlScheduler(REPO, tmp_path / "rows", every=5, hf_api=hub_api) as scheduler:
        scheduler.append({"n": 1})
        scheduler.flush()
        scheduler.extend({"n": n} for n in range(3))
        lines = CliRunner().invoke(status, [str(tmp_path / "rows"), "--prometheus"]).output.splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    pending = [name for name in samples if name.startswith("hubspool_pending_rows{")]
    assert [samples[name] for name in pending] == ["3"]
    assert f'repo_id="{REPO}"' in pending[0]
    assert sum(line == "# TYPE hubspool_pending_rows gauge" for line in lines) == 1
