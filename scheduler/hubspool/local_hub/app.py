"""The ASGI application: finds the route, reads the body, applies faults, calls the handler, records the request."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hubspool.local_hub.faults import NO_FAULT, Fault, FaultDecision, FaultHit, Faults
from hubspool.local_hub.identifiers import host_name
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.request_body import receive_body
from hubspool.local_hub.request_log import RequestLog, RequestRecord
from hubspool.local_hub.routes import page
from hubspool.local_hub.routes.request_context import RequestContext, ok
from hubspool.local_hub.routes.table import ROUTES, Route
from hubspool.local_hub.services.api_errors import ApiError
from hubspool.local_hub.services.container import ServiceContainer
from hubspool.local_hub.storage.durable_files import full_disk_after
from hubspool.settings import is_loopback_host

_log = logging.getLogger("hubspool.local_hub")


#: Routes whose handlers may take many seconds. They have `HubLimits.slow_requests` threads, so that others stay free.
_SLOW = frozenset({"page", "compare", "discussion-info", "git-refs", "git-upload-pack", "git-receive-pack"})


class _ConnectionDropped(Exception):  # noqa: N818 - a fault asks for it
    """End the connection without (the rest of) an answer."""


@dataclass
class HubApp:
    """The ASGI application. Handlers run in worker threads; the event loop reads bodies and waits.

    Args:
        services: what the handlers use.
        endpoint: address of the Hub, for clients that send no header Host.
        faults: the faults of this Hub.
        requests: the requests so far.
        fault_routes: those with which clients set faults; no fault hits them.
        only_host: requests must be for this name or a loopback name; None for any. A page can give its own name the
            address 127.0.0.1 after it was loaded; its requests then have no foreign origin.
    """

    services: ServiceContainer
    endpoint: str
    faults: Faults
    requests: RequestLog
    fault_routes: Sequence[Route]
    only_host: str | None

    def __post_init__(self) -> None:
        self._slow = CapacityLimiter(LIMITS.slow_requests)
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self.requests)
        request = Request(scope, exchange.receive)
        given = request.headers.get("host", "")
        host = host_name(given)
        if self.only_host is None or host in ("", self.only_host) or is_loopback_host(host):
            route, args = self._find(exchange.method, exchange.path)
        else:
            route, args = _refusal(ApiError(421, f"Misdirected Request: this Hub is not called {host!r}")), {}
        exchange.route = route.name
        self.requests.begin()
        try:
            is_control = route in self.fault_routes  # no fault may prevent its own removal
            decision = NO_FAULT if is_control else self.faults.decide(route.name, exchange.method, exchange.path)
            exchange.headers.update(decision.headers)
            if decision.fault is not None:
                exchange.headers.update(decision.fault.headers)
                exchange.keep_bytes = decision.fault.keep_bytes
            context = RequestContext(self.services, args, request, f"http://{given}" if given else self.endpoint)
            response = await self._answer(route, context, decision, exchange)
            await response(scope, exchange.receive, exchange.send)
        except _ConnectionDropped:
            await exchange.drop()
        except ClientDisconnect:
            pass
        finally:
            exchange.record()
            self.requests.end()

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        path_exists = False
        for route in (*self.fault_routes, *ROUTES):
            args = route.match(path)
            if args is not None:
                if method in route.methods.split() or (method == "HEAD" and "GET" in route.methods):
                    return route, args
                path_exists = True
        refusal = ApiError(405, f"{method} is not for {path}") if path_exists else ApiError(404, f"Not found: {path}")
        return _refusal(refusal), {}

    async def _answer(
        self, route: Route, context: RequestContext, decision: FaultDecision, exchange: _Exchange
    ) -> Response:
        fault = decision.fault
        if fault is None:
            return await self._apply(route, context)
        if fault.delay:
            await self._wait_outside(decision.cleared.wait, None if math.isinf(fault.delay) else fault.delay)
            if self.faults.stopped:
                raise _ConnectionDropped
        context.commits_back = fault.stale
        with full_disk_after(fault.full_disk):
            if fault.replaces_answer:
                return await self._replace_answer(route, context, fault, exchange)
            response = await self._apply(route, context)
        is_full = fault.full_disk is not None and response.status_code == 507
        if fault.may_miss and (context.is_stale or is_full):
            self.faults.note_hit(FaultHit(fault, route.name, exchange.method, exchange.path))
        return response

    async def _replace_answer(
        self, route: Route, context: RequestContext, fault: Fault, exchange: _Exchange
    ) -> Response:
        if fault.late is not None:
            await self._apply_late(route, context, fault.late)
        elif fault.applied:
            await self._apply(route, context)
        elif not fault.drop:
            await exchange.read_rest()  # a client that is still sending would not see the answer
        if fault.status is None:
            raise _ConnectionDropped
        return _fault_answer(fault)

    async def _wait_outside(self, wait: Callable[..., bool], *args: object) -> bool:
        """Wait in a thread of its own: the handlers share 40 threads, and a silent Hub would use all of them."""
        return await to_thread.run_sync(wait, *args, limiter=CapacityLimiter(1))

    async def _apply(self, route: Route, context: RequestContext) -> Response:
        try:
            with self.services.files.temporary_file() as context.upload:
                await receive_body(route, context)
                limiter = self._slow if route.name in _SLOW else None
                return await to_thread.run_sync(route.answer, context, limiter=limiter)
        except ApiError as error:
            return _error_answer(error, context)
        except (ClientDisconnect, _ConnectionDropped):
            raise
        except Exception as error:  # noqa: BLE001 - the top of the handler's thread: the client gets 500, the log gets the traceback
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                _log.error("The disk is full: %s %s", context.request.method, context.path)
                return _error_answer(ApiError(507, "Insufficient Storage: the disk of the local Hub is full"), context)
            _log.exception("%s %s failed", context.request.method, context.path)
            return _error_answer(ApiError(500, "Internal Error: see the log of the local Hub"), context)

    async def _apply_late(self, route: Route, context: RequestContext, seconds: float) -> None:
        ticket = self.faults.begin_late()
        read = asyncio.Event()

        async def later() -> None:
            try:
                with self.services.files.temporary_file() as context.upload:
                    await receive_body(route, context)
                    read.set()
                    if await self._wait_outside(self.faults.wait_late, ticket, seconds):
                        await run_in_threadpool(route.handler, context)
            except ApiError as error:
                _log.info("late %s %s was refused: %s", context.request.method, context.path, error)
            finally:
                read.set()
                self.faults.end_late()

        task = asyncio.create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        await read.wait()


def _refusal(error: ApiError) -> Route:
    """Return a route that answers with an error, before the body."""

    def refuse(_context: RequestContext) -> Response:
        raise error

    return Route("", "", "", refuse, admit=refuse)


def _error_answer(error: ApiError, context: RequestContext) -> Response:
    message = "".join(c if c.isascii() and c.isprintable() else "?" for c in error.message)
    headers = {**error.headers, "X-Error-Message": message.strip()[:1000]}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    if "text/html" in context.request.headers.get("accept", ""):
        return page.error(context, error, headers)
    return ok({"error": error.message, **error.fields}, status=error.status, headers=headers)


def _request_id(headers: Headers) -> str:
    """Return the id that the client gave, as the Hub does, or a new one."""
    given = headers.get("x-request-id") or headers.get("x-amzn-trace-id") or ""
    return given if 0 < len(given) <= 100 else secrets.token_hex(12)


def _fault_answer(fault: Fault) -> Response:
    html = isinstance(fault.body, str) and fault.body.lstrip().startswith("<")
    return Response(fault.body, fault.status or 200, media_type="text/html" if html else "application/json")


class _Exchange:
    """One request and its answer on the connection: counts bytes, adds headers, ends the connection."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, log: RequestLog) -> None:
        self.scope = scope
        self._log = log
        self._recorded = False
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("ascii")
        self.route = ""
        now, request_id = formatdate(usegmt=True), _request_id(Headers(scope=scope))
        self.headers: dict[str, str] = {"Date": now, "X-Request-Id": request_id}
        self.keep_bytes: int | None = None
        self._receive: Callable[[], Awaitable[Message]] = receive
        self._send: Callable[[Message], Awaitable[None]] = send
        self._status = self._bytes_in = self._bytes_out = 0
        self._body_read = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes_in += len(message.get("body", b""))
            self._body_read = not message.get("more_body", False)
        return message

    async def read_rest(self) -> None:
        while not self._body_read:
            if (await self.receive())["type"] == "http.disconnect":
                raise ClientDisconnect

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message).update(self.headers)
        elif self.keep_bytes is not None:
            body = message.get("body", b"")
            left = self.keep_bytes - self._bytes_out
            if len(body) >= left or not message.get("more_body", False):
                self._bytes_out += len(body[:left])
                self.record()
                await self._send({"type": "http.response.body", "body": body[:left], "more_body": True})
                self._transport.close()  # sends what was written
                raise _ConnectionDropped
        self._bytes_out += len(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.record()
        await self._send(message)

    async def drop(self) -> None:
        """Reset the connection, and wait until uvicorn has noticed, which would otherwise answer with 500."""
        self.record()
        self._transport.abort()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def _transport(self) -> Any:
        return self.scope["state"]["transport"]

    def record(self) -> None:
        """Record the request once, before the client can know that it ended: a test may read the log at that moment."""
        if not self._recorded:
            self._recorded = True
            figures = self._status, self._bytes_in, self._bytes_out
            self._log.add(RequestRecord(self.method, self.path, *figures, self.route))
