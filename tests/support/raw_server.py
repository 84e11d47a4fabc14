"""A server that sends exactly the bytes it is told, at its own pace: what a real Hub's server library never does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

#: Returns the pieces of the answer to a request, given its first line.
Script = Callable[[str], Iterable[bytes]]


@dataclass
class RawServer:
    """Sends one piece of an answer every `pause` seconds, and reads a body in pieces of `read_bytes` as slowly."""

    script: Script
    pause: float
    read_bytes: int | None
    requests: list[str] = field(default_factory=list)  # first lines
    heads: list[str] = field(default_factory=list)  # with their headers
    endpoint: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while not self.stopping.is_set():
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (block := connection.recv(1 if self.read_bytes else 65536)):
                        return
                    head += block
                text, _, body = head.partition(b"\r\n\r\n")
                lengths = [line for line in text.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                left = int(lengths[0].partition(b":")[2]) - len(body) if lengths else 0
                while left > 0 and (block := connection.recv(min(left, self.read_bytes or 65536))):
                    left -= len(block)
                    if self.read_bytes:
                        self.stopping.wait(self.pause)
                self.heads.append(text.decode("latin-1"))
                self.requests.append(self.heads[-1].split("\r\n")[0])
                for piece in self.script(self.requests[-1]):
                    connection.sendall(piece)
                    if self.stopping.wait(self.pause):
                        return


@contextmanager
def raw_server(script: Script, *, pause: float = 0.0, read_bytes: int | None = None) -> Iterator[RawServer]:
    """Run a server; with `read_bytes` its receive buffer is small, so that its reader is the client's limit."""
    server = RawServer(script, pause, read_bytes)
    listener = socket.socket()
    if read_bytes:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def accept() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=server.answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        server.stopping.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
