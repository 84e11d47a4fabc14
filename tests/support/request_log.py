"""What a Hub was asked, for the tests of the client."""

from __future__ import annotations

from hubspool.local_hub import LocalHub
from hubspool.local_hub.request_log import RequestRecord


def asked(hub: LocalHub, *routes: str) -> list[RequestRecord]:
    """The requests of these routes, all of them: one is recorded after its answer has arrived."""
    assert hub.requests.wait_idle()
    return hub.requests.of(*routes)


def forget(hub: LocalHub) -> None:
    assert hub.requests.wait_idle()
    hub.requests.clear()
