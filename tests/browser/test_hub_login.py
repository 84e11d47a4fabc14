"""Logging in to a local Hub with a real browser, beside a foreign page on another port of this machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from huggingface_hub import HfApi
from playwright.sync_api import Browser, expect

from hubspool.local_hub import LocalHub


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub(users=["ada:hf_ada"]) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_ada").create_repo("ada/secret", private=True)
        yield hub


@pytest.fixture
def foreign(hub: LocalHub) -> Iterator[str]:
    """The address of a page that sends forms and requests to the Hub as soon as it is open."""
    page = f"""<!doctype html><title>start</title>
        <form method="post" action="{hub.endpoint}/logout"><button>out</button></form>
        <script>fetch("{hub.endpoint}/ada/secret", {{credentials: "include", mode: "no-cors"}})
            .finally(() => document.title = "sent")</script>"""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_person_logs_in_reads_and_logs_out(hub: LocalHub, foreign: str, chromium: Browser) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{hub.endpoint}/ada/secret")
        expect(page.get_by_role("heading", name="401 Unauthorized")).to_be_visible()
        page.get_by_label("Token of this Hub").fill("hf_wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("No user of this Hub has this token")
        page.get_by_label("Token of this Hub").fill("hf_ada")
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{hub.endpoint}/ada/secret")
        expect(page.get_by_role("heading", name="ada/secret")).to_be_visible()
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

        other = context.new_page()
        other.goto(foreign)
        expect(other).to_have_title("sent")
        assert [record.status for record in hub.requests if record.path == "/ada/secret"][-1] == 401
        other.get_by_role("button", name="out").click()
        expect(other.locator("body")).to_contain_text("sent by another page")
        page.reload()
        expect(page.get_by_text("private")).to_be_visible()

        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_text("Private repositories are not shown")).to_be_visible()
        assert page.goto(f"{hub.endpoint}/ada/secret").status == 401  # type: ignore[union-attr]
