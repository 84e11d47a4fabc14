"""What the local Hub takes and needs: `python -m tests.benchmarks.local_hub` prints a table; other load shows in it.

The Hub runs as `hubspool hub` in a process of its own. The rates with Xet are those of the real hf_xet client, its
chunking and hashing included, with a fresh cache; content is random, so nothing is deduplicated or compressed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import requests

TIMEOUT = 60
TOKEN = {"Authorization": "Bearer hf_local"}
_UPLOAD = """
import sys, time, hf_xet
url, path = sys.argv[1:]
started = time.perf_counter()
headers = {"Authorization": "Bearer hf_local"}
commit = hf_xet.XetSession().new_upload_commit(token_refresh_url=url, token_refresh_headers=headers)
handle = commit.start_upload_file(path)
commit.wait_to_finish()
info = handle.result().xet_info
print(time.perf_counter() - started, info.hash, info.sha256)
"""
_DOWNLOAD = """
import sys, time, hf_xet
url, path, hash, size = sys.argv[1:]
started = time.perf_counter()
headers = {"Authorization": "Bearer hf_local"}
group = hf_xet.XetSession().new_file_download_group(token_refresh_url=url, token_refresh_headers=headers)
group.start_download_file(hf_xet.XetFileInfo(hash, int(size)), path)
group.wait_to_finish()
print(time.perf_counter() - started)
"""


@contextmanager
def serving(root: Path) -> Iterator[tuple[str, float, int]]:
    """A Hub in a process: its address, the seconds until it answered, its process id."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "hubspool.cli", "hub", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            requests.get(f"{address}/api/models", timeout=TIMEOUT).raise_for_status()
            yield address, time.perf_counter() - started, process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(TIMEOUT)


def commit(session: requests.Session, api: str, names: list[str], text: str) -> float:
    """Milliseconds of one commit of these files."""
    lines = [f'{{"key": "header", "value": {{"summary": "{text}"}}}}']
    lines += [f'{{"key": "file", "value": {{"path": "{name}", "content": "{text} {name}"}}}}' for name in names]
    started = time.perf_counter()
    session.post(f"{api}/commit/main", data="\n".join(lines), timeout=TIMEOUT).raise_for_status()
    return (time.perf_counter() - started) * 1000


def commits(root: Path) -> tuple[float, float]:
    """The median and the 95th percentile of 200 commits of 10 files to a repository of 2,000."""
    with serving(root) as (address, _, _), requests.Session() as session:
        session.headers.update(TOKEN)
        session.post(f"{address}/api/repos/create", json={"name": "many"}, timeout=TIMEOUT).raise_for_status()
        api = f"{address}/api/models/local/many"
        for folder in range(20):
            commit(session, api, [f"{folder}/{number}.txt" for number in range(100)], "first")
        times = [
            commit(session, api, [f"{n % 20}/{(n * 10 + i) % 100}.txt" for i in range(10)], f"c{n}") for n in range(200)
        ]
    return statistics.median(times), sorted(times)[189]


def processor_seconds(pid: int) -> float:
    """Processor time of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def listings(root: Path, files: int) -> tuple[float, float, float]:
    """Seconds of the Hub's processor for a first listing of all files, their sizes, and the repository's info."""
    with serving(root) as (address, _, _), requests.Session() as session:
        session.headers.update(TOKEN)
        session.post(f"{address}/api/repos/create", json={"name": "many"}, timeout=TIMEOUT).raise_for_status()
        for first in range(0, files, 1000):
            names = [f"{first // 1000}/{number}.txt" for number in range(first, min(first + 1000, files))]
            commit(session, f"{address}/api/models/local/many", names, "c")
    with serving(root) as (address, _, pid), requests.Session() as session:
        session.headers.update(TOKEN)
        api = f"{address}/api/models/local/many"
        times = [processor_seconds(pid)]
        url = f"{api}/tree/main?recursive=true"
        while url:
            page = session.get(url, timeout=TIMEOUT)
            page.raise_for_status()
            url = page.links.get("next", {}).get("url", "")
        times.append(processor_seconds(pid))
        for query in ("?blobs=true", ""):
            assert len(session.get(f"{api}{query}", timeout=TIMEOUT).json()["siblings"]) == files + 1
            times.append(processor_seconds(pid))
    listed, sized, described = (after - before for before, after in pairwise(times))
    return listed, sized, described


def pull(root: Path, history: int) -> float:
    """Seconds of the Hub's processor for a `git pull` of one new commit after `history` others."""
    with serving(root) as (address, _, pid), requests.Session() as session:
        session.headers.update(TOKEN)
        session.post(f"{address}/api/repos/create", json={"name": "long"}, timeout=TIMEOUT).raise_for_status()
        for number in range(history):
            commit(session, f"{address}/api/models/local/long", [f"{number % 100}.txt"], f"c{number}")
        subprocess.run(["git", "clone", "-q", f"{address}/local/long", root / "clone"], check=True)
        commit(session, f"{address}/api/models/local/long", ["new.txt"], "new")
        before = processor_seconds(pid)
        subprocess.run(["git", "-C", root / "clone", "pull", "-q", "--ff-only"], check=True)
        assert (root / "clone" / "new.txt").exists()
        return processor_seconds(pid) - before


def xet(root: Path, size: int) -> tuple[float, float]:
    """Bytes per second up and down, through hf_xet with a fresh cache each."""
    source, copy = root / "source", root / "copy"
    with source.open("wb") as out:
        for _ in range(size >> 20):
            out.write(os.urandom(1 << 20))
    with serving(root / "hub") as (address, _, _), requests.Session() as session:
        session.headers.update(TOKEN)
        session.post(f"{address}/api/repos/create", json={"name": "m"}, timeout=TIMEOUT).raise_for_status()
        api = f"{address}/api/models/local/m"

        def run(script: str, name: str, *args: object) -> list[str]:
            cache = {"HF_XET_CACHE": str(root / name), "HF_HUB_DISABLE_TELEMETRY": "1"}
            command = [sys.executable, "-c", script, *map(str, args)]
            return subprocess.run(
                command, env={**os.environ, **cache}, check=True, capture_output=True, text=True
            ).stdout.split()

        seconds_up, file, sha256 = run(_UPLOAD, "up", f"{api}/xet-write-token/main", source)
        pointer = f'{{"key": "lfsFile", "value": {{"path": "a.bin", "algo": "sha256", "oid": "{sha256}"}}}}'
        head = '{"key": "header", "value": {"summary": "x"}}'
        session.post(f"{api}/commit/main", data=f"{head}\n{pointer}", timeout=TIMEOUT).raise_for_status()
        (seconds_down,) = run(_DOWNLOAD, "down", f"{api}/xet-read-token/main", copy, file, size)
        assert copy.read_bytes() == source.read_bytes()
    return size / float(seconds_up), size / float(seconds_down)


def at_rest(root: Path) -> tuple[float, float]:
    """Seconds to start on a root with 100 repositories, and MB resident 10 s later."""
    with serving(root) as (address, _, _), requests.Session() as session:
        session.headers.update(TOKEN)
        for number in range(100):
            session.post(f"{address}/api/repos/create", json={"name": f"r{number}"}, timeout=TIMEOUT).raise_for_status()
    with serving(root) as (_, seconds, pid):
        time.sleep(10)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return seconds, int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS: this needs Linux")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the Xet file")
    parser.add_argument("--files", type=int, default=100_000, help="files of the repository that is listed")
    parser.add_argument("--history", type=int, default=3000, help="commits before a pull")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print(f"{'':44}{'best of ' + str(args.repeat):>12}{'wanted':>12}")
    with tempfile.TemporaryDirectory() as folder:
        places = iter(range(10_000))

        def place() -> Path:
            path = Path(folder) / str(next(places))
            path.mkdir()
            return path

        p50, p95 = min(commits(place()) for _ in range(args.repeat))
        print(f"{'200 commits of 10 files beside 2,000: p50':44}{p50:>9.1f} ms{'<= 20 ms':>12}")
        print(f"{'  p95':44}{p95:>9.1f} ms")
        listed, sized, described = min(listings(place(), args.files) for _ in range(args.repeat))
        print(f"{f'{args.files:,} files listed: processor time':44}{listed:>10.2f} s{'<= 15 s':>12}")
        print(f"{'  then with ?blobs=true':44}{sized:>10.2f} s")
        print(f"{'  info of the repository':44}{described:>10.2f} s{'<= 1 s':>12}")
        for history in (args.history // 30, args.history):
            seconds = min(pull(place(), history) for _ in range(args.repeat))
            print(f"{f'git pull after {history:,} commits: processor time':44}{seconds:>10.2f} s{'flat':>12}")
        rates = [xet(place(), args.mib << 20) for _ in range(args.repeat)]
        up, down = (max(rate[side] for rate in rates) / 1e6 for side in (0, 1))
        print(f"{f'{args.mib} MiB of random bytes through hf_xet: up':44}{up:>7.0f} MB/s{'>= 150 MB/s':>12}")
        print(f"{'  down':44}{down:>7.0f} MB/s{'>= 300 MB/s':>12}")
        seconds, resident = min(at_rest(place()) for _ in range(args.repeat))
        print(f"{'start on a root with 100 repositories':44}{seconds:>10.2f} s{'< 1 s':>12}")
        print(f"{'  resident 10 s later':44}{resident:>9.0f} MB{'< 120 MB':>12}")


if __name__ == "__main__":
    main()
