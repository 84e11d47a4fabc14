"""From the socket to a handler and back: routes, bodies, faults, errors, records."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hubspool.local_hub import control
from hubspool.local_hub.faults import NO_FAULT, Fault, Faults, Verdict
from hubspool.local_hub.models import RequestLog, RequestRecord
from hubspool.local_hub.routes import ALL
from hubspool.local_hub.routes.request_context import Body, Call, Route, ok
from hubspool.local_hub.services.api_errors import HubError
from hubspool.local_hub.services.container import Services
from hubspool.local_hub.storage.durable_files import room_for

_log = logging.getLogger("hubspool.local_hub")
_BLOCK = 1 << 20  # bytes gathered before a worker thread writes them


class _ConnectionDropped(Exception):  # noqa: N818 - it is not an error here, it is what was asked for
    """The connection is to end without (the rest of) an answer."""


class App:
    """The ASGI application.

    Handlers run in worker threads; only bodies and waiting are done on the event loop.
    """

    def __init__(
        self, services: Services, endpoint: str, faults: Faults, requests: RequestLog, *, fault_routes: bool
    ) -> None:
        self._services = services
        self._endpoint = endpoint
        self._faults = faults
        self._requests = requests
        self._control = control.routes(faults) if fault_routes else []
        self._late: set[asyncio.Task[None]] = set()
        self._waiting: CapacityLimiter | None = None  # it belongs to the event loop, which does not exist yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self._requests)
        route, args = self._find(exchange.method, exchange.path)
        exchange.route = route.name
        self._requests.begin()
        try:
            controls = route in self._control  # a fault must not keep itself from being cleared
            verdict = NO_FAULT if controls else self._faults.judge(route.name, exchange.method, exchange.path)
            exchange.headers.update(verdict.headers)
            if verdict.fault is not None:
                exchange.headers.update(verdict.fault.headers)
                exchange.keep_bytes = verdict.fault.keep_bytes
            call = self._call(route, args, exchange)
            response = await self._answer(call, verdict, exchange)
            await response(scope, exchange.receive, exchange.send)
        except _ConnectionDropped:
            await exchange.drop()
        except ClientDisconnect:
            pass
        finally:
            exchange.record()
            self._requests.end()

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        known = False
        for route in (*self._control, *ALL):
            args = route.match(path)
            if args is not None:
                if method in route.methods.split() or (method == "HEAD" and "GET" in route.methods):
                    return route, args
                known = True
        refusal = HubError(405, f"{method} is not for {path}") if known else HubError(404, f"Not found: {path}")
        return Route("", "", "", partial(_refuse, refusal)), {}

    def _call(self, route: Route, args: dict[str, str], exchange: _Exchange) -> Call:
        request = Request(exchange.scope, exchange.receive)
        host = request.headers.get("host")
        return Call(self._services, route, args, request, f"http://{host}" if host else self._endpoint)

    async def _answer(self, call: Call, verdict: Verdict, exchange: _Exchange) -> Response:
        fault = verdict.fault
        if fault is not None and fault.delay:
            seconds = None if math.isinf(fault.delay) else fault.delay
            await self._wait_outside(verdict.cleared.wait, seconds)
            if self._faults.stopped:
                raise _ConnectionDropped
        if fault is None or not fault.replaces_answer:
            call.commits_back = fault.stale if fault is not None else 0
            with room_for(fault.full_disk if fault is not None else None):
                return await self._apply(call)
        if fault.late is not None:
            await self._apply_late(call, fault.late)
        elif fault.applied:
            await self._apply(call)
        elif not fault.drop:
            await exchange.read_rest()  # a client that is still sending would not see the answer
        if fault.status is None:
            raise _ConnectionDropped
        return _fault_answer(fault)

    async def _wait_outside(self, wait: Callable[..., bool], *args: object) -> bool:
        """Run a wait in a thread of its own: the handlers' pool has 40, and a silent Hub would use them up."""
        if self._waiting is None:
            self._waiting = CapacityLimiter(math.inf)
        return await to_thread.run_sync(wait, *args, limiter=self._waiting)

    async def _apply(self, call: Call) -> Response:
        try:
            with self._services.disk.temporary_file() as call.upload:
                await _read_body(call)  # also before a refusal: unread bytes would cost the client its connection
                return await run_in_threadpool(call.route.handler, call)
        except HubError as error:
            return _error_answer(error)
        except (ClientDisconnect, _ConnectionDropped):
            raise
        except Exception as error:  # noqa: BLE001 - the top of the handler's thread; the client gets a 500, the log the rest
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                _log.error("No room on the disk for %s %s", call.request.method, call.request.scope["path"])
                return _error_answer(HubError(507, "Insufficient Storage: the disk of the local Hub is full"))
            _log.exception("%s %s failed", call.request.method, call.request.scope["path"])
            return _error_answer(HubError(500, "Internal Error of the local Hub; its log says more"))

    async def _apply_late(self, call: Call, seconds: float) -> None:
        ticket = self._faults.begin_late()
        read = asyncio.Event()

        async def later() -> None:
            try:
                with self._services.disk.temporary_file() as call.upload:
                    await _read_body(call)
                    read.set()
                    if await self._wait_outside(self._faults.wait_late, ticket, seconds):
                        await run_in_threadpool(call.route.handler, call)
            except HubError as error:
                _log.info("a late %s %s was refused: %s", call.request.method, call.request.scope["path"], error)
            finally:
                read.set()
                self._faults.end_late()

        task = asyncio.create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        await read.wait()


def _refuse(refusal: HubError, _call: Call) -> Response:
    raise refusal


async def _read_body(call: Call) -> None:
    """Take the body into memory, or in pieces to disk.

    Raises:
        HubError: 413.
    """
    held, size = [], 0
    file = call.upload.open("wb") if call.route.body is Body.DISK else None
    pending = 0
    try:
        async for piece in call.request.stream():
            size += len(piece)
            pending += len(piece)
            if size > call.route.limit:
                raise HubError(413, f"Payload Too Large: more than {call.route.limit} bytes")
            held.append(piece)
            if file is not None and pending >= _BLOCK:
                await run_in_threadpool(file.write, b"".join(held))
                held, pending = [], 0
        if file is not None:
            await run_in_threadpool(file.write, b"".join(held))
        else:
            call.body = b"".join(held)
    finally:
        if file is not None:
            file.close()


def _error_answer(error: HubError) -> Response:
    message = "".join(c if c.isascii() and c.isprintable() else "?" for c in error.message)
    headers = {**error.headers, "X-Error-Message": message.strip()}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    return ok({"error": error.message, **error.fields}, status=error.status, headers=headers)


def _fault_answer(fault: Fault) -> Response:
    html = isinstance(fault.body, str) and fault.body.lstrip().startswith("<")
    return Response(fault.body, fault.status or 200, media_type="text/html" if html else "application/json")


class _Exchange:
    """One request and its answer on the wire: counts bytes, adds headers, ends connections."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, log: RequestLog) -> None:
        self.scope = scope
        self._log = log
        self._recorded = False
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("ascii")
        self.route = ""
        self.headers: dict[str, str] = {"X-Request-Id": secrets.token_hex(12)}
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
            given = {name.lower() for name in self.headers}
            kept = [(name, value) for name, value in message["headers"] if name.decode("latin-1").lower() not in given]
            added = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
            message = {**message, "headers": kept + added}
        elif self.keep_bytes is not None:
            body = message.get("body", b"")
            left = self.keep_bytes - self._bytes_out
            if len(body) >= left or not message.get("more_body", False):
                self._bytes_out += len(body[:left])
                self.record()
                await self._send({"type": "http.response.body", "body": body[:left], "more_body": True})
                self._transport.close()  # what was written is still sent
                raise _ConnectionDropped
        self._bytes_out += len(message.get("body", b""))
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.record()
        await self._send(message)

    async def drop(self) -> None:
        """Reset the connection and wait until the server has seen it, or it would answer with a 500 of its own."""
        self.record()
        self._transport.abort()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def _transport(self) -> Any:
        return self.scope["state"]["transport"]

    def record(self) -> None:
        """Once, and before the client can know that its request ended: a test may look at the log right then."""
        if not self._recorded:
            self._recorded = True
            figures = self._status, self._bytes_in, self._bytes_out
            self._log.add(RequestRecord(self.method, self.path, *figures, self.route))
