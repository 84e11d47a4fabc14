"""What clients ask of a Space besides its files. Nothing runs here: settings are kept, and the stage says so."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from hubspool.local_hub.routes.request_context import Call, Route, ok
from hubspool.local_hub.services.api_errors import HubError, member
from hubspool.local_hub.services.repositories import Repository, iso

_SPACE = r"/api/(?P<type>spaces)/(?P<repo>[^/]+/[^/]+)"
_FILE = "space.json"  # beside the repository's git files


def _load(repo: Repository) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads((repo.path / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"stage": "NO_APP_FILE", "variables": {}, "secrets": {}, "hardware": None, "sleep": None}
    return kept


def _change(call: Call, repo: Repository, **values: object) -> dict[str, Any]:
    kept = {**_load(repo), **values}
    call.services.disk.write(repo.path / _FILE, json.dumps(kept).encode())
    return kept


def _runtime(kept: dict[str, Any]) -> dict[str, object]:
    hardware = {"current": None, "requested": kept["hardware"]} if kept["hardware"] else None
    told = {"stage": kept["stage"], "hardware": hardware, "storage": None, "gcTimeout": kept["sleep"]}
    return {**told, "devMode": kept.get("dev_mode", False)}


def runtime(call: Call) -> Response:
    return ok(_runtime(_load(call.repo())))


def variables(call: Call) -> Response:
    """Variables and secrets; of a secret only its name and description are kept, since nothing here would use it."""
    what = call.args["what"]
    repo = call.repo("write")
    with repo.changing():
        kept = _load(repo)[what]
        if call.request.method != "GET":
            body = call.json()
            key = member(body, "key", str, "")
            if not key:
                raise HubError(400, "A variable needs a key")
            kept.pop(key, None)
            if call.request.method == "POST":
                kept[key] = {"description": member(body, "description", str, "")}
                if what == "variables":
                    kept[key] |= {"key": key, "value": member(body, "value", str, "")}
            _change(call, repo, **{what: kept})
    return ok(kept)


def operate(call: Call) -> Response:
    repo, body, what = call.repo("write"), call.json(), call.args["what"]
    changes: dict[str, object] = {"stage": "PAUSED" if what == "pause" else "NO_APP_FILE"}
    if what == "dev-mode":
        changes = {"dev_mode": member(body, "enabled", bool, False)}
    elif what == "hardware":
        changes = {
            "hardware": member(body, "flavor", str, ""),
            "sleep": member(body, "sleepTimeSeconds", int, 0) or None,
        }
    elif what == "sleeptime":
        changes = {"sleep": member(body, "seconds", int, 0)}
    with repo.changing():
        return ok(_runtime(_change(call, repo, **changes)))


def logs(call: Call) -> Response:
    """The log of a Space as a stream of events, which ends at once: nothing runs here."""
    repo = call.repo()
    text = f"{repo.id} is kept on a local Hub, which builds and runs no Space.\n"
    # Of no time: a client leaves out what is later than the Date of the answer, and that may be old by seconds.
    event = {"data": text, "timestamp": iso(0)}
    return Response(f"data: {json.dumps(event)}\n\n", media_type="text/event-stream")


ROUTES = [
    Route("space-logs", "GET", rf"{_SPACE}/logs/(?:build|run)", logs),
    Route("space-runtime", "GET", rf"{_SPACE}/runtime", runtime),
    Route("space-variables", "GET POST DELETE", rf"{_SPACE}/(?P<what>variables|secrets)", variables),
    Route("space-operate", "POST", rf"{_SPACE}/(?P<what>hardware|sleeptime|pause|restart|dev-mode)", operate),
]
