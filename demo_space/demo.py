"""`make demo`: the sample Space beside a Hub on this machine, until Ctrl-C. A real Space does not need this file.

With both HF_TOKEN and HUBSPOOL_REPO (user/name or hf://buckets/user/name), the real Hub replaces the local one.
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
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from destination import kind_of, minutes_between_pushes, place_of

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
LOCAL_NAME = "local/romanisation-arena"
LOCAL_TOKEN = "hf_local"  # noqa: S105  the local Hub's default, valid on this machine only
START_SECONDS = 60.0
EXIT_SECONDS = 20.0  # longer than a scheduler may take for its last push


class DemoError(Exception):
    """Why the demo cannot run, in one sentence for the person who started it."""


class Leaving(Exception):  # noqa: N818  not an error
    """A signal has arrived: the demo ends."""


class Child:
    """The Space, in a process group of its own: Ctrl-C reaches only the launcher, which ends the Space in order."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        command = [sys.executable, str(HERE / "app.py")]
        options = {"cwd": log.parent, "env": {**environment, "PYTHONUNBUFFERED": "1"}, "start_new_session": True}
        with log.open("wb") as output:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            # The overloads cannot be told apart in `**`. The command is this program's own.
            self.process = subprocess.Popen(command, **options, **streams)  # type: ignore[call-overload]  # noqa: S603

    def check(self) -> None:
        """Raises DemoError if the process has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise DemoError(f"The Space {how}. See {self.log}{f': {lines[-1]}' if lines else '.'}")

    def end(self) -> None:
        """Sends SIGTERM, and after `EXIT_SECONDS` SIGKILL to the rest of the group."""
        self.process.terminate()  # does nothing if the process has ended
        try:
            self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"The Space did not end within {EXIT_SECONDS:.0f} s and was killed.", flush=True)
        with contextlib.suppress(ProcessLookupError):  # the usual case: the whole group has ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Demo:
    """Runs the local Hub in this process and the Space as a child, and ends both on a signal."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.leaving = False  # not an Event: the handler may run while this thread holds the Event's lock
        self.space: Child | None = None

    def run(self) -> None:
        """Starts the Hub and the Space, prints their addresses, and returns after a signal."""
        from hubspool.local_hub import LocalHub  # here: by now a signal has its handler, and Ctrl-C ends quietly

        try:  # the Space's own error would only be in its log
            minutes_between_pushes(self.environment)
        except ValueError as error:
            raise DemoError(str(error)) from None
        port = _port(self.environment, "PORT", 7860)
        hub_port = _port(self.environment, "HUB_PORT", 0)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.environment.get("HF_TOKEN") and self.environment.get("HUBSPOOL_REPO"):
            reader = {name: value for name, value in self.environment.items() if name == "HF_ENDPOINT"}
            self._run_space(port, dict(self.environment), reader)
            return
        try:
            hub = LocalHub(self.folder / "hub", port=hub_port).start()
        except (OSError, RuntimeError) as error:
            raise DemoError(str(error)) from None
        try:
            self._run_space(port, *self._for_local_hub(hub.endpoint))
        finally:  # after the end of the Space, which sends its last votes
            hub.stop()

    def _run_space(self, port: int, environment: dict[str, str], reader: Mapping[str, str]) -> None:
        address = f"http://{HOST}:{port}"
        print("Starting the Space, which takes a few seconds; Ctrl-C stops it", flush=True)
        space = self.space = Child({**environment, "PORT": str(port)}, self.folder / "space.log")
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(address):
                if time.monotonic() > deadline:
                    raise DemoError(f"The Space did not answer within {START_SECONDS:.0f} s; see {space.log}")
                self._watch(space, 0.25)
            self._announce(address, environment, reader)
            while True:
                self._watch(space, 0.5)
        except Leaving:
            print("\nEnding: the last votes are sent first. Press Ctrl-C again to kill at once.", flush=True)
        except DemoError as error:
            kept = f"Votes that were not sent are in {self.folder}; the next start sends them."
            raise DemoError(f"{error}\n{kept}") from None
        finally:
            space.end()

    def _for_local_hub(self, endpoint: str) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the environment of a Space that uses the local Hub, and the variables that a reader must set."""
        repo, given = LOCAL_NAME, self.environment.get("HUBSPOOL_REPO")
        if given:
            repo = f"hf://buckets/{repo}" if kind_of(given) == "bucket" else repo
            print(f"HF_TOKEN is not set: this demo uses {repo} on a local Hub. For {given} set HF_TOKEN too.")
        elif self.environment.get("HF_TOKEN"):
            print("HF_TOKEN alone is ignored: this demo uses a local Hub. For the real one set HUBSPOOL_REPO too.")
        # The user's account never reaches the local Hub, and nothing is written to their home folder.
        own = {
            name: value
            for name, value in self.environment.items()
            if not name.startswith(("HF_", "HUGGING_FACE_", "HUGGINGFACE_", "SPACE_")) and name != "HUBSPOOL_REPO"
        }
        for name in ("no_proxy", "NO_PROXY"):
            own[name] = ",".join(filter(None, [own.get(name), HOST, "localhost"]))
        reader = {"HF_HOME": str(self.folder / "hf_home"), "HF_ENDPOINT": endpoint, "HF_TOKEN": LOCAL_TOKEN}
        own |= {**reader, "HUBSPOOL_REPO": repo, "HUBSPOOL_EVERY": own.get("HUBSPOOL_EVERY", "0.2")}
        return own, reader

    def _announce(self, address: str, environment: Mapping[str, str], reader: Mapping[str, str]) -> None:
        place, every = place_of("votes", environment), minutes_between_pushes(environment)
        settings = "".join(f"{name}={shlex.quote(value)} " for name, value in reader.items())
        rows = f"load_dataset('{place.removeprefix('hf://')}', split='train').to_pandas()"
        code = f"from datasets import load_dataset; print({rows}.to_string())"
        hub = environment.get("HF_ENDPOINT", "https://huggingface.co")
        is_local = "HF_TOKEN" in reader  # a Hub that is not on this machine has its own way to log in
        log_in = f"Log in   {hub}/login with the token {LOCAL_TOKEN} shows it in a browser\n"
        print(
            f"Space    {address}\n"
            f"Hub      {hub}\n"
            f"{kind_of(place).capitalize():<8} {place} (private)\n"
            f"{log_in if is_local else ''}"
            f"Data     {self.folder} (with space.log; remove it to begin anew)\n"
            f"New votes are sent every {every * 60:g} seconds. This reads them:\n\n"
            f'{settings}{shlex.quote(sys.executable)} -c "{code}"\n\n'
            "Ctrl-C ends the demo.",
            flush=True,
        )

    def _watch(self, space: Child, seconds: float) -> None:
        """Waits; raises Leaving if a signal has arrived, and DemoError if the Space has ended."""
        time.sleep(seconds)
        if self.leaving:
            raise Leaving
        space.check()

    def leave(self, _signal: int, _frame: FrameType | None) -> None:
        """Signal handler: the first signal ends the demo in order, the second one kills the Space."""
        if self.leaving and self.space is not None:
            self.space.process.kill()
        self.leaving = True


def _answers(address: str) -> bool:
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5).close()
    except urllib.error.HTTPError:
        raise DemoError(f"Another program answers at {address}.") from None
    except OSError:
        return False
    return True


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs the sample Space beside a local Hub until Ctrl-C.")
    parser.add_argument("--root", type=Path, default=HERE.parent / ".demo", help="folder for all data (default: .demo)")
    demo = Demo(parser.parse_args().root.resolve(), os.environ)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, demo.leave)
    try:
        demo.run()
    except DemoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
