"""100,000 small files through `ZipScheduler`, half of them added, half dropped: seconds, and what is on the Hub after.

Run by hand: ``python -m tests.benchmarks.zip_files [--files 100000]``.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import ZipScheduler

REPO = "local/files"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    half = parser.parse_args().files // 2
    with tempfile.TemporaryDirectory() as folder, LocalHub() as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        scheduler = ZipScheduler(REPO, Path(folder) / "files", every=600, hf_api=api)
        began = time.perf_counter()
        for n in range(half):
            scheduler.add(b"%d" % n * 100, f"added/{n}.bin", n=n)
        print(f"add: {half / (time.perf_counter() - began):,.0f} files a second")
        for n in range(half):
            path = scheduler.folder_path / str(n % 100) / f"{n}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"%d" % n * 100)
        began = time.perf_counter()
        scheduler.stop(timeout=3600)
        print(f"claim, encode, send: {time.perf_counter() - began:.1f} s")
        print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, the Hub included")
        found: Counter[str] = Counter()
        for path in api.list_repo_files(REPO, repo_type="dataset"):
            if path.endswith(".zip"):
                local = api.hf_hub_download(REPO, path, repo_type="dataset", local_dir=folder)
                names = zipfile.ZipFile(io.BytesIO(Path(local).read_bytes())).namelist()
                found.update(name for name in names if name.endswith(".bin"))
                print(f"{path}: {len(names)} members, {Path(local).stat().st_size:,} bytes")
        print(f"on the Hub: {len(found)} files, {sum(count > 1 for count in found.values())} of them twice")


if __name__ == "__main__":
    main()
