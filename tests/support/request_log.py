"""Reads the requests that the local Hub answered."""

from __future__ import annotations

from hubspool.local_hub import LocalHub
from hubspool.local_hub.request_log import RequestRecord


def asked(hub: LocalHub, *routes: str) -> list[RequestRecord]:
    """Return all requests of these routes; waits, since the Hub records a request after the client has its answer."""
    assert hub.requests.wait_idle()
    return hub.requests.of(*routes)


def forget(hub: LocalHub) -> None:
    """Clear the log, after the requests that still run."""
    assert hub.requests.wait_idle()
    hub.requests.clear()
