"""What people use with buckets today works with those of the local Hub: `hf`, its file system, pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hubspool.local_hub import LocalHub

SECONDS = 100
#: One process for all commands: a process for each takes a second.
_COMMANDS = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
from huggingface_hub.cli.hf import app

def hf(*arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.output

folder = Path("data")
(folder / "deep").mkdir(parents=True)
(folder / "a.csv").write_text("id,text\\n1,one\\n2,two\\n")
(folder / "deep" / "b.bin").write_bytes(bytes(range(256)) * 20_000)
(folder / "empty").touch()
hf("buckets", "create", "local/stock", "--private")
assert "local/stock" in hf("buckets", "list")
hf("sync", "data", "hf://buckets/local/stock/data")
plan = Path("plan.jsonl")
hf("buckets", "sync", "data", "hf://buckets/local/stock/data", "--plan", str(plan))
lines = [json.loads(line) for line in plan.read_text().splitlines()]
assert [line["action"] for line in lines[1:]] == ["skip"] * 3, lines
(folder / "empty").unlink()
(folder / "new.txt").write_text("new")
hf("sync", "data", "hf://buckets/local/stock/data", "--delete")
hf("sync", "hf://buckets/local/stock/data", "back")
found = {str(path.relative_to("back")): path.read_bytes() for path in Path("back").rglob("*") if path.is_file()}
assert found == {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
hf("cp", "data/a.csv", "hf://buckets/local/stock/up.csv")
hf("cp", "hf://buckets/local/stock/up.csv", "down.csv")
assert Path("down.csv").read_bytes() == (folder / "a.csv").read_bytes()
hf("buckets", "create", "local/other")
hf("cp", "hf://buckets/local/stock/data", "hf://buckets/local/other/")
assert "deep/b.bin" in hf("buckets", "list", "local/other", "-R")
hf("buckets", "rm", "local/stock/up.csv", "--yes")
hf("buckets", "move", "local/other", "local/renamed")
hf("buckets", "delete", "local/renamed", "--yes")

import pandas
from huggingface_hub import HfFileSystem
fs = HfFileSystem()
root = "buckets/local/stock"
assert sorted(fs.ls(f"{root}/data", detail=False)) == [f"{root}/data/{name}" for name in ("a.csv", "deep", "new.txt")]
assert fs.glob(f"{root}/**/*.bin") == [f"{root}/data/deep/b.bin"]
with fs.open(f"{root}/data/deep/b.bin", "rb", block_size=1000) as file:
    file.seek(3 * 256)
    assert file.read(4) == bytes(range(4))
fs.get_file(f"{root}/data/deep/b.bin", "got.bin")
assert Path("got.bin").read_bytes() == (folder / "deep" / "b.bin").read_bytes()
with fs.open(f"{root}/written.jsonl", "wb") as file:
    file.write(b'{"id": 1}\\n{"id": 2}\\n')
fs.touch(f"{root}/empty")
assert fs.info(f"{root}/empty")["size"] == 0
fs.get_file(f"{root}/empty", "empty")
assert Path("empty").read_bytes() == b""
fs.cp_file(f"{root}/written.jsonl", f"{root}/copied.jsonl")
fs.mv(f"{root}/copied.jsonl", f"{root}/moved.jsonl")
assert fs.exists(f"{root}/moved.jsonl") and not fs.exists(f"{root}/copied.jsonl")
fs.rm(f"{root}/data", recursive=True)
assert not fs.exists(f"{root}/data")
table = pandas.read_json(f"hf://{root}/moved.jsonl", lines=True)
assert table["id"].tolist() == [1, 2]
table.to_parquet(f"hf://{root}/table.parquet")
assert pandas.read_parquet(f"hf://{root}/table.parquet")["id"].tolist() == [1, 2]
print("done")
"""
_FOLLOW = """
import time
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub._bucket_live_follow import BUCKET_FOLLOWERS
api = HfApi()
api.create_bucket("local/followed")
fs = HfFileSystem(live_follow=True)
assert fs.ls("buckets/local/followed") == []
(follower, _), = BUCKET_FOLLOWERS.values()
until = time.monotonic() + 60
while not follower.subscribed and time.monotonic() < until:
    time.sleep(0.01)
api.batch_bucket_files("local/followed", add=[(b"1", "new.txt")])
while not fs.ls("buckets/local/followed") and time.monotonic() < until:
    time.sleep(0.01)
print([entry["name"] for entry in fs.ls("buckets/local/followed")])
"""


def run(script: str, env: dict[str, str], folder: Path) -> str:
    environment = {**env, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HOME": str(folder)}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_hf_commands_the_file_system_and_pandas_work(env: dict[str, str], tmp_path: Path, local_hub: LocalHub) -> None:
    assert "done" in run(_COMMANDS, env, tmp_path)
    assert not [record for record in local_hub.requests if record.status >= 500]


def test_a_file_system_that_follows_a_bucket_sees_new_files(env: dict[str, str], tmp_path: Path) -> None:
    assert "['buckets/local/followed/new.txt']" in run(_FOLLOW, env, tmp_path)
