"""Numbers about uploads, beside huggingface_hub and bare hf_xet: ``python -m tests.benchmarks.uploads [CASE …]``.

Prints, and asserts nothing: what a run shows depends on the machine and on who else uses it. Each measurement is a
child process with a fresh Hub, itself a process, and a cold Xet cache; the clients take turns; medians are printed.
Bare hf_xet gets the files and a token and commits nothing: what remains is the Hub's questions and the commit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The last one is hf_xet alone with groups as small as ours: 500 files, two groups at a time.
CLIENTS = ["hubspool", "huggingface_hub", "hf_xet", "hf_xet, 500 at once"]
#: Files, their size in bytes, their suffix, and which clients the case is about.
CASES: dict[str, tuple[int, int, str, list[str]]] = {
    "5,000 files of 4 kB": (5_000, 4_000, "bin", CLIENTS),
    "1,000 files of 200 kB": (1_000, 200_000, "bin", CLIENTS),
    "one file of 1 GiB": (1, 1 << 30, "bin", CLIENTS),
    "5,000 text files of 4 kB": (5_000, 4_000, "txt", CLIENTS[:2]),
    "50,000 text files of 4 kB": (50_000, 4_000, "txt", CLIENTS[:1]),
}

CHILD = """
import json, os, resource, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
client, folder, single = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "1"

if client.startswith("hf_xet"):
    import hf_xet, requests
    home, headers = os.environ["HF_ENDPOINT"], {"Authorization": "Bearer " + os.environ["HF_TOKEN"]}
    body = {"name": "bench", "type": "model"}
    requests.post(home + "/api/repos/create", json=body, headers=headers).raise_for_status()
    url = home + "/api/models/local/bench/xet-write-token/main"
    def upload():
        token = requests.get(url, headers=headers).json()
        session = hf_xet.XetSession(hf_xet.XetConfig())
        def send(paths):
            commit = session.new_upload_commit(
                endpoint=token["casUrl"], token=token["accessToken"], token_expiry_unix_secs=int(token["exp"]),
                token_refresh_url=url, token_refresh_headers=headers)
            for path in paths:
                commit.start_upload_file(str(path), sha256=hf_xet.COMPUTE_SHA256)
            commit.wait_to_finish()
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        group = len(paths) if client == "hf_xet" else 500
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(send, [paths[first : first + group] for first in range(0, len(paths), group)]))
else:
    api = __import__(client).HfApi(endpoint=os.environ["HF_ENDPOINT"], token=os.environ["HF_TOKEN"])
    api.create_repo("local/bench")
    def upload():
        if single:
            api.upload_file(path_or_fileobj=next(folder.rglob("*.bin")), path_in_repo="file.bin", repo_id="local/bench")
        else:
            api.upload_folder(folder_path=folder, repo_id="local/bench")

seconds = []
for _ in range(2):
    begun = time.monotonic()
    upload()
    seconds.append(time.monotonic() - begun)
    if len(seconds) == 1:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([*seconds, peak]))
"""


HUB = """
import sys
from hubspool.local_hub import LocalHub
with LocalHub() as hub:
    print(hub.endpoint, hub.token, flush=True)
    sys.stdin.read()
"""


@contextmanager
def a_hub() -> Iterator[tuple[str, str]]:
    """Serve a Hub from a process of its own, which need not survive a power cut; yields address and token."""
    with subprocess.Popen([sys.executable, "-c", HUB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        endpoint, token = hub.stdout.readline().split()
        yield endpoint, token  # leaving closes its stdin, which ends it


def make_files(folder: Path, count: int, size: int, suffix: str) -> None:
    """Fill a folder, 500 files in each of its own folders; text is as random as letters can be."""
    for number in range(count):
        place = folder / f"{number // 500:03}"
        place.mkdir(parents=True, exist_ok=True)
        with (place / f"{number:05}.{suffix}").open("wb") as file:
            for left in range(size, 0, -(1 << 24)):
                block = os.urandom(min(left, 1 << 24))
                file.write(block if suffix == "bin" else block.hex()[: len(block)].encode())


def measure(client: str, folder: Path, count: int) -> tuple[float, float, float]:
    """Return seconds, seconds of the same again, and the peak of memory in MB, of a child that does only this."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, a_hub() as (endpoint, token):
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUBSPOOL_"))},
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": token,
            "HF_HOME": str(Path(name) / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HUBSPOOL_TIMEOUT": "600",  # a local Hub on a slow disk takes minutes for 50,000 files
        }
        command = [sys.executable, "-c", CHILD, client, str(folder), str(count)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise SystemExit(f"{client} failed:\n{done.stderr}")
        first, again, peak = json.loads(done.stdout.splitlines()[-1])
        return first, again, peak


def run_case(name: str, rounds: int) -> None:
    """Measure one case and print its lines."""
    count, size, suffix, clients = CASES[name]
    results: dict[str, list[tuple[float, float, float]]] = {client: [] for client in clients}
    with tempfile.TemporaryDirectory(prefix="bench-files-") as folder:
        make_files(Path(folder), count, size, suffix)
        for _ in range(rounds):
            for client in clients:
                results[client].append(measure(client, Path(folder), count))
    medians = {
        client: [statistics.median(column) for column in zip(*rows, strict=True)] for client, rows in results.items()
    }
    ours = medians["hubspool"]
    for client, (first, again, peak) in medians.items():
        line = f"| {name} | {client} | {first:.2f} s | {again:.2f} s | {peak:.0f} MB |"
        if client != "hubspool":
            line += f" {ours[0] / first:.2f} | {ours[1] / again:.2f} | {ours[2] - peak:+.0f} MB |"
        else:
            line += " | | |"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"one of {', '.join(map(repr, CASES))}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    print("| case | client | first | again | peak memory | ours to it, first | again | memory |")
    print("|---|---|---|---|---|---|---|---|")
    for name in args.cases or CASES:
        run_case(name, args.rounds)


if __name__ == "__main__":
    main()
