"""Faults over HTTP, for tests in other languages and processes: only of a Hub that was started with `--faults`.

    GET    /api/local-hub/faults           {"faults": [...], "hits": [{"fault", "route", "method", "path"}, ...]}
    POST   /api/local-hub/faults           the attributes of a `Fault`: {"route": "commit", "status": 503, "times": 2}
    DELETE /api/local-hub/faults           disarms all and ends their delays
    POST   /api/local-hub/faults/release   applies the late requests now, and answers when they took effect

Only a token with the role `write` may. No fault hits these routes.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from hubspool.local_hub.faults import Fault, Faults
from hubspool.local_hub.routes.request_context import Call, Route, ok
from hubspool.local_hub.services.api_errors import HubError, login_needed

_PATH = "/api/local-hub/faults"


def routes(faults: Faults) -> list[Route]:
    """The routes that arm, list and disarm `faults`."""

    def handle(call: Call) -> Response:
        if call.user is None:
            raise login_needed()
        if call.user.role != "write":
            raise HubError(403, "Only a token with the role 'write' may set faults")
        if call.request.method == "POST":
            try:
                fault = faults.add(Fault.from_json(call.json()))
            except (ValueError, TypeError) as error:
                raise HubError(400, f"Invalid fault: {error}") from None
            return ok(_plain(fault), status=201)
        if call.request.method == "DELETE":
            faults.clear()
            return ok()
        hits = [{"fault": _plain(hit.fault), **_place(hit)} for hit in faults.hits]
        return ok({"faults": [_plain(fault) for fault in faults.armed], "hits": hits})

    def release(call: Call) -> Response:
        if call.user is None or call.user.role != "write":
            raise HubError(403, "Only a token with the role 'write' may release late requests")
        return ok({"released": faults.release()})

    return [Route("", "GET POST DELETE", _PATH, handle), Route("", "POST", f"{_PATH}/release", release)]


def _place(hit: Any) -> dict[str, str]:
    return {"route": hit.route, "method": hit.method, "path": hit.path}


def _plain(fault: Fault) -> dict[str, object]:
    """The attributes that are not at their defaults, in the form in which `POST` takes them."""
    default, values = asdict(Fault()), asdict(fault)
    changed = {name: value for name, value in values.items() if value != default[name]}
    return {
        name: "forever" if value == math.inf else value.decode("latin-1") if isinstance(value, bytes) else value
        for name, value in changed.items()
    }
