"""A join of 32 MiB takes little memory, and a joined Parquet file has row groups that a viewer takes."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from hubspool import CommitOperationAdd, HfApi
from hubspool.client.file_range import FileRange
from hubspool.client.target import Target
from hubspool.local_hub import LocalHub
from hubspool.push.encodings import Span
from hubspool.push.remote import RemoteRepo
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.parquet.parquet_encoding import ParquetEncoding
from hubspool_templates.schema import Schema
from tests.support.paths import ROOT

REPO = "local/votes"
MIB = 1 << 20
PARTS = 40
#: Joins the parts of one split to warm up, then of the other; prints the growth of its peak memory in bytes.
JOIN = """
import sys
from pathlib import Path
from hubspool import HfApi
from hubspool.client.target import Target
from hubspool.push.compaction import Compactor
from hubspool.push.joiner import Joiner
from hubspool.push.remote import RemoteRepo
from hubspool_templates.joiners import JOINERS

endpoint, token, repo_id, suffix = sys.argv[1:]
repo = RemoteRepo(HfApi(endpoint=endpoint, token=token), Target.of(endpoint, repo_id, "dataset", "main"))
joiner = JOINERS[suffix]() if suffix in JOINERS else Joiner()

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

assert Compactor(repo, "small", {suffix: joiner}).run().files_before == 2
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
report = Compactor(repo, "data", {suffix: joiner}).run()
print(report.files_before, len(report.paths), memory("VmHWM") - before)
"""


def content(suffix: str, size: int, number: int, folder: Path) -> bytes:
    """Return a part of about so many bytes of lines."""
    chance = random.Random(number)
    rows = [{"n": n, "text": chance.randbytes(450).hex()} for n in range(size // 920)]
    lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    if suffix == "jsonl":
        return lines
    segment, out = folder / f"train-20260101-0123456789ab-{number:05d}.parquet.jsonl", folder / f"{number}.parquet"
    segment.write_bytes(lines)
    span = Span(segment.name, 0, len(lines))
    assert ParquetEncoding(lambda _: Schema()).encode(span, FileRange(segment, 0, len(lines)), None, out)
    return out.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_join_of_32_mib_takes_less_than_64_mib_of_memory(
    hub_api: HfApi, local_hub: LocalHub, tmp_path: Path, suffix: str
) -> None:
    hub_api.create_repo(REPO, repo_type="dataset")
    size = 32 * MIB // PARTS - 4096
    large = content(suffix, size * 19 // 10 if suffix == "parquet" else size, 0, tmp_path)  # half of it, compressed
    name = "train-20260101-0123456789ab-{:05d}-p0000." + suffix
    small = [CommitOperationAdd(f"small/2026-01/{name.format(n)}", content(suffix, 9200, n, tmp_path)) for n in (1, 2)]
    segment = b"-0123456789ab-%05d.parquet.jsonl"
    parts = [
        CommitOperationAdd(f"data/2026-01/{name.format(n)}", large.replace(segment % 0, segment % n))
        for n in range(PARTS)
    ]
    hub_api.create_commit(REPO, [*small, *parts], commit_message="planted", repo_type="dataset")
    command = [sys.executable, "-c", JOIN, local_hub.endpoint, local_hub.token, REPO, suffix]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    files_before, files_after, growth = map(int, done.stdout.split())
    assert (files_before, files_after) == (PARTS, 1)
    print(f"{growth / MIB:.0f} MiB")
    assert growth < 64 * MIB
    if suffix == "parquet":
        repo = RemoteRepo(hub_api, Target(local_hub.endpoint, REPO, "dataset", "main"))
        (joined,) = repo.list_files("data", recursive=True)
        metadata = pq.read_metadata(io.BytesIO(repo.content(joined)))
        groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
        assert sum(group.num_rows for group in groups) == metadata.num_rows
        assert 2 <= len(groups) < PARTS
        assert max(group.total_byte_size for group in groups) <= DEFAULTS.join_group_bytes
        assert json.loads(metadata.metadata[b"huggingface"])
