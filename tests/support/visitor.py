"""A browser page that records errors in the console, exceptions, and requests to other hosts."""

from __future__ import annotations

from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request


class Visitor:
    """One page in one browser context; `close` fails the test if the page caused an error.

    A page of gradio is opened once: if it is loaded again, it writes each request that this aborts into its console
    as an error. If it is closed, it writes nothing.
    """

    def __init__(self, chromium: Browser, width: int, height: int, scheme: Literal["light", "dark"] = "light") -> None:
        self.context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.context.set_default_timeout(30_000)
        self.faults: list[str] = []
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", self._page_error)
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _page_error(self, error: Error) -> None:
        self.faults.append(f"exception in the page: {error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.faults.append(f"request to another host: {request.url}")

    def visit(self, address: str) -> Page:
        """Opens the sample Space and waits until it has put a text into the box: later it changes no text."""
        self.page.goto(address)
        self.page.wait_for_function("document.querySelector('#text textarea')?.value")  # the box may not be there yet
        return self.page

    def close(self) -> None:
        self.context.close()
        assert self.faults == []
