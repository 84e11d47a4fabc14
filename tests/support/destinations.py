"""Schedulers that share a folder on one Hub with two accounts: what they write, and what is on the Hub afterwards."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow.parquet

from hubspool import CommitScheduler, HfApi
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, ParquetScheduler, RowScheduler, ZipScheduler

SECONDS = 60
USERS = ["alice:hf_alice", "bob:hf_bob"]
KINDS = {"jsonl": JsonlScheduler, "parquet": ParquetScheduler, "zip": ZipScheduler, "files": CommitScheduler}
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Make = Callable[..., Any]


def client(hub: LocalHub, user: str = "alice") -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=f"hf_{user}")


def put(scheduler: CommitScheduler, *ids: str) -> None:
    """Store one row, or one file, for each id."""
    for each in ids:
        if isinstance(scheduler, ZipScheduler):
            scheduler.add(each.encode(), f"{each}.bin")
        elif isinstance(scheduler, RowScheduler):
            scheduler.append({"id": each})
        else:
            with scheduler.lock, (scheduler.folder_path / "user.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"id": each}) + "\n")


def ids_on(hub: LocalHub, repo_id: str, path: str = "", revision: str = "main") -> list[str]:
    """The ids of all rows, and of the files in archives, below a path of a dataset; sorted, with repetitions."""
    api, found = client(hub), []
    target = Target.of(hub.endpoint, repo_id, "dataset", revision)
    names = api.list_repo_files(repo_id, repo_type="dataset", revision=revision)
    for name in [name for name in names if name.startswith(path)]:
        content = api.client().request("GET", target.file_url(name)).content
        if name.endswith(".jsonl"):
            found += [json.loads(line)["id"] for line in content.splitlines()]
        elif name.endswith(".parquet"):
            found += pyarrow.parquet.read_table(io.BytesIO(content)).column("id").to_pylist()
        elif name.endswith(".zip"):
            members = zipfile.ZipFile(io.BytesIO(content)).namelist()
            found += [member.removesuffix(".bin") for member in members if member.endswith(".bin")]
    return sorted(found)


def numbered(prefix: str, count: int = 3) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]
