"""One request on its way to a handler, and the shapes of the answers."""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hubspool.local_hub.services.api_errors import HubError, RepoMovedError, bad_token
from hubspool.local_hub.services.container import Services
from hubspool.local_hub.services.repositories import REPO_TYPES, Repository, RepoType, Right
from hubspool.local_hub.storage.accounts import User

API = r"/api/(?P<type>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
PAGES = r"/(?:(?P<type>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+?)"
REV = r"(?P<rev>refs/(?:pr/\d+|convert/[^/]+)|[^/]+)"  # the JavaScript client leaves the slashes of these as they are
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_BLOCK = 4 << 20  # bytes handed to the event loop at a time


class Body(enum.Enum):
    """Where a request's body goes before its handler runs."""

    MEMORY = "memory"
    DISK = "disk"  # `Call.upload` is a temporary file that the handler may move away


@dataclass(frozen=True)
class Route:
    """A kind of request.

    Attributes:
        name: What faults and request records call it.
        methods: Separated by spaces.
        pattern: Matched against the raw path, since a revision may hold an encoded slash; groups reach the
            handler decoded.
        handler: Runs in a worker thread, so it may block.
        limit: Bytes of the body; more is answered with 413.
    """

    name: str
    methods: str
    pattern: str
    handler: Callable[[Call], Response]
    body: Body = Body.MEMORY
    limit: int = 16 << 20

    def match(self, raw_path: str) -> dict[str, str] | None:
        found = re.fullmatch(self.pattern, raw_path)
        if found is None:
            return None
        return {name: unquote(text) for name, text in found.groupdict().items() if text is not None}


@dataclass
class Call:
    """What a handler gets.

    Attributes:
        args: The decoded groups of the route's pattern.
        endpoint: The Hub's address as this client knows it.
        commits_back: How many commits ago reads are answered from (a fault; 0 otherwise).
        body: The body of a `Body.MEMORY` route.
        upload: The file that holds the body of a `Body.DISK` route.
    """

    services: Services
    route: Route
    args: dict[str, str]
    request: Request
    endpoint: str
    commits_back: int = 0
    body: bytes = b""
    upload: Path = field(default_factory=Path)

    @cached_property
    def user(self) -> User | None:
        """Whose token came along, None without one.

        Raises:
            HubError: 401 for a token that is not known.
        """
        if self.request.headers.get("sec-fetch-site") == "cross-site":  # a browser's: another site's page asks
            return None
        scheme, _, credentials = self.request.headers.get("authorization", "").partition(" ")
        token = credentials.strip()
        if scheme.lower() == "basic":  # git: any name, the token as password
            try:
                token = base64.b64decode(token).decode().partition(":")[2]
            except (ValueError, binascii.Error):
                raise bad_token() from None
        if not token:
            return None
        user = self.services.accounts.by_token(token)
        if user is None:
            raise bad_token()
        return user

    @property
    def author(self) -> str:
        return self.user.name if self.user is not None else "anonymous"

    @property
    def repo_type(self) -> RepoType:
        plural = self.args.get("type", "models")
        return next(kind for kind in REPO_TYPES if f"{kind}s" == plural)

    def repo(self, right: Right = "read") -> Repository:
        """The repository that the path names, if the caller may do this to it."""
        try:
            return self.services.repositories.find(self.user, self.repo_type, self.args["repo"], right)
        except RepoMovedError as moved:
            path = self.request.scope["raw_path"].decode().replace(self.args["repo"], moved.new_id, 1)
            query = self.request.url.query
            moved.headers["Location"] = f"{self.endpoint}{path}{'?' if query else ''}{query}"
            raise

    def commit_of(self, repo: Repository, rev: str | None = None) -> str:
        """The commit that a read is answered from."""
        return repo.revision(rev or self.args.get("rev", "main"), commits_back=self.commits_back)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            HubError: 400.
        """
        try:
            value = orjson.loads(self.body or b"{}")  # which knows a limit of nesting
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise HubError(400, "The body is not a JSON object")
        return value

    def flag(self, name: str) -> bool:
        return self.request.query_params.get(name, "").lower() in ("true", "1")

    def limit(self, default: int) -> int:
        """How many entries the caller wants in one answer, at most `default`."""
        text = self.request.query_params.get("limit", "")
        return min(int(text), default) if text.isdecimal() and int(text) > 0 else default

    def next_link(self, cursor: str | None) -> dict[str, str]:
        """The header that leads to the next page: clients follow the address as it is."""
        if cursor is None:
            return {}
        query = [(k, v) for k, v in self.request.query_params.multi_items() if k != "cursor"]
        address = f"{self.endpoint}{self.request.scope['raw_path'].decode()}"
        return {"Link": f'<{address}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'}

    def signed_url(self, path: str, *claim: str) -> str:
        """An address of this Hub that works without a token for a while."""
        return f"{self.endpoint}{quote(path)}?sig={self.services.signer.sign(*claim)}"

    def check_signature(self, *claim: str) -> None:
        """Refuse an address that was not signed here for this.

        Raises:
            HubError: 403.
        """
        if not self.services.signer.valid(self.request.query_params.get("sig", ""), *claim):
            raise HubError(403, "This link is not valid, or not any more")


def ok(content: object = None, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; without content an empty object."""
    return JSONResponse({} if content is None else content, status, headers=headers)


def content_answer(
    call: Call,
    size: int,
    read: Callable[[int, int], Iterator[bytes]],
    headers: dict[str, str],
    media_type: str,
) -> Response:
    """Content, or the part of it that a Range header asks for; never the whole in memory.

    Raises:
        HubError: 416 when the range starts behind the end.
    """
    headers = {**headers, "Accept-Ranges": "bytes"}
    status, start, end = 200, 0, size
    wanted = _RANGE.fullmatch(
        call.request.headers.get("range", "")
    )  # several ranges at once: the whole, as RFC 9110 allows
    if wanted is not None and any(wanted.groups()):
        first, last = wanted.groups()
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if start >= end:
            raise HubError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if call.request.method == "HEAD":
        return Response(None, status, headers, media_type)
    return StreamingResponse(_blocks(read(start, end)), status, headers, media_type)


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces: each one costs a change of thread."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield piece if len(held) == 1 else b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
