"""Connections on which every answer has a deadline; a time-out of the socket alone bounds only each silence.

A Hub that sends one byte a second never lets such a time-out pass. Here the whole answer, its header included, must
arrive within a time, or, for the content of a file, so many bytes in each such time. Not bounded: the look-up of a host
name, and the handshake of TLS as a whole.

`hubspool.client.http` imports this module with its first request, because requests is heavy.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from hubspool.client.defaults import DEFAULTS

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class AnswerLimit:
    """How long a request waits for its answer.

    Args:
        seconds: for the whole answer, or for each `least_bytes` of it.
        least_bytes: None bounds the whole answer.
        until: monotonic time after which nothing is awaited.
        interrupt: once set, nothing is awaited or sent; None for a request that is not to be interrupted.
    """

    seconds: float
    least_bytes: int | None
    until: float
    interrupt: threading.Event | None = None

    def check_interrupt(self) -> None:
        """Raise TimeoutError once the request is interrupted."""
        if self.interrupt is not None and self.interrupt.is_set():
            raise TimeoutError("the request was interrupted")


#: Of the request that the running code makes.
answer_limit: ContextVar[AnswerLimit | None] = ContextVar("hubspool_answer_limit", default=None)


def prepared(url: str) -> str:
    """Return the address as requests gives it to urllib3, with a backslash after the host as part of the path.

    Raises:
        requests.RequestException: it is not an address.
    """
    request = PreparedRequest()
    request.prepare_url(url, None)
    return str(request.url)


def origin(url: str) -> tuple[str, str, int | None]:
    """Return the scheme, host and port that urllib3 connects to; of what is no address, itself.

    Rejected: `urllib.parse.urlsplit`, which reads another host from some addresses.
    """
    try:
        parts = parse_url(url)
    except LocationParseError:
        return url, "", None
    scheme = parts.scheme or ""
    return scheme, parts.host or "", parts.port or _PORTS.get(scheme)


class LimitedAdapter(HTTPAdapter):
    """Makes connections that keep to `answer_limit`, also through a proxy."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _limit(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        _limit(manager)
        return manager


def _limit(manager: Any) -> None:
    pools = manager.pool_classes_by_scheme.items()
    manager.pool_classes_by_scheme = {scheme: _limited_pool(kind) for scheme, kind in pools}


@cache
def _limited_pool(kind: type[Any]) -> type[Any]:
    if issubclass(kind.ConnectionCls, _Connection):
        return kind
    connection = type("LimitedConnection", (_Connection, kind.ConnectionCls), {})
    return type("LimitedPool", (kind,), {"ConnectionCls": connection})


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        if (limit := answer_limit.get()) is not None:
            self.fp = io.BufferedReader(_LimitedReader(self.fp.detach(), sock, limit))


class _Connection:
    """Before a connection class of urllib3: sends in small pieces, since a time-out covers a whole `sendall`."""

    response_class = _Answer

    def send(self, data: Any) -> None:
        step = DEFAULTS.progress_least_bytes
        pieces = [data]
        if isinstance(data, bytes) and len(data) > step:
            view = memoryview(data)
            pieces = [view[start : start + step] for start in range(0, len(view), step)]
        for piece in pieces:
            if (limit := answer_limit.get()) is not None:
                limit.check_interrupt()
            super().send(piece)  # type: ignore[misc]


class _LimitedReader(io.RawIOBase):
    """Reads an answer from a socket within its limit; only time spent waiting counts, not the caller's."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, limit: AnswerLimit) -> None:
        self._raw = raw
        self._sock = sock
        self._limit = limit
        self._seconds = 0.0  # waited for these bytes
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        began = time.monotonic()
        count = self._received(buffer, min(began + self._limit.seconds - self._seconds, self._limit.until))
        self._seconds += time.monotonic() - began
        self._bytes += count
        if self._limit.least_bytes is not None and self._bytes >= self._limit.least_bytes:
            self._seconds, self._bytes = 0.0, 0
        return count

    def _received(self, buffer: Any, until: float) -> int:
        # Not through the raw stream, which refuses to be read again after a time-out.
        step = math.inf if self._limit.interrupt is None else DEFAULTS.interrupt_poll_seconds
        while (left := until - time.monotonic()) > 0:
            self._limit.check_interrupt()
            self._sock.settimeout(min(left, step))
            with suppress(TimeoutError):
                return self._sock.recv_into(buffer)
        raise TimeoutError("the answer did not arrive in time")

    def close(self) -> None:
        super().close()
        self._raw.close()
