"""Web apps that write rows, and clients that post rows while the app is told to end."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import requests

from hubspool.local_hub import Fault
from tests.support.env import Place
from tests.support.environment import free_port
from tests.support.oracle import recorded
from tests.support.processes import Process

CLIENTS = 8


@dataclass
class App:
    """A running app.

    Args:
        url: what visitors post to, to write a row.
    """

    process: Process
    url: str


COMMON = """
import os, sys
from pathlib import Path
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from tests.support.producer import Producer
scheduler = JsonlScheduler("local/rows", os.environ["FOLDER"], every=600,
                           exit_budget=float(os.environ.get("BUDGET", 40)),
                           hf_api=HfApi(endpoint=os.environ["HUB"], token="hf_local"))
producer = Producer(scheduler.append, Path(os.environ["RECORDS"]))
"""

#: What may be wrong with the Hub when the app is told to end.
SICK = {
    "healthy": None,
    "429": Fault(status=429, times=None, headers={"Retry-After": "20"}),
    "500": Fault(status=500, times=None),
    "silent": Fault(delay=math.inf, times=None),
}


def environment(place: Place, **more: str) -> dict[str, str]:
    own = {"HUB": place.hub.endpoint, "FOLDER": str(place.folder), "RECORDS": str(place.records)}
    return {**own, "PORT": str(free_port()), "GRADIO_ANALYTICS_ENABLED": "False", **more}


def post(url: str) -> None:
    requests.post(url, json={"data": []}, timeout=10).raise_for_status()


def crowd(url: str, stop: threading.Event) -> list[threading.Thread]:
    """Start clients that post until the server is gone."""

    def visit() -> None:
        while not stop.is_set():
            try:
                post(url)
            except requests.RequestException:
                return

    clients = [threading.Thread(target=visit) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    return clients


def until_rows(place: Place, count: int) -> None:
    deadline = threading.Event()
    for _ in range(600):
        if len(recorded(place.records, "acknowledged")) >= count:
            return
        deadline.wait(0.1)  # the records are files: there is nothing else to wait for
    pytest.fail("the clients' rows did not come")


def serve_and_end(
    place: Place,
    app: App,
    signals: Sequence[signal.Signals],
    *,
    held: Sequence[signal.Signals] = (),
) -> int:
    """Signal an app with visitors; return its exit code.

    Args:
        signals: sent one right after the other.
        held: sent while the commit of the final push is on its way, which the Hub then answers.
    """
    stop = threading.Event()
    clients = crowd(app.url, stop)
    try:
        until_rows(place, 30)
        if held:
            place.hub.faults.add(Fault(route="commit", delay=math.inf))
        for number in signals:
            app.process.signal(number)
        if held:
            assert place.hub.faults.wait_for_hits(), app.process.errors()
            for number in held:
                app.process.signal(number)
            place.hub.faults.clear()
        return app.process.wait(60)
    finally:
        stop.set()
        for client in clients:
            client.join(30)
