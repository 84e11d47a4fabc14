"""`make demo`: the sample Space beside a Hub on this machine, until Ctrl-C. A real Space does not need this file.

With both HF_TOKEN and HUBSPOOL_REPO=user/name set, the real Hub replaces the local one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from destination import TabDataset

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
LOCAL_PREFIX = "local/romanisation-arena"
LOCAL_TOKEN = "hf_local"  # noqa: S105  the local Hub's default, valid on this machine only
START_SECONDS = 60.0
EXIT_SECONDS = 20.0
"""Longer than a scheduler may take for its last push."""
_ADDRESS = re.compile(r"^(http://\S+)\n", re.MULTILINE)  # what the local Hub prints first


class DemoError(Exception):
    """Why the demo cannot run, in one sentence for the person who started it."""


class Leaving(Exception):  # noqa: N818  not an error
    """A signal has arrived: the demo ends."""


class Child:
    """A child process in its own group: Ctrl-C reaches only the launcher, which ends its children in order."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603  our own programs
                command,
                cwd=log.parent,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        """Returns what the process has printed so far."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Raises DemoError if the process has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            lines = self.output().strip().splitlines()
            raise DemoError(f"{self.name} {how}. See {self.log}{f': {lines[-1]}' if lines else '.'}")

    def end(self) -> None:
        """Sends SIGTERM, and after `EXIT_SECONDS` SIGKILL to the rest of the group."""
        self.process.terminate()  # does nothing if the process has ended
        try:
            self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end within {EXIT_SECONDS:.0f} s and was killed.", flush=True)
        with contextlib.suppress(ProcessLookupError):  # the usual case: the whole group has ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Demo:
    """Starts the children, and ends them on a signal."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.leaving = False  # not an Event: the handler may run while this thread holds the Event's lock
        self.children: list[Child] = []

    def run(self) -> None:
        """Starts the children, prints their addresses, and returns after a signal."""
        _minutes(self.environment)
        port = _port(self.environment, "PORT", 7860)
        hub_port = _port(self.environment, "HUB_PORT", 0)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if self.environment.get("HF_TOKEN") and self.environment.get("HUBSPOOL_REPO"):
                environment = dict(self.environment)
                reader = {name: value for name, value in environment.items() if name == "HF_ENDPOINT"}
            else:
                environment, reader = self._on_a_local_hub(hub_port)
            environment["PORT"] = str(port)
            address = f"http://{HOST}:{port}"
            space = self._start("The Space", [sys.executable, str(HERE / "app.py")], environment, "space")
            self._wait_for(space, lambda: _answers(address))
            self._announce(address, environment, reader)
            while True:
                self._pause(0.5)
                for child in self.children:
                    child.check()
        except Leaving:
            print("\nEnding: the last votes are sent first. Press Ctrl-C again to kill at once.", flush=True)
        except DemoError as error:
            if len(self.children) < 2:
                raise
            raise DemoError(
                f"{error}\nVotes that were not sent are in {self.folder}; the next start sends them."
            ) from None
        finally:
            for child in reversed(self.children):  # the Space first, so that it can still send its last votes
                child.end()

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
        hub = self._start("The local Hub", command, own, "hub")
        self._wait_for(hub, lambda: _ADDRESS.search(hub.output()) is not None)
        reader = {"HF_HOME": own["HF_HOME"], "HF_ENDPOINT": _ADDRESS.findall(hub.output())[0], "HF_TOKEN": LOCAL_TOKEN}
        own |= {**reader, "HUBSPOOL_REPO": LOCAL_PREFIX, "HUBSPOOL_EVERY": own.get("HUBSPOOL_EVERY", "0.2")}
        return own, reader

    def _start(self, name: str, command: list[str], environment: Mapping[str, str], log: str) -> Child:
        child = Child(name, command, environment, self.folder / f"{log}.log")
        self.children.append(child)
        return child

    def _wait_for(self, child: Child, is_ready: Callable[[], bool]) -> None:
        for _ in range(int(START_SECONDS / 0.25)):
            self._pause(0.25)
            child.check()
            if is_ready():
                return
        raise DemoError(f"{child.name} did not answer within {START_SECONDS:.0f} s; see {child.log}")

    def _announce(self, address: str, environment: Mapping[str, str], reader: Mapping[str, str]) -> None:
        dataset = TabDataset.of("votes", environment).repo_id
        every = _minutes(environment)
        settings = "".join(f"{name}={shlex.quote(value)} " for name, value in reader.items())
        rows = f"load_dataset('{dataset}', split='train').to_pandas()"
        code = f"from datasets import load_dataset; print({rows}.to_string())"
        print(
            f"Space    {address}\n"
            f"Hub      {environment.get('HF_ENDPOINT', 'https://huggingface.co')}\n"
            f"Dataset  {dataset} (private)\n"
            f"{_log_in(reader)}\n"
            f"New votes are committed every {every * 60:g} seconds. This reads them:\n\n"
            f'{settings}{shlex.quote(sys.executable)} -c "{code}"\n\n'
            f"Data and logs are in {self.folder}. Ctrl-C ends the demo.",
            flush=True,
        )

    def _pause(self, seconds: float) -> None:
        """Waits; raises Leaving if a signal has arrived."""
        time.sleep(seconds)
        if self.leaving:
            raise Leaving

    def leave(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: the first signal ends the demo in order, the second one kills the children."""
        if self.leaving:
            for child in self.children:
                child.process.kill()
        self.leaving = True


def _log_in(reader: Mapping[str, str]) -> str:
    """How to see private repositories in a browser; a Hub that is not on this machine has its own way."""
    if "HF_TOKEN" not in reader:
        return ""
    where = f"{reader['HF_ENDPOINT']}/login"
    return f"Log in   {where} (any name, and {reader['HF_TOKEN']} as the password) shows it in a browser\n"


def _answers(address: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()
    except urllib.error.HTTPError:
        raise DemoError(f"Another program answers at {address}.") from None
    except OSError:
        return False
    return True


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
    parser.add_argument("--root", type=Path, default=HERE.parent / ".demo", help="folder for all data (default: .demo)")
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
