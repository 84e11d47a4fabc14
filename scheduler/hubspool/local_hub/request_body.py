"""Receives the body of a request: not before the rights are known, not more than the limit, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.routes.request_context import RequestContext
from hubspool.local_hub.routes.table import Route
from hubspool.local_hub.services.api_errors import ApiError


async def receive_body(route: Route, context: RequestContext) -> None:
    """Check the rights for a request with a body, then read it into `context.body` or the file `context.upload`.

    What a refused client still sends is read and dropped, up to `HubLimits.dropped_body`: a connection that is closed
    before would hide the answer from most clients.

    Raises:
        ApiError: as the route's `admit`; 413; 408 for a client that sends too slowly.
        ClientDisconnect: the client went away.
    """
    headers = context.request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        if route.body == "disk":
            context.upload.touch()
        return
    body = _IncomingBody(context)
    try:
        limit = await run_in_threadpool(_limit_after_check, route, context)
        await _keep(route, context, body, limit)
    except ApiError as error:
        if error.status != 408 and "expect" not in headers:
            await body.drop()
        if not body.has_ended:
            error.headers["Connection"] = "close"
        raise


def _limit_after_check(route: Route, context: RequestContext) -> int:
    if route.admit is not None:
        route.admit(context)
    elif context.user is None:
        return min(route.limit, LIMITS.anonymous_body)
    return route.limit


async def _keep(route: Route, context: RequestContext, body: _IncomingBody, limit: int) -> None:
    blocks, pending, size = [], 0, 0
    with context.upload.open("wb") if route.body == "disk" else nullcontext() as file:
        async for piece in body.pieces():
            size += len(piece)
            pending += len(piece)
            if size > limit:
                raise ApiError(413, f"Payload Too Large: more than {limit} bytes")
            blocks.append(piece)
            if file is not None and (pending >= LIMITS.upload_block or body.has_ended):
                await run_in_threadpool(file.write, b"".join(blocks))
                blocks, pending = [], 0
    context.body = b"".join(blocks)


class _IncomingBody:
    """The body on its way; `has_ended` when all of it was received."""

    def __init__(self, context: RequestContext) -> None:
        self._receive = context.request.receive
        self.has_ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the rest of the body.

        Raises:
            ApiError: 408 if less than `HubLimits.slow_body` bytes came within `HubLimits.body_seconds`.
            ClientDisconnect: the client went away.
        """
        clock = asyncio.get_running_loop().time
        began, received = clock(), 0
        while not self.has_ended:
            try:
                message = await asyncio.wait_for(self._receive(), LIMITS.body_seconds)
            except asyncio.TimeoutError:
                raise _too_slow() from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece = message.get("body", b"")
            self.has_ended = not message.get("more_body", False)
            received += len(piece)
            if not self.has_ended and clock() - began > LIMITS.body_seconds:
                if received < LIMITS.slow_body:
                    raise _too_slow()
                began, received = clock(), 0
            yield piece

    async def drop(self) -> None:
        left = LIMITS.dropped_body
        try:
            async for piece in self.pieces():
                left -= len(piece)
                if left < 0:
                    return
        except ApiError:
            pass  # too slow: it gets the answer at once


def _too_slow() -> ApiError:
    return ApiError(408, f"Request Timeout: less than {LIMITS.slow_body} bytes in {LIMITS.body_seconds:g} s")
