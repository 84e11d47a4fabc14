"""`hubspool read`: rows of a dataset on stdout, everything else on stderr."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from hubspool import CommitOperationAdd, HfApi
from hubspool_templates import JsonlScheduler, ParquetScheduler

Run = Callable[..., "subprocess.CompletedProcess[str]"]
REPO = "local/votes"


@pytest.fixture
def votes(hub_api: HfApi, tmp_path: Path) -> Iterator[JsonlScheduler]:
    with JsonlScheduler(REPO, tmp_path / "votes", every=600, hf_api=hub_api) as scheduler:
        scheduler.extend({"id": n % 2, "text": f"no. {n}, a\nb", "tags": [n]} for n in range(3))
        scheduler.flush()
        yield scheduler


def test_rows_go_to_stdout_and_the_cursor_to_stderr(run: Run, votes: JsonlScheduler) -> None:
    done = run("read", "votes")
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [0, 1, 0]
    assert done.stderr.startswith("3 rows. Read on later with --since ")
    cursor = done.stderr.split()[-1]
    votes.append({"id": 5, "text": "new", "tags": []})
    waiting = run("read", REPO, "--since", cursor, "--pending", votes.folder_path)
    assert json.loads(waiting.stdout)["id"] == 5
    votes.flush()
    assert json.loads(run("read", REPO, "--since", cursor).stdout) == {"id": 5, "text": "new", "tags": []}
    latest = run("read", REPO, "--latest", "id", "--last", "2").stdout.splitlines()
    assert [json.loads(line)["text"] for line in latest] == ["no. 2, a\nb", "new"]
    nothing = run("read", REPO, "--since", "2100-01-01")
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_each_format_has_all_values(run: Run, votes: JsonlScheduler, tmp_path: Path) -> None:
    text = run("read", REPO, "--format", "csv").stdout
    assert list(csv.DictReader(io.StringIO(text)))[2] == {"id": "0", "text": "no. 2, a\nb", "tags": "[2]"}
    table = run("read", REPO, "--format", "table").stdout.splitlines()
    assert table == ["id  text        tags", *(f"{n % 2}   no. {n}, a b  [{n}]" for n in range(3))]
    path = tmp_path / "votes.parquet"
    done = run("read", REPO, "--format", "parquet", "-o", path, "--last", "2")
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "votes.csv").write_text("old")
    run("read", REPO, "-o", tmp_path / "votes.csv")
    assert (tmp_path / "votes.csv").read_bytes().decode() == text
    assert pq.read_table(path).to_pylist() == [{"id": n % 2, "text": f"no. {n}, a\nb", "tags": [n]} for n in (1, 2)]


@pytest.mark.parametrize("form", ["csv", "table"])
def test_a_large_dataset_takes_little_memory(form: str, tmp_path: Path) -> None:
    rows = ({"n": n, "text": "x" * 500, **({"late": 1} if n == 19_999 else {})} for n in range(20_000))
    write = import_module("hubspool.cli.read")._write
    tracemalloc.start()
    try:
        with (tmp_path / "out").open("wb") as file:
            assert write(form, rows, lambda: None, file) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # of 10 MB
    finally:
        tracemalloc.stop()
    lines = (tmp_path / "out").read_text().splitlines()
    assert (lines[0].replace(",", " ").split(), len(lines)) == (["n", "text", "late"], 20_001)


def test_a_table_commands_no_terminal(run: Run, votes: JsonlScheduler) -> None:
    votes.append({"id": 7, "text": "\x1b[31mred\x07", "a\x1b[1m": 1})
    votes.flush()
    table = run("read", REPO, "--format", "table", "--last", "1").stdout
    assert table.splitlines() == ["id  text       a?[1m", "7   ?[31mred?  1"]


def test_a_read_that_fails_leaves_the_file_of_yesterday(run: Run, hub_api: HfApi, tmp_path: Path) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    adds = [CommitOperationAdd("a.jsonl", b'{"n":1}\n' * 10_000), CommitOperationAdd("b.jsonl", b'{"n"\n')]
    hub_api.create_commit(REPO, adds, commit_message="files", repo_type="dataset")
    folder = tmp_path / "exports"
    folder.mkdir()
    output, link = folder / "votes.jsonl", tmp_path / "link.jsonl"
    output.write_text("yesterday")
    output.chmod(0o640)
    link.symlink_to(output)
    for form in ("jsonl", "csv"):
        failed = run("read", REPO, "--format", form, "-o", link)
        assert (failed.returncode, output.read_text(), [*folder.iterdir()]) == (1, "yesterday", [output])
        assert "b.jsonl of local/votes cannot be read" in failed.stderr
    hub_api.delete_file("b.jsonl", REPO, repo_type="dataset")
    assert run("read", REPO, "-o", link).returncode == 0
    assert (link.is_symlink(), len(output.read_bytes()), output.stat().st_mode & 0o777) == (True, 80_000, 0o640)
    assert [*folder.iterdir()] == [output]
    assert len(run("read", REPO, "-o", "/dev/stdout").stdout) == 80_000


def test_images_are_base64_in_lines(run: Run, hub_api: HfApi, tmp_path: Path) -> None:
    with ParquetScheduler("local/drawings", tmp_path / "drawings", every=600, hf_api=hub_api) as scheduler:
        scheduler.append({"n": 1, "image": Image.new("RGB", (2, 2))})
    row = json.loads(run("read", "local/drawings").stdout)
    assert base64.b64decode(row["image"]["bytes"]).startswith(b"\x89PNG")


def test_a_reader_that_goes_away_ends_it_quietly(env: dict[str, str], hub_api: HfApi, tmp_path: Path) -> None:
    with JsonlScheduler("local/many", tmp_path / "many", every=600, hf_api=hub_api) as scheduler:
        scheduler.extend({"n": n, "text": "x" * 100} for n in range(20_000))
    command = [sys.executable, "-m", "hubspool.cli", "read", "local/many"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["n"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_errors_are_one_line_with_the_next_step(run: Run, votes: JsonlScheduler) -> None:
    missing = run("read", "local/none")
    assert missing.returncode == 1
    assert len(missing.stderr.splitlines()) == 1
    wrong = run("read", REPO, "--since", "yesterday")
    assert re.fullmatch(r"hubspool: since='yesterday' is no cursor, commit or date\. Pass .*\n", wrong.stderr)
    assert "--since" in run("read", "--help").stdout
