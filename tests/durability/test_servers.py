"""Real servers that are told to end while people use them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.env import Place, Start
from tests.support.oracle import recorded
from tests.support.processes import Process, missing
from tests.support.web_app import COMMON, App, environment, serve_and_end

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


def wait_until_served(process: Process, url: str) -> None:
    from urllib3.util import Retry

    session = requests.Session()
    session.mount(
        "http://", requests.adapters.HTTPAdapter(max_retries=Retry(None, connect=60, backoff_factor=0.2, backoff_max=1))
    )
    assert session.get(url, timeout=60).status_code < 500, process.errors()


@pytest.mark.parametrize("lifespan", ["", "lifespan=scheduler.lifespan"], ids=["signals", "lifespan"])
def test_uvicorn(place: Place, start: Start, lifespan: str) -> None:
    process = start([sys.executable, "-c", FASTAPI.format(lifespan=lifespan) + UVICORN], env=environment(place))
    url = process.wait_line("url").split()[1]
    wait_until_served(process, f"{url}/docs")
    code = serve_and_end(place, App(process, f"{url}/put"), [signal.SIGTERM])
    assert code in (0, -signal.SIGTERM), process.errors()
    written = len(recorded(place.records, "acknowledged"))
    assert place.judge(start=False).on_hub == written
    place.judge().check()


GUNICORN = ["-m", "gunicorn", "app:app", "-w", "2", "-k", "uvicorn.workers.UvicornWorker", "-b"]
SERVERS: dict[str, Callable[[str], list[str]]] = {
    "uvicorn --workers": lambda port: ["-m", "uvicorn", "app:app", "--workers", "2", "--port", port],
    "gunicorn": lambda port: [*GUNICORN, f"127.0.0.1:{port}"],
    "gunicorn --preload": lambda port: [*GUNICORN, f"127.0.0.1:{port}", "--preload"],
}


@pytest.mark.parametrize("server", SERVERS)
def test_servers_with_workers(place: Place, start: Start, tmp_path: Path, server: str) -> None:
    command = SERVERS[server]
    package = server.split(maxsplit=1)[0]
    if importlib.util.find_spec(package) is None:
        missing(f"{package} is not installed")
    (tmp_path / "app.py").write_text(FASTAPI.format(lifespan="lifespan=scheduler.lifespan"))
    env = environment(place)
    process = start([sys.executable, *command(env["PORT"])], env=env, cwd=tmp_path)
    url = f"http://127.0.0.1:{env['PORT']}"
    wait_until_served(process, f"{url}/docs")
    serve_and_end(place, App(process, f"{url}/put"), [signal.SIGTERM])
    place.judge().check()


def test_as_process_one(place: Place, start: Start) -> None:
    """In a container the app is often PID 1, for which the kernel has no default action."""
    unshare = shutil.which("unshare")
    if unshare is None or os.system(f"{unshare} -fp true 2>/dev/null"):
        missing("unshare -fp does not work here")
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
