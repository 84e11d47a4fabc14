"""Each example of docs/custom_schedulers.md runs against a local Hub, and leaves there what it says."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from hubspool import HfApi
from hubspool.extending import Encoding
from hubspool.local_hub import Fault, LocalHub
from hubspool_templates import read_rows
from tests.support.environment import clean_environment
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "custom_schedulers.md").read_text(encoding="utf-8")

EXAMPLES = [code.replace("your-name/", "local/") for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)]

Run = Callable[[str], None]
Read = Callable[[str, str], bytes]


@pytest.fixture
def run(local_hub: LocalHub, tmp_path: Path) -> Run:
    """Run the example with this word in it, in a process."""

    def example(word: str) -> None:
        (code,) = [code for code in EXAMPLES if word in code]
        environment = {
            **clean_environment(),
            "HF_ENDPOINT": local_hub.endpoint,
            "HF_TOKEN": local_hub.token,
            "HF_HOME": str(tmp_path / "home"),
        }
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr

    return example


@pytest.fixture
def read(local_hub: LocalHub) -> Read:
    """The content of a file of a dataset."""

    def content(repo: str, path: str) -> bytes:
        url = f"{local_hub.endpoint}/datasets/{repo}/resolve/main/{path}"
        answer = requests.get(url, headers={"Authorization": f"Bearer {local_hub.token}"}, timeout=60)
        answer.raise_for_status()
        return answer.content

    return content


def archives(api: HfApi) -> list[str]:
    return [path for path in api.list_repo_files("local/pictures", repo_type="dataset") if path.endswith(".zip")]


def test_the_pictures_are_in_one_archive_and_gone_from_the_folder(
    run: Run, read: Read, hub_api: HfApi, tmp_path: Path
) -> None:
    run("PictureArchives")
    (path,) = archives(hub_api)
    assert path.startswith("train/")
    with zipfile.ZipFile(io.BytesIO(read("local/pictures", path))) as archive:
        assert sorted(archive.namelist()) == ["0.png", "1.png", "2.png"]
        assert archive.read("1.png").startswith(b"\x89PNG")
    assert not list((tmp_path / "pictures").glob("*.png"))


def test_a_lost_answer_keeps_the_pictures_and_makes_no_second_archive(
    run: Run, hub_api: HfApi, local_hub: LocalHub, tmp_path: Path
) -> None:
    """The first push may hit the fault, and the one at the end repeat it; or the one at the end, and the next run."""
    local_hub.faults.add(Fault(route="commit", status=403, applied=True))
    with contextlib.suppress(AssertionError):
        run("PictureArchives")
    assert local_hub.faults.hits
    run("PictureArchives")
    assert len(archives(hub_api)) == 1
    assert not list((tmp_path / "pictures").glob("*.png"))


def test_the_totals_count_the_rows_of_all_runs(run: Run, read: Read) -> None:
    for times in (1, 2):
        run("VotesWithTotals")
        assert read("local/film-totals", "totals.csv").decode() == f"film,votes\nSolaris,{2 * times}\nStalker,{times}\n"
        assert read("local/film-totals", "data/votes.jsonl").count(b"\n") == 3 * times


def test_what_is_redacted_reaches_neither_the_disk_nor_the_hub(run: Run, hub_api: HfApi, tmp_path: Path) -> None:
    run("WithoutAddresses")
    assert list(read_rows("local/questions", hub_api)) == [{"text": "Write to [address], please.", "length": 33}]
    left = [path.read_bytes() for path in (tmp_path / "questions").rglob("*") if path.is_file()]
    assert left
    assert not any(b"ada@" in content or b"visitor-17" in content for content in left)


def test_rows_of_your_own_are_stored(run: Run, hub_api: HfApi) -> None:
    run("TimedRows")
    (row,) = read_rows("local/timed", api=hub_api)
    assert row["event"] == "started"
    assert set(row) == {"event", "at"}


def test_the_methods_of_an_encoding_are_those_that_exist() -> None:
    named = re.findall(r"^\| `Encoding\.(\w+)` \|", PAGE, re.MULTILINE)
    assert len(named) == 7
    assert [name for name in named if not callable(getattr(Encoding, name))] == []


def test_all_examples_are_run_here() -> None:
    assert len(EXAMPLES) == 4
