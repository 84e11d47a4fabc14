"""Gradio apps that are told to end while people use them, with and without server-side rendering.

Without it the main thread sleeps and nobody handles SIGTERM but us. With it Gradio starts a Node server in front of
itself and then replaces the handlers of SIGTERM and SIGINT, ours included: they stop Node and call `sys.exit(0)`, so
that only atexit is left.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from hubspool.local_hub import Fault
from tests.support.env import Place, Start
from tests.support.processes import missing
from tests.support.web_app import COMMON, SICK, App, environment, serve_and_end

PAGE = """
import gradio, os
with gradio.Blocks() as demo:
    text = gradio.Textbox()
    gradio.Button().click(lambda: producer.put(), None, text, api_name="put")
"""
LAUNCH = """
_, url, _ = demo.launch(
    prevent_thread_lock=True, quiet=True, server_name="127.0.0.1",
    ssr_mode=os.environ["SSR"] == "1", node_port=int(os.environ["PORT"]),
)
"""
BLOCK = """
print("url", url, flush=True)
demo.block_thread()
"""
TERM, INT = signal.SIGTERM, signal.SIGINT


def node() -> str:
    """Return the path of a Node.js that can render: Playwright brings one that is new enough, Debian's may not be."""
    try:
        import playwright
    except ImportError:
        brought = None
    else:
        brought = shutil.which(Path(playwright.__file__).parent / "driver" / "node")
    found = brought or shutil.which("node")
    if found is None:
        missing("there is no Node.js: neither Playwright's (pip install playwright) nor one on the PATH")
    return str(found)


@dataclass
class GradioApp(App):
    """A running Gradio app and its exit code after SIGTERM."""

    by_sigterm: int


Serve = Callable[..., GradioApp]


@pytest.fixture(params=[False, True], ids=["client rendering", "server rendering"])
def serve(place: Place, start: Start, request: pytest.FixtureRequest) -> Serve:
    """Starts the app, sure that it renders where it should."""
    by_server: bool = request.param

    def run(*, late: bool = False, **more: str) -> GradioApp:
        rendering = {"SSR": "1", "GRADIO_NODE_PATH": node()} if by_server else {"SSR": "0"}
        code = PAGE + LAUNCH + COMMON if late else COMMON + PAGE + LAUNCH
        env = environment(place, **rendering, **more)
        process = start([sys.executable, "-c", code + BLOCK], env=env)
        url = process.wait_line("url", timeout=90).split()[1]
        # A page without its scripts has a footer only if the server rendered it.
        assert ("<footer" in requests.get(url, timeout=30).text) == by_server
        return GradioApp(process, f"{url}gradio_api/run/put", 0 if by_server else -TERM)

    return run


@pytest.mark.parametrize("fault", SICK.values(), ids=SICK.keys())
def test_sigterm_with_clients(place: Place, serve: Serve, fault: Fault | None) -> None:
    app = serve(BUDGET="20" if fault is None else "2")
    if fault is not None:
        place.hub.faults.add(fault)
    assert serve_and_end(place, app, [TERM]) == app.by_sigterm, app.process.errors()
    assert (fault is None) != bool(place.hub.faults.hits)
    if fault is None:  # what was acknowledged before the final push looked is on the Hub without a further start
        assert place.judge(start=False).on_hub >= 30
    place.judge().check()


def test_a_scheduler_that_was_made_after_the_launch(place: Place, serve: Serve) -> None:
    """Its handler runs first and then calls Gradio's, if there is one."""
    app = serve(late=True)
    assert serve_and_end(place, app, [TERM]) == app.by_sigterm, app.process.errors()
    assert place.judge(start=False).on_hub >= 30
    place.judge().check()


@pytest.mark.parametrize("signals", [[TERM, TERM], [TERM, INT], [INT, TERM]], ids=["TERM TERM", "TERM INT", "INT TERM"])
def test_two_signals(place: Place, serve: Serve, signals: list[signal.Signals]) -> None:
    app = serve()
    assert serve_and_end(place, app, signals) in (0, app.by_sigterm), app.process.errors()
    place.judge().check()


@pytest.mark.parametrize("first", [INT, TERM], ids=["INT", "TERM"])
def test_a_signal_during_the_final_push_does_not_end_it(place: Place, serve: Serve, first: signal.Signals) -> None:
    """In atexit, but for SIGTERM without server-side rendering: there the push runs in our handler."""
    app = serve(BUDGET="20")
    code = serve_and_end(place, app, [first], held=[TERM])
    assert code in (0, app.by_sigterm), app.process.errors()
    assert place.judge(start=False).on_hub >= 30
    place.judge().check()
