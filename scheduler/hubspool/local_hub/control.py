"""Faults over HTTP, for tests in other languages and processes. Only a Hub started with `--faults` has these routes.

    GET    /api/local-hub/faults           {"faults": [...], "hits": [{"fault", "route", "method", "path"}, ...]}
    POST   /api/local-hub/faults           the attributes of a `Fault`: {"route": "commit", "status": 503, "times": 2}
    DELETE /api/local-hub/faults           removes all faults and ends their delays
    POST   /api/local-hub/faults/release   applies the late requests, and answers when they took effect

They need a token with the role `write`. No fault hits them.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from starlette.responses import Response

from hubspool.local_hub.faults import Fault, Faults
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.routes.table import Route
from hubspool.local_hub.services.api_errors import ApiError

_PATH = "/api/local-hub/faults"


def routes(faults: Faults) -> list[Route]:
    """Return the routes that add, list and remove `faults`."""

    def handle(context: RequestContext) -> Response | None:
        _check_right(context)
        if context.request.method == "POST":
            try:
                fault = faults.add(Fault.from_json(context.json()))
            except (ValueError, TypeError) as error:
                raise ApiError(400, f"Invalid fault: {error}") from None
            return ok(_as_json(fault), status=201)
        if context.request.method == "DELETE":
            faults.clear()
            return None
        hits = [{**vars(hit), "fault": _as_json(hit.fault)} for hit in faults.hits]
        return ok({"faults": [_as_json(fault) for fault in faults.armed], "hits": hits})

    def release(context: RequestContext) -> Response:
        _check_right(context)
        return ok({"released": faults.release()})

    return [Route("", "GET POST DELETE", _PATH, handle), Route("", "POST", f"{_PATH}/release", release)]


def _check_right(context: RequestContext) -> None:
    if context.logged_in().role != "write":
        raise ApiError(403, "Faults need a token with the role 'write'")


def _as_json(fault: Fault) -> dict[str, object]:
    """Return the attributes that differ from their defaults, in the form of the body of `POST`."""
    default, values = asdict(Fault()), asdict(fault)
    changed = {name: value for name, value in values.items() if value != default[name]}
    return {
        name: "forever" if value == math.inf else value.decode("latin-1") if isinstance(value, bytes) else value
        for name, value in changed.items()
    }
