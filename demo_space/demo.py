"""`make demo`: the sample Space beside a Hub on this machine, until Ctrl-C. A real Space does not need this file.

With both HF_TOKEN and HUBSPOOL_REPO=user/name set, the real Hub replaces the local one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from destination import Destination

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
LOCAL_PREFIX = "local/romanisation-arena"
LOCAL_TOKEN = "hf_local"  # noqa: S105  the local Hub's default, valid on this machine only
START_SECONDS = 60.0
SPACE_EXIT_SECONDS = 20.0
"""Longer than a scheduler may take for its last push."""
HUB_EXIT_SECONDS = 10.0


class DemoError(Exception):
    """Why the demo cannot run, in one sentence for the person who started it."""


class Child:
    """A child process in its own group: Ctrl-C reaches only the launcher, which ends its children in order."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        log.write_bytes(b"")
        with log.open("ab") as stream:
            self.process = subprocess.Popen(  # noqa: S603  our own programs
                command,
                cwd=folder,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                start_new_session=True,
            )
        self.first_line = ""
        self.has_spoken = threading.Event()
        self.reader = threading.Thread(target=self._read, name=f"{name}-output", daemon=True)
        self.reader.start()

    def _read(self) -> None:
        """Runs in a thread: keeps the first line and logs the others, so that the pipe never fills."""
        assert self.process.stdout
        with self.log.open("a") as stream:
            for line in self.process.stdout:
                if not self.first_line:
                    self.first_line = line.strip()
                    self.has_spoken.set()
                else:
                    print(line, end="", file=stream, flush=True)
        self.has_spoken.set()

    def check(self) -> None:
        """Raises DemoError if the process has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise DemoError(f"{self.name} {how}. See {self.log}{self._last_line()}")

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else "."

    def end(self, seconds: float) -> None:
        """Sends SIGTERM, and after `seconds` SIGKILL to the rest of the group."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                print(f"{self.name} did not end within {seconds:.0f} s and was killed.", flush=True)
        with contextlib.suppress(ProcessLookupError):  # the usual case: the whole group has ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join(timeout=5)


class Demo:
    """Starts the children, and ends them on a signal."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.leaving = False  # not an Event: the handler may run while this thread holds the Event's lock
        self.children: list[tuple[Child, float]] = []  # with the seconds that each may take to end

    def run(self) -> None:
        """Starts the children, prints their addresses, and returns after a signal."""
        _minutes(self.environment)
        port = _port(self.environment, "PORT", 7860)
        hub_port = _port(self.environment, "HUB_PORT", 0)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if self.environment.get("HF_TOKEN") and self.environment.get("HUBSPOOL_REPO"):
                environment, reader = self._on_the_real_hub()
            else:
                environment, reader = self._on_a_local_hub(hub_port)
            if self.leaving:
                return
            environment["PORT"] = str(port)
            space = self._start(
                "The Space", [sys.executable, str(ROOT / "demo_space" / "app.py")], environment, "space"
            )
            self._wait_for(f"http://{HOST}:{port}/", space)
            if not self.leaving:
                self._announce(f"http://{HOST}:{port}", environment, reader)
            while not self._pause(0.5):
                for child, _ in self.children:
                    child.check()
        except DemoError as error:
            if len(self.children) < 2:
                raise
            raise DemoError(
                f"{error}\nVotes that were not sent are in {self.folder}; the next start sends them."
            ) from None
        finally:
            self._end()

    def _on_a_local_hub(self, port: int) -> tuple[dict[str, str], dict[str, str]]:
        """Starts the Hub; returns the environment of the Space, and the variables that a reader must set."""
        for name, other in (("HF_TOKEN", "HUBSPOOL_REPO=user/name"), ("HUBSPOOL_REPO", "HF_TOKEN")):
            if self.environment.get(name):
                print(
                    f"{name} alone is ignored: this demo uses a local Hub. For the real one set {other} too.",
                    flush=True,
                )
        # The user's account never reaches the local Hub, and nothing is written to their home folder.
        own = {
            name: value
            for name, value in self.environment.items()
            if not name.startswith(("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "SPACE_")) and name != "HUBSPOOL_REPO"
        }
        own["HF_HOME"] = str(self.folder / "hf_home")
        for name in ("no_proxy", "NO_PROXY"):
            own[name] = ",".join(filter(None, [own.get(name), HOST, "localhost"]))
        program = Path(sysconfig.get_path("scripts"), "hubspool")
        command = [str(program), "hub", "--root", str(self.folder / "hub"), "--port", str(port)]
        hub = self._start("The local Hub", command, own, "hub", HUB_EXIT_SECONDS)
        if not hub.has_spoken.wait(START_SECONDS):
            raise DemoError(f"The local Hub did not start within {START_SECONDS:.0f} s; see {hub.log}")
        if not hub.first_line:
            hub.process.wait(HUB_EXIT_SECONDS)  # its output has ended, so the process ends too
            hub.check()
        reader = {"HF_HOME": own["HF_HOME"], "HF_ENDPOINT": hub.first_line, "HF_TOKEN": LOCAL_TOKEN}
        own |= {**reader, "HUBSPOOL_REPO": LOCAL_PREFIX, "HUBSPOOL_EVERY": own.get("HUBSPOOL_EVERY", "0.2")}
        return own, reader

    def _on_the_real_hub(self) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the user's own environment, with their account and caches."""
        shared = {name: self.environment[name] for name in ("HF_ENDPOINT",) if name in self.environment}
        return dict(self.environment), shared

    def _start(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        log: str,
        seconds: float = SPACE_EXIT_SECONDS,
    ) -> Child:
        child = Child(name, command, self.folder, environment, self.folder / f"{log}.log")
        self.children.append((child, seconds))
        return child

    def _wait_for(self, address: str, space: Child) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(int(START_SECONDS / 0.25)):
            if self._pause(0.25):
                return
            space.check()
            try:
                opener.open(address, timeout=5).close()
            except urllib.error.HTTPError:
                raise DemoError(f"Another program answers at {address}; see {space.log}") from None
            except OSError:
                continue
            return
        raise DemoError(f"The Space did not answer within {START_SECONDS:.0f} s; see {space.log}")

    def _announce(self, address: str, environment: Mapping[str, str], reader: Mapping[str, str]) -> None:
        dataset = Destination.of("votes", environment).repo_id
        every = _minutes(environment)
        settings = "".join(f"{name}={shlex.quote(value)} " for name, value in reader.items())
        rows = f"load_dataset('{dataset}', split='train').to_pandas()"
        code = f"from datasets import load_dataset; print({rows}.to_string())"
        print(
            f"Space    {address}\n"
            f"Hub      {environment.get('HF_ENDPOINT', 'https://huggingface.co')}\n"
            f"Dataset  {dataset} (private)\n\n"
            f"New votes are committed every {every * 60:g} seconds. This reads them:\n\n"
            f'{settings}{shlex.quote(sys.executable)} -c "{code}"\n\n'
            f"Data and logs are in {self.folder}. Ctrl-C ends the demo.",
            flush=True,
        )

    def _pause(self, seconds: float) -> bool:
        """Waits, and returns whether a signal has arrived."""
        time.sleep(seconds)
        return self.leaving

    def leave(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: the first signal ends the demo in order, the second one kills the children."""
        if self.leaving:
            for child, _ in self.children:
                child.process.kill()
        self.leaving = True

    def _end(self) -> None:
        """Ends the Space first, so that it can still send its last votes to the Hub."""
        if self.leaving:
            print("\nEnding: the last votes are sent first. Press Ctrl-C again to kill at once.", flush=True)
        for child, seconds in reversed(self.children):
            child.end(seconds)


def _minutes(environment: Mapping[str, str]) -> float:
    """Returns HUBSPOOL_EVERY; checked here, because the Space's own error would only be in its log."""
    text = environment.get("HUBSPOOL_EVERY", "5")
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise DemoError(f"HUBSPOOL_EVERY is {text!r}: set it to the minutes between two pushes, for example 0.2.")
    return minutes


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    """Returns the port that a variable names, or a free one for 0."""
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) > 65_535:
        raise DemoError(f"{name} is {text!r}: set it to a port number from 0 (a free port) to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((HOST, int(text)))
        except OSError as error:
            raise DemoError(f"Port {text} cannot be used ({error.strerror}); set {name} to another one.") from error
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the sample Space beside a local Hub until Ctrl-C.")
    parser.add_argument("--root", type=Path, default=ROOT / ".demo", help="folder for all data (default: .demo)")
    demo = Demo(parser.parse_args().root.resolve(), os.environ)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, demo.leave)
    try:
        demo.run()
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
