"""`LocalHub`: starts and stops a Hub on one folder, one address and one thread."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hubspool.local_hub import control
from hubspool.local_hub.app import HubApp
from hubspool.local_hub.faults import Faults
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.request_log import RequestLog
from hubspool.local_hub.routes.table import ROUTES
from hubspool.local_hub.services.container import ServiceContainer
from hubspool.local_hub.storage.accounts import DEFAULT_USER, Accounts, User
from hubspool.local_hub.storage.durable_files import DurableFiles
from hubspool.settings import is_loopback_host

_log = logging.getLogger("hubspool.local_hub")


class PortInUseError(OSError):
    """Another program uses the address.

    Attributes:
        host: address that was asked for.
        port: port that was asked for.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"Port {port} of {host} is in use by another program. Give --port another number, or 0 for a free one."
        )
        self.host = host
        self.port = port


class LocalHub:
    """A Hub on this machine, served by a thread of this process.

    Not guaranteed: it is not a copy of the Hub. It runs no Space and keeps no settings of one, keeps no
    discussions but pull requests, does not enforce the gates of gated repositories, and has a small part of the
    website. Clones and fetches need a git program on this machine.
    Everybody who can reach the address can read public repositories and buckets.

    Args:
        root: folder that keeps everything and can be opened again; None for a temporary one, which `stop()` removes
            and for which nothing is fsynced.
        host: address to listen on; one that is not loopback needs `users`.
        port: 0 for a free one.
        users: `User` objects or `NAME:TOKEN[:read|write|none|fineGrained=REPO,...]`; None for the user `local` with
            the token `hf_local`.
        xet: whether clients upload large files with Xet; otherwise with LFS.
        lfs_part_size: bytes; larger LFS uploads go in parts of this size.
        folder_limit: entries of a folder; a commit that adds more is refused, as on the Hub with 10,000. None for any
            number.
        fault_routes: whether clients may set faults over HTTP, see `hubspool.local_hub.control`.

    Attributes:
        requests: the requests so far, see `RequestRecord`.
        faults: the faults of this Hub, see `Fault`.

    Thread-safety: call `start` and `stop` from one thread; any thread may use the attributes.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        users: Iterable[User | str] | None = None,
        xet: bool = True,
        lfs_part_size: int = LIMITS.lfs_part,
        folder_limit: int | None = None,
        fault_routes: bool = False,
    ) -> None:
        if users is None and not is_loopback_host(host):
            raise ValueError(
                f"{host} can be reached from other machines, and the default token is known to everybody. "
                "Name the users (--user NAME:TOKEN), or listen on 127.0.0.1."
            )
        given = (DEFAULT_USER,) if users is None else users
        accounts = Accounts(user if isinstance(user, User) else User.parse(user) for user in given)
        self.users = accounts.users
        self.requests = RequestLog()
        self.faults = Faults({route.name for route in ROUTES})
        self._root = Path(root) if root is not None else None
        self._host, self._port = host, port
        self._services = partial(
            ServiceContainer, accounts=accounts, xet=xet, lfs_part_size=lfs_part_size, folder_limit=folder_limit
        )
        self._fault_routes = fault_routes
        self._endpoint: str | None = None
        self._running: _Running | None = None

    @property
    def token(self) -> str:
        """The token of the first user."""
        return self.users[0].token

    @property
    def user(self) -> str:
        """The name of the first user."""
        return self.users[0].name

    @property
    def endpoint(self) -> str:
        """The address, such as http://127.0.0.1:43121; known after `start`, and the same after another one."""
        if self._endpoint is None:
            raise RuntimeError("The local Hub was not started: call start(), or use it in a with statement.")
        return self._endpoint

    @property
    def root(self) -> Path:
        """The folder that keeps everything."""
        if self._root is not None:
            return self._root
        if self._running is None:
            raise RuntimeError("The local Hub is not running, and a temporary folder exists only while it is.")
        return self._running.files.root

    def start(self) -> LocalHub:
        """Serve until `stop()`; return when requests are answered. After `stop()` it serves at the same port again.

        Raises:
            PortInUseError: Another program listens at this port.
            RootInUseError: Another local Hub serves the folder.
        """
        if self._running is not None:
            raise RuntimeError(f"The local Hub is running already, at {self.endpoint}.")
        listener = _listen(self._host, self._port)
        root = self._root or Path(tempfile.mkdtemp(prefix="hubspool-hub-"))
        files = DurableFiles(root, durable=self._root is not None)
        try:
            files.lock()
            services = self._services(files)
        except BaseException:
            listener.close()
            files.unlock()
            raise
        host, port = listener.getsockname()[:2]
        self._endpoint = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        only_host = self._host.lower() if is_loopback_host(self._host) else None
        fault_routes = control.routes(self.faults) if self._fault_routes else []
        server = _Server(HubApp(services, self._endpoint, self.faults, self.requests, fault_routes, only_host))
        thread = threading.Thread(target=server.run, args=([listener],), name="hubspool-local-hub", daemon=True)
        self._port = port  # a second start uses the same port
        self._running = _Running(files, services, server, thread)
        self.faults.start()
        thread.start()
        if not server.answering.wait(LIMITS.start_seconds):
            self.stop()
            raise RuntimeError(f"The local Hub did not start within {LIMITS.start_seconds:g} s.")
        return self

    def stop(self) -> None:
        """End all connections and release the folder; drop requests that a fault delays."""
        running, self._running = self._running, None
        if running is None:
            return
        self.faults.stop()
        running.services.stopping.set()
        running.server.end()
        running.thread.join(LIMITS.stop_seconds)
        running.services.repositories.close()
        running.files.unlock()
        if self._root is None:
            shutil.rmtree(running.files.root, ignore_errors=True)

    def wait_idle(self, timeout: float = LIMITS.wait_seconds) -> bool:
        """Wait until no request is being answered; return False after `timeout` seconds."""
        return self.requests.wait_idle(timeout)

    def __enter__(self) -> LocalHub:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True)
class _Running:
    """What `start` creates and `stop` ends."""

    files: DurableFiles
    services: ServiceContainer
    server: _Server
    thread: threading.Thread


class _Protocol(H11Protocol):
    """Ends connections of clients that do not send their headers, or that hold more connections than there are.

    Lets the application reach its connection, to end it without an answer.
    """

    _headers_due: asyncio.TimerHandle | None = None
    _last_data = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
        self._expect_headers()
        if len(self.connections) > _most_connections():
            waiting = [each for each in self.connections if isinstance(each, _Protocol) and each is not self]
            longest = min(waiting, key=lambda each: (each._is_busy(), each._last_data))
            self.connections.discard(longest)  # not again by the next one, before the loop has ended it
            longest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_headers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect_headers()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # the beginning of the next request
            self._expect_headers()

    def _is_busy(self) -> bool:
        """Whether the Hub has work for this client, and does not wait for more bytes of it."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def _expect_headers(self) -> None:
        self._last_data = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_headers()
        elif self._headers_due is None:
            self._headers_due = self.loop.call_later(LIMITS.header_seconds, self.transport.close)

    def _forget_headers(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


def _most_connections() -> int:
    """Return how many connections may be open: half of what the process may open, since answers need files."""
    try:
        import resource
    except ImportError:  # Windows
        return LIMITS.connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return LIMITS.connections if soft == resource.RLIM_INFINITY else min(LIMITS.connections, soft // 2)


class _Server(uvicorn.Server):
    """uvicorn with an event for its start, and an end without pauses: its own takes 0.2 s, more than most tests."""

    def __init__(self, app: HubApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",  # its warnings repeat what any client sends
                access_log=False,
                date_header=False,  # `HubApp` writes it, and a fault may change it
                proxy_headers=False,
                server_header=False,
                backlog=LIMITS.accepted_at_once,
                timeout_keep_alive=LIMITS.keep_alive_seconds,
                timeout_graceful_shutdown=LIMITS.graceful_stop_seconds,
            )
        )
        self.answering = threading.Event()
        self._out_of_files = False
        self._ticks: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._report)
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(LIMITS.listen_backlog)  # asyncio used its other meaning: connections accepted at once
        self.answering.set()

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error of the event loop; that there are no more descriptors only once, since it repeats."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
        elif not self._out_of_files:
            self._out_of_files = True
            _log.error("No more files can be opened (ulimit -n): new connections wait until others end")

    async def main_loop(self) -> None:
        self._ticks = asyncio.create_task(super().main_loop())
        with suppress(asyncio.CancelledError):
            await self._ticks

    def end(self) -> None:
        """Make the server stop; call it from another thread."""
        self.should_exit = True
        if self._ticks is not None:
            with suppress(RuntimeError):  # the loop has ended already
                self._ticks.get_loop().call_soon_threadsafe(self._ticks.cancel)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # closes the idle ones
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for listener in (*self.servers, *(sockets or ())):
            listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        is_dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        backlog = LIMITS.listen_backlog
        listener = socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=is_dual)
    except socket.gaierror as error:
        raise OSError(f"{host!r} is not an address to listen on ({error.strerror}). Give --host another one.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port) from None
        reason = os.strerror(error.errno or 0)
        raise OSError(f"Cannot listen on {host}, port {port}: {reason}. Change --host or --port.") from None
    # asyncio sets this only for sockets that it creates itself. Without it an answer takes 40 ms: its body waits until
    # the client has acknowledged its headers. Accepted sockets inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
