"""Real servers that are told to end while people use them."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import requests
from oracle import recorded
from place import Place, Start
from processes import Process

from hubspool.local_hub import Fault

CLIENTS = 8

COMMON = """
import os, sys
from pathlib import Path
from hubspool import HfApi
from hubspool_templates import JsonlScheduler
from producer import Producer
scheduler = JsonlScheduler("local/rows", os.environ["FOLDER"], every=600,
                           exit_budget=float(os.environ.get("BUDGET", 8)),
                           hf_api=HfApi(endpoint=os.environ["HUB"], token="hf_local"))
producer = Producer(scheduler.append, Path(os.environ["RECORDS"]))
"""
GRADIO = (
    COMMON
    + """
import gradio
with gradio.Blocks() as demo:
    button = gradio.Button()
    text = gradio.Textbox()
    button.click(lambda: producer.put(), None, text, api_name="put")
options = {"server_name": "127.0.0.1", "ssr_mode": False, "quiet": True}
app, url, _ = demo.launch(prevent_thread_lock=True, **options)
print("url", url, flush=True)
demo.block_thread()
"""
)
FASTAPI = (
    COMMON
    + """
from fastapi import FastAPI
app = FastAPI({lifespan})
@app.post("/put")
def put():
    return producer.put()
"""
)
UVICORN = """
import uvicorn
if __name__ == "__main__":
    print("url", f"http://127.0.0.1:{os.environ['PORT']}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(place: Place, **more: str) -> dict[str, str]:
    own = {"HUB": place.hub.endpoint, "FOLDER": str(place.folder), "RECORDS": str(place.records)}
    return {**own, "PORT": str(free_port()), "GRADIO_ANALYTICS_ENABLED": "False", **more}


def post(url: str) -> None:
    requests.post(url, json={"data": []}, timeout=10).raise_for_status()


def wait_until_served(process: Process, url: str) -> None:
    from urllib3.util import Retry

    session = requests.Session()
    session.mount(
        "http://", requests.adapters.HTTPAdapter(max_retries=Retry(connect=60, backoff_factor=0.2, backoff_max=1))
    )
    assert session.get(url, timeout=60).status_code < 500, process.errors()


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
    place: Place, process: Process, url: str, signals: Sequence[signal.Signals], timeout: float = 60
) -> int:
    stop = threading.Event()
    clients = crowd(url, stop)
    try:
        until_rows(place, 30)
        for number in signals:
            process.signal(number)
        return process.wait(timeout)
    finally:
        stop.set()
        for client in clients:
            client.join(30)


SICK = {
    "healthy": None,
    "429": Fault(status=429, times=None, headers={"Retry-After": "20"}),
    "500": Fault(status=500, times=None),
    "silent": Fault(delay=math.inf, times=None),
}


@pytest.mark.parametrize("fault", SICK.values(), ids=SICK.keys())
def test_a_gradio_app_with_clients_is_ended(place: Place, start: Start, fault: Fault | None) -> None:
    process = start([sys.executable, "-c", GRADIO], env=environment(place, BUDGET="20" if fault is None else "2"))
    url = process.wait_line("url", timeout=90).split()[1]
    if fault is not None:
        place.hub.faults.add(fault)
    code = serve_and_end(place, process, f"{url}gradio_api/run/put", [signal.SIGTERM])
    assert code in (0, -signal.SIGTERM), process.errors()
    assert (fault is None) != bool(place.hub.faults.hits)
    if fault is None:  # what was acknowledged before the final push looked is on the Hub without a further start
        assert place.judge(start=False).on_hub >= 30
    place.judge().check()


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM, signal.SIGTERM], [signal.SIGTERM, signal.SIGINT], [signal.SIGINT, signal.SIGTERM]],
    ids=str,
)
def test_a_gradio_app_gets_two_signals(place: Place, start: Start, signals: list[signal.Signals]) -> None:
    process = start([sys.executable, "-c", GRADIO], env=environment(place))
    url = process.wait_line("url", timeout=90).split()[1]
    serve_and_end(place, process, f"{url}gradio_api/run/put", signals)
    place.judge().check()


@pytest.mark.parametrize("lifespan", ["", "lifespan=scheduler.lifespan"], ids=["signals", "lifespan"])
def test_uvicorn(place: Place, start: Start, lifespan: str) -> None:
    process = start([sys.executable, "-c", FASTAPI.format(lifespan=lifespan) + UVICORN], env=environment(place))
    url = process.wait_line("url").split()[1]
    wait_until_served(process, f"{url}/docs")
    code = serve_and_end(place, process, f"{url}/put", [signal.SIGTERM])
    assert code in (0, -signal.SIGTERM), process.errors()
    written = len(recorded(place.records, "acknowledged"))
    assert place.judge(start=False).on_hub == written
    place.judge().check()


Command = Callable[[str], list[str]]
SERVERS: dict[str, tuple[str, Command]] = {
    "uvicorn --workers": ("uvicorn", lambda port: ["-m", "uvicorn", "app:app", "--workers", "2", "--port", port]),
    "gunicorn": (
        "gunicorn",
        lambda port: [
            "-m",
            "gunicorn",
            "app:app",
            "-w",
            "2",
            "-k",
            "uvicorn.workers.UvicornWorker",
            "-b",
            f"127.0.0.1:{port}",
        ],
    ),
    "gunicorn --preload": (
        "gunicorn",
        lambda port: [
            *["-m", "gunicorn", "app:app", "-w", "2", "-k", "uvicorn.workers.UvicornWorker", "-b", f"127.0.0.1:{port}"],
            "--preload",
        ],
    ),
}


@pytest.mark.parametrize("server", SERVERS)
def test_servers_with_workers(place: Place, start: Start, tmp_path: Path, server: str) -> None:
    package, command = SERVERS[server]
    if importlib.util.find_spec(package) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{package} is not installed")
        pytest.skip(f"{package} is not installed")
    (tmp_path / "app.py").write_text(FASTAPI.format(lifespan="lifespan=scheduler.lifespan"))
    env = environment(place)
    process = start([sys.executable, *command(env["PORT"])], env=env, cwd=tmp_path)
    url = f"http://127.0.0.1:{env['PORT']}"
    wait_until_served(process, f"{url}/docs")
    serve_and_end(place, process, f"{url}/put", [signal.SIGTERM])
    place.judge().check()


def test_as_process_one(place: Place, start: Start) -> None:
    """In a container the app is often PID 1, for which the kernel has no default action."""
    unshare = shutil.which("unshare")
    if unshare is None or os.system(f"{unshare} -fp true 2>/dev/null"):
        if os.environ.get("CI"):
            pytest.fail("unshare -fp does not work here")
        pytest.skip("unshare -fp does not work here")
    code = (
        COMMON
        + """
print("pid", os.getpid(), flush=True)
for line in sys.stdin:
    producer.put_many(10)
    print("written", flush=True)
"""
    )
    process = start([unshare, "-fp", "--kill-child", sys.executable, "-c", code], env=environment(place))
    assert process.wait_line("pid") == "pid 1"
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.say()
    process.wait_line("written")
    os.kill(int(child), signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM, "it should end at once, not when the grace period is over"
    assert place.judge(start=False).on_hub == 10
    place.judge().check()
