"""A load on one local Hub: ``python -m tests.hub.load --minutes 1 --processes 8``.

The processes, half of them with huggingface_hub, commit, upload through Xet, read, branch, tag, squash and open pull
requests in the same few repositories. Every answer must be what was asked for, or 409 or 412. Afterwards a server that
starts anew on the same folder must have every acknowledged file with its content, and `git fsck --strict` find nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOS = ("local/one", "local/two")
TOKEN = "hf_local"
READ_BACK = 300
#: What a busy Hub answers to one of several writers; a client tries again.
BUSY = {409, 412}


@dataclass
class PushLoop:
    """One process of the load."""

    number: int
    endpoint: str
    folder: Path
    ends: float
    acknowledged: dict[str, str] = field(default_factory=dict)  # repo and path → sha256
    done: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    seconds: list[float] = field(default_factory=list)  # of each commit

    def __post_init__(self) -> None:
        package = __import__("huggingface_hub" if self.number % 2 else "hubspool")
        self.package = package
        self.api: Any = package.HfApi(endpoint=self.endpoint, token=TOKEN)
        self.chance = random.Random(self.number)

    def run(self) -> dict[str, Any]:
        actions = [self.commit, self.commit, self.upload, self.read, self.list, self.branch, self.tag, self.pull]
        count = 0
        while time.monotonic() < self.ends:
            count += 1
            self.act(self.chance.choice(actions), self.chance.choice(REPOS), f"{self.number}-{count}")
        return {
            "acknowledged": self.acknowledged,
            "done": self.done,
            "busy": self.busy,
            "seconds": self.seconds,
        }

    def act(self, action: Callable[[str, str], None], repo: str, name: str) -> None:
        try:
            action(repo, name)
        except Exception as error:
            response = getattr(error, "response", None)
            status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
            if status not in BUSY:
                raise
            self.busy += 1
        else:
            self.done[action.__name__] += 1

    def commit(self, repo: str, name: str) -> None:
        files = {f"small/{name}/{number}.txt": os.urandom(200).hex().encode() for number in range(10)}
        self.add(repo, files)

    def upload(self, repo: str, name: str) -> None:
        self.add(repo, {f"large/{name}.bin": os.urandom(self.chance.randrange(1, 2_000_000))})

    def add(self, repo: str, files: dict[str, bytes]) -> None:
        operations = [self.package.CommitOperationAdd(path, content) for path, content in files.items()]
        began = time.monotonic()
        self.api.create_commit(repo, operations, commit_message="load", repo_type="dataset")
        self.seconds.append(time.monotonic() - began)
        for path, content in files.items():
            self.acknowledged[f"{repo} {path}"] = hashlib.sha256(content).hexdigest()

    def read(self, _repo: str, name: str) -> None:
        if not self.acknowledged:
            return
        key = self.chance.choice(sorted(self.acknowledged))
        repo, path = key.split(" ")
        found = self.api.hf_hub_download(repo, path, repo_type="dataset", local_dir=self.folder / name)
        if hashlib.sha256(Path(found).read_bytes()).hexdigest() != self.acknowledged[key]:
            raise SystemExit(f"{key} has another content")
        Path(found).unlink()

    def list(self, repo: str, _name: str) -> None:
        self.api.list_repo_files(repo, repo_type="dataset")
        self.api.list_repo_refs(repo, repo_type="dataset")

    def branch(self, repo: str, name: str) -> None:
        options = {"repo_type": "dataset", "branch": f"b{name}"}
        self.api.create_branch(repo, **options)
        self.api.super_squash_history(repo, **options)
        self.api.delete_branch(repo, **options)

    def tag(self, repo: str, name: str) -> None:
        self.api.create_tag(repo, tag=f"t{name}", tag_message="load", repo_type="dataset")

    def pull(self, repo: str, name: str) -> None:
        operation = self.package.CommitOperationAdd(f"pulls/{name}.txt", name.encode())
        self.api.create_commit(repo, [operation], commit_message="pull", repo_type="dataset", create_pr=True)


@contextmanager
def a_hub(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "hubspool.cli", "hub", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hub:
        try:
            assert hub.stdout is not None
            yield hub.stdout.readline().strip()
        finally:
            hub.terminate()
            hub.wait(30)


def check(root: Path, endpoint: str, acknowledged: dict[str, str]) -> list[str]:
    """Return what is wrong with the Hub: all files as git has them, and some large ones as clients read them."""
    from hubspool import HfApi

    wrong = []
    api = HfApi(endpoint=endpoint, token=TOKEN)
    with tempfile.TemporaryDirectory() as folder:
        for repo in REPOS:
            bare, clone = root / "repos" / "datasets" / f"{repo}.git", Path(folder) / repo
            for arguments in (
                ["-C", bare, "fsck", "--strict", "--full"],
                ["clone", f"{endpoint}/datasets/{repo}", clone],
            ):
                done = subprocess.run(
                    ["git", *map(str, arguments)],
                    env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1", "GIT_TERMINAL_PROMPT": "0"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    wrong.append(f"{repo}: {done.stderr.strip()}")
        large = []
        for key, sha256 in acknowledged.items():
            content = (Path(folder) / key.replace(" ", "/")).read_bytes()
            if "/large/" in key.replace(" ", "/") and content.startswith(b"version https://git-lfs"):
                large.append(key)
                is_same = f"oid sha256:{sha256}".encode() in content
            else:
                is_same = hashlib.sha256(content).hexdigest() == sha256
            if not is_same:
                wrong.append(f"{key} has another content")
        for key in random.sample(large, min(len(large), READ_BACK)):
            repo, path = key.split(" ")
            found = Path(api.hf_hub_download(repo, path, repo_type="dataset", local_dir=Path(folder) / "down"))
            if hashlib.sha256(found.read_bytes()).hexdigest() != acknowledged[key]:
                wrong.append(f"{key} is read as another content")
    return wrong


def drive(endpoint: str, folder: Path, minutes: float, processes: int) -> list[dict[str, Any]]:
    """Run the workers; returns what each reported."""
    command = [sys.executable, "-m", "tests.hub.load", "--minutes", str(minutes), "--endpoint", endpoint]
    environment = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HOME": str(folder / "home")}
    workers = []
    for number in range(processes):
        arguments = [*command, "--number", str(number), "--folder", str(folder / str(number))]
        workers.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment))
    try:
        told = [worker.communicate(timeout=minutes * 60 + 300)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    if failed := [number for number, worker in enumerate(workers) if worker.returncode]:
        raise SystemExit(f"workers {failed} failed: see above")
    return [json.loads(text) for text in told]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--processes", type=int, default=8)
    for name in ("--endpoint", "--number", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.endpoint:
        worker = PushLoop(int(args.number), args.endpoint, Path(args.folder), time.monotonic() + args.minutes * 60)
        print(json.dumps(worker.run()))
        return
    from hubspool import HfApi

    with tempfile.TemporaryDirectory(prefix="hubspool-load-") as name:
        root = Path(name) / "hub"
        with a_hub(root) as endpoint:
            for repo in REPOS:
                HfApi(endpoint=endpoint, token=TOKEN).create_repo(repo, repo_type="dataset")
            reports = drive(endpoint, Path(name), args.minutes, args.processes)
        acknowledged = {key: digest for report in reports for key, digest in report["acknowledged"].items()}
        done = sum((Counter(report["done"]) for report in reports), Counter())
        seconds = [each for report in reports for each in report["seconds"]]
        with a_hub(root) as endpoint:
            wrong = check(root, endpoint, acknowledged)
    slow = statistics.quantiles(seconds, n=100)[98]
    print(f"{args.processes} processes, {args.minutes:g} minutes: {dict(sorted(done.items()))}")
    print(f"commits: median {statistics.median(seconds) * 1000:.0f} ms, 99th percentile {slow * 1000:.0f} ms")
    print(f"told to try again (409, 412): {sum(report['busy'] for report in reports)}")
    print(f"{len(acknowledged):,} files acknowledged, {len(wrong)} wrong")
    if wrong or len(acknowledged) < args.processes:
        raise SystemExit("\n".join(wrong) or "too little was done")


if __name__ == "__main__":
    main()
