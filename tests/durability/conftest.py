"""What the durability tests share: a place with folder and records, a Hub, processes that end with the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler
from hubspool_templates.rows import RowScheduler
from tests.support.env import InProcess, Open, Place, Start
from tests.support.oracle import REPO
from tests.support.processes import Process, missing, producer_command
from tests.support.producer import Producer


@pytest.fixture
def place(local_hub: LocalHub, tmp_path: Path) -> Place:
    return Place(local_hub, tmp_path)


@pytest.fixture
def start(place: Place, tmp_path: Path) -> Iterator[Start]:
    """Starts the producer with these options (`prefix`: what runs it), or any `command`."""
    running: list[Process] = []

    def run(command: list[Any] | None = None, *, prefix: list[Any] | None = None, **options: Any) -> Process:
        given = {key: options.pop(key) for key in ("env", "cwd") if key in options}
        words = command or producer_command(options.pop("python", sys.executable), **place.options(**options))
        process = Process([*(prefix or []), *words], log=tmp_path / f"process{len(running)}.log", **given)
        running.append(process)
        return process

    yield run
    for process in running:
        process.end()


@pytest.fixture
def open_here(place: Place) -> Iterator[Open]:
    """Makes schedulers in this process; each is stopped without a flush at the end."""
    made: list[InProcess] = []

    def build(kind: type[RowScheduler] = JsonlScheduler, **options: Any) -> InProcess:
        # A budget of 8 s for `stop` is the app's concern: on a disk where a sync stalls it says nothing about the rows.
        given = {"every": 600, "hf_api": place.api, "handle_signals": False, "exit_budget": 60}
        scheduler = kind(REPO, place.folder, **{**given, **options})
        made.append(InProcess(scheduler, Producer(scheduler.append, place.records)))
        return made[-1]

    yield build
    for each in made:
        each.scheduler.stop(flush=False, timeout=30)
        each.producer.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small tmpfs of the given size, at the given new folder or anywhere."""
    import subprocess

    mounted: list[Path] = []

    def make(size: str, at: Path | None = None) -> Path:
        where = at or tmp_path / f"disk{len(mounted)}"
        where.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            missing(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield make
    for where in mounted:
        subprocess.run(["umount", "-l", str(where)], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder 400 s: many of them run one process after the other."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(400))
