"""Runs a script as a process with one of the two schedulers, and reads what it left on the local Hub."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import requests

from hubspool import HfApi
from hubspool.errors import RepositoryNotFoundError
from hubspool.local_hub import LocalHub, RequestRecord

#: Routes by which content reaches the Hub.
UPLOADS = ("commit", "bucket-batch", "xet-xorb", "xet-shard", "lfs-put", "lfs-part")
#: Routes that make content visible: in a repository, in a bucket.
COMMIT = ("commit", "bucket-batch")

#: What every script begins with; the lines below it are the same for both schedulers unless a case says why not.
PRELUDE = """
import json, os, sys, threading, time
from pathlib import Path
OURS = os.environ["LOSSES_SIDE"] == "hubspool"
if OURS:
    import logging
    from hubspool import CommitScheduler, HfApi
else:
    from huggingface_hub import CommitScheduler, HfApi
REPO, FOLDER = os.environ["LOSSES_REPO"], Path(os.environ["LOSSES_FOLDER"])

def make(kind=CommitScheduler, **options):
    given = {"repo_id": REPO, "repo_type": "dataset", "folder_path": FOLDER, "every": 600}
    return kind(**{**given, **options})

def write(scheduler, name, *ids):
    with scheduler.lock, (scheduler.folder_path / name).open("a") as file:
        for each in ids:
            file.write(json.dumps({"id": each}) + "\\n")

def outcome(call):
    try:
        call()
    except BaseException as error:
        return type(error).__name__
    return "ok"

def is_alive():
    return any("_run_scheduler" in each.name or "hubspool-push" in each.name for each in threading.enumerate())

def say(**values):
    print(json.dumps(values), flush=True)

def leave():
    sys.stderr.flush()
    os._exit(0)
"""


class Side(str, Enum):
    """Which scheduler a script imports."""

    STOCK = "huggingface_hub"
    OURS = "hubspool"


@dataclass(frozen=True)
class Outcome:
    """What a case measured, and whether hubspool promises that."""

    text: str
    ok: bool


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Args:
        row: its number, L1 to L33.
        does: what the script does, in one sentence.
        run: measures one side.
        cheap: also run by pytest.
        no_bucket: why it has no meaning for a bucket; empty if it has.
    """

    row: str
    does: str
    run: Callable[[Trial], Outcome]
    cheap: bool
    no_bucket: str = ""


@dataclass
class Cases:
    """The cases of one module, in the order of their definition."""

    all: list[Case] = field(default_factory=list)

    def __call__(
        self, row: str, does: str, *, cheap: bool = True, no_bucket: str = ""
    ) -> Callable[[Callable[[Trial], Outcome]], Case]:
        def add(run: Callable[[Trial], Outcome]) -> Case:
            self.all.append(Case(row, does, run, cheap, no_bucket))
            return self.all[-1]

        return add


@dataclass(frozen=True)
class Done:
    """A script that ended.

    Args:
        code: its exit code, negative for a signal; None when it had to be killed.
        seconds: from the start, or from the signal, to the end.
        said: all that it said.
        log: its stderr.
    """

    code: int | None
    seconds: float
    said: dict[str, Any]
    log: str


class Script:
    """A script that runs. The end of `Trial.start` kills its process group."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        self._began = time.monotonic()
        self._said: dict[str, Any] = {}
        self._lines: queue.Queue[str | None] = queue.Queue()
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, key: str, timeout: float = 60) -> Any:
        """Return what the script said under `key`."""
        deadline = time.monotonic() + timeout
        while key not in self._said:
            try:
                line = self._lines.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                line = None
            else:
                if line is None:
                    self._lines.put(None)  # the end stays the end
            if line is None:
                raise RuntimeError(f"the script did not say {key!r}: {self._log.read_text()[-2000:]}")
            if line.startswith("{"):
                self._said.update(json.loads(line))
        return self._said[key]

    def tell(self, line: str = "") -> None:
        """Write a line to the script's stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal; seconds are counted from here on."""
        self._began = time.monotonic()
        self.process.send_signal(number)

    def end(self, timeout: float = 60) -> Done:
        """Wait for the end, or kill the group after `timeout` seconds."""
        code: int | None
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - self._began
        self.kill()
        while (line := self._lines.get()) is not None:
            if line.startswith("{"):
                self._said.update(json.loads(line))
        return Done(code, seconds, self._said, self._log.read_text())

    def kill(self) -> None:
        """Kill the script and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


class Trial:
    """One side of one case: a repository and a folder that no other case uses, on a Hub without faults of other cases.

    Args:
        scale: what the sizes of the large cases are multiplied with; 1 is what the table is about.
    """

    def __init__(self, hub: LocalHub, side: Side, name: str, directory: Path, *, scale: float = 1) -> None:
        self.hub = hub
        self.side = side
        self.scale = scale
        self.repo = f"{hub.user}/{name.lower()}-{side.value.replace('_', '-')}"
        self.directory = directory
        self.folder = directory / "folder"
        self.folder.mkdir(parents=True)
        self.api = HfApi(endpoint=hub.endpoint, token=hub.token)
        self._count = 0
        hub.faults.clear()
        hub.requests.clear()

    @property
    def is_ours(self) -> bool:
        return self.side is Side.OURS

    def create(self, **options: Any) -> None:
        """Make the repo before the script does."""
        self.api.create_repo(self.repo, **{"repo_type": "dataset", **options})

    def delete(self) -> None:
        """Delete the repo."""
        self.api.delete_repo(self.repo, repo_type="dataset")

    def is_private(self) -> bool:
        """Whether only its owner sees the repo."""
        return bool(self.api.repo_info(self.repo, repo_type="dataset").private)

    @contextmanager
    def start(
        self, script: str, *, command: list[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> Iterator[Script]:
        """Run a script, or a command, until the block ends; values in `environment` override ours."""
        self._count += 1
        path = self.directory / f"script-{self._count}.py"
        path.write_text(PRELUDE + script)
        compile(PRELUDE + script, path, "exec")  # a slip in the case must not pass for a loss
        running = Script(
            command or [sys.executable, str(path)],
            {**self._environment(), **(environment or {})},
            self.directory / f"log-{self._count}.txt",
        )
        try:
            yield running
        finally:
            running.kill()

    def run(self, script: str, timeout: float = 60, **environment: str) -> Done:
        """Run a script to its end; `environment` is as in `start`."""
        with self.start(script, environment=environment) as running:
            return running.end(timeout)

    def files(self, repo_type: str = "dataset") -> list[str]:
        """Paths on the Hub but for .gitattributes and the card."""
        found = self.api.list_repo_files(self.repo, repo_type=repo_type)
        return [path for path in found if path not in (".gitattributes", "README.md")]

    def content(self, path: str, repo_type: str = "dataset") -> bytes:
        answer = requests.get(
            f"{self.hub.endpoint}/{repo_type}s/{self.repo}/resolve/{'' if repo_type == 'bucket' else 'main/'}{path}",
            headers={"Authorization": f"Bearer {self.hub.token}"},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.content

    def ids(self, repo_type: str = "dataset") -> list[int]:
        """The ids of all rows on the Hub; half a line is no row."""
        found = []
        try:
            paths = self.files(repo_type)
        except RepositoryNotFoundError:
            return []
        for path in paths:
            for line in self.content(path, repo_type).splitlines() if path.endswith(".jsonl") else []:
                try:
                    found.append(json.loads(line)["id"])
                except ValueError:
                    continue
        return sorted(found)

    def kept(self, count: int, what: str = "rows") -> Outcome:
        """Compare the rows on the Hub with 0 … count - 1."""
        ids = self.ids()
        distinct = len(set(ids) & set(range(count)))
        doubled = len(ids) - len(set(ids))
        more = f", {doubled} doubled" if doubled else ""
        return Outcome(f"{distinct} of {count} {what}{more}", ids == [*range(count)])

    def commits(self) -> int:
        """Commits on the branch but for the one that made the repo."""
        return len(self.api.list_repo_commits(self.repo, repo_type="dataset")) - 1

    def requests(self, *routes: str) -> list[RequestRecord]:
        """The scripts' requests of these routes, since the last `hub.requests.clear()`."""
        self.hub.wait_idle()
        return self.hub.requests.of(*routes)

    def bytes_sent(self) -> int:
        """Bytes of content that reached the Hub, in whichever form."""
        return sum(record.bytes_in for record in self.requests(*UPLOADS))

    @property
    def address(self) -> str:
        """What a script gives as the repo's id."""
        return self.repo

    def _environment(self) -> dict[str, str]:
        home = str(self.directory / "home")
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": home,
            "HF_HOME": home,
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_TOKEN": self.hub.token,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "LOSSES_SIDE": self.side.value,
            "LOSSES_REPO": self.address,
            "LOSSES_FOLDER": str(self.folder),
        }


class BucketTrial(Trial):
    """The same with a bucket in place of a repository."""

    @property
    def address(self) -> str:
        return f"hf://buckets/{self.repo}"

    def create(self, **options: Any) -> None:
        self.api.create_bucket(self.repo, **options)

    def delete(self) -> None:
        self.api.delete_bucket(self.repo)

    def is_private(self) -> bool:
        return self.api.bucket_info(self.repo).private

    def files(self, repo_type: str = "bucket") -> list[str]:
        return sorted(entry.path for entry in self.api.list_bucket_tree(self.repo))

    def content(self, path: str, repo_type: str = "bucket") -> bytes:
        return super().content(path, "bucket")

    def commits(self) -> int:
        return sum(record.status == 200 for record in self.requests("bucket-batch"))
