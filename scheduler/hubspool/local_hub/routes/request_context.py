"""One request on its way to a handler, and the forms of the answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hubspool.local_hub.identifiers import PULLS, AnyType, type_of_plural
from hubspool.local_hub.limits import LIMITS
from hubspool.local_hub.services.api_errors import ApiError, RepositoryRenamedError, bad_token, login_needed
from hubspool.local_hub.services.buckets import Bucket
from hubspool.local_hub.services.container import ServiceContainer
from hubspool.local_hub.services.file_access import CommitFiles
from hubspool.local_hub.services.pull_requests import PullRequests
from hubspool.local_hub.services.repositories import BaseRepositories, R, Repository, Right, check_writer
from hubspool.local_hub.storage.accounts import User

T = TypeVar("T")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_BASIC = 'Basic realm="Hub", charset="UTF-8"'
_DIGITS = 18  # of a number: Python refuses more than 4,300 of them with an error of its own


@dataclass
class RequestContext:
    """The request that a handler answers.

    Attributes:
        args: decoded groups of the route's pattern.
        endpoint: address of the Hub as this client knows it.
        commits_back: reads are answered from the state this many commits ago (a fault; otherwise 0).
        is_stale: the answer was read from an older commit.
        body: body of the request, if its route keeps it in memory.
        upload: file with the body, if the route keeps it on the disk.
    """

    services: ServiceContainer
    args: dict[str, str]
    request: Request
    endpoint: str
    commits_back: int = 0
    is_stale: bool = False
    body: bytes = b""
    upload: Path = field(default_factory=Path)

    @cached_property
    def user(self) -> User | None:
        """The user of the request's token, None without a token.

        Raises:
            ApiError: 401 for an unknown token.
        """
        scheme, _, credentials = self.request.headers.get("authorization", "").partition(" ")
        token = credentials.strip()
        if scheme.lower() != "bearer" and self.is_from_another_page():  # a browser sends a password that it knows, too
            return None
        if not scheme:
            reads_page = self.request.method in ("GET", "HEAD") and not self.path.startswith("/api/")
            return self.services.log_ins.user(self.session, self.port) if reads_page else None
        if scheme.lower() == "basic":  # git and browsers: any name, the token as the password
            try:
                token = base64.b64decode(token).decode().partition(":")[2]
            except ValueError:
                raise bad_token() from None
        if not token:
            return None
        user = self.services.accounts.by_token(token)
        if user is None:
            raise bad_token()
        return user

    @property
    def path(self) -> str:
        """The path as the client sent it, percent-encoded."""
        return str(self.request.scope["raw_path"].decode())

    @property
    def address(self) -> str:
        """The path and the query as the client sent them."""
        query = self.request.scope["query_string"].decode("latin-1")
        return f"{self.path}?{query}" if query else self.path

    @property
    def port(self) -> int:
        """The port of this Hub, whatever a proxy calls it."""
        return int(self.request.scope["server"][1])

    @property
    def session_cookie(self) -> str:
        """The name of the log-in's cookie; each Hub of a machine has its own, since they all get all of them."""
        return f"hubspool-{self.port}"

    @property
    def session(self) -> str:
        """The value of the log-in's cookie, or ""."""
        return self.request.cookies.get(self.session_cookie, "")

    def is_from_another_page(self) -> bool:
        """Whether a page of another origin sent this request; a page on another port of this machine is one, too.

        A link to a page of this Hub is not, if it stands on a page of the same site.
        """
        headers = self.request.headers
        site = headers.get("sec-fetch-site")
        if self.request.method in ("GET", "HEAD"):
            is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            return site == "cross-site" or (site == "same-site" and not is_link)
        if site is not None:  # no page can forge it, and no proxy changes it
            return site not in ("same-origin", "none")
        return headers.get("origin", self.endpoint) != self.endpoint

    def logged_in(self) -> User:
        """Return the user.

        Raises:
            ApiError: 401.
        """
        if self.user is None:
            raise login_needed()
        return self.user

    @property
    def author(self) -> str:
        return self.user.name if self.user is not None else "anonymous"

    @property
    def repo_type(self) -> AnyType:
        """The repository type that the path names; paths of models may have none."""
        return type_of_plural(self.args.get("type", "models")) or "model"

    def repo(self, right: Right = "read") -> Repository:
        """Return the repository that the path names, if the user has this right.

        Raises:
            ApiError: as `BaseRepositories.find`.
        """
        return self._found(self.services.repositories, self.repo_type, right)

    def bucket(self, right: Right = "read") -> Bucket:
        """Return the bucket that the path names, if the user has this right.

        Raises:
            ApiError: as `BaseRepositories.find`.
        """
        return self._found(self.services.buckets, "bucket", right)

    def _found(self, kept: BaseRepositories[R], repo_type: AnyType, right: Right) -> R:
        try:
            return kept.find(self.user, repo_type, self.args["repo"], right)
        except RepositoryRenamedError as renamed:
            # Without the host: clients follow only relative redirects.
            renamed.headers["Location"] = self.address.replace(self.args["repo"], renamed.new_id, 1)
            raise

    def repo_for_git(self, right: Right = "read") -> Repository:
        """As `repo`; the error 401 has the headers with which git and git-lfs ask their user for credentials."""
        try:
            return self.repo(right)
        except ApiError as error:
            if error.status == 401:
                error.headers = dict.fromkeys(("WWW-Authenticate", "LFS-Authenticate"), _BASIC)
            raise

    def repo_to_commit(self) -> Repository:
        """Return the repository, if the user may commit to the path's revision or opens a pull request for it.

        Raises:
            ApiError: as `repo`.
        """
        rev = self.args["rev"]
        number = rev.removeprefix(PULLS) if rev.startswith(PULLS) else ""
        if not self.flag("create_pr") and not number.isdecimal():
            return self.repo("write")
        repo = self.repo("contribute")
        is_own = self.flag("create_pr") or repo.git.ref(rev) is None
        if not is_own and PullRequests(repo).get(int(number)).author != self.author:
            check_writer(self.user, repo.url_path)
        return repo

    def commit_of(self, repo: Repository, rev: str | None = None) -> str:
        """Return the commit that a read of this revision is answered from; by default the path's revision."""
        rev = rev or self.args.get("rev", "main")
        commit = repo.revision(rev, commits_back=self.commits_back)
        self.is_stale = self.is_stale or (self.commits_back > 0 and commit != repo.revision(rev))
        return commit

    def files(self) -> CommitFiles:
        """Return the files of the repository and the revision that the path names.

        Raises:
            ApiError: as `repo`; 404 RevisionNotFound.
        """
        repo = self.repo()
        return CommitFiles(repo, self.commit_of(repo))

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body counts as an empty object.

        Raises:
            ApiError: 400.
        """
        try:
            value = orjson.loads(self.body or b"{}")  # orjson limits the depth of nesting
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ApiError(400, "The body is not a JSON object")
        return value

    def flag(self, name: str) -> bool:
        """Whether a query parameter is true."""
        return self.request.query_params.get(name, "").lower() in ("true", "1")

    @property
    def expand(self) -> list[str]:
        """The fields that the query asks for; the Hub knows two spellings of the parameter."""
        query = self.request.query_params
        return query.getlist("expand") + query.getlist("expand[]")

    def limit(self, default: int) -> int:
        """Return the query parameter `limit`, at most `default`."""
        return min(self.number("limit") or default, default)

    def number(self, name: str) -> int:
        """Return a query parameter that is a whole number; 0 without one.

        Raises:
            ApiError: 400 for another text.
        """
        return _number(self.request.query_params.get(name, "0"))

    def byte_range(self, size: int) -> tuple[int, int] | None:
        """Return the bytes [start, end) that a Range header asks for, of content of `size` bytes; None without one.

        Raises:
            ApiError: 416 if the range starts behind the end. Xet clients ask for such ranges on purpose.
        """
        # several ranges at once do not match and get the whole content, as RFC 9110 allows
        wanted = _RANGE.fullmatch(self.request.headers.get("range", ""))
        if wanted is None or not any(wanted.groups()):
            return None
        first, last = wanted.groups()
        start = _number(first) if first else max(size - _number(last), 0)
        end = min(_number(last) + 1, size) if first and last else size
        if start >= end:
            raise ApiError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
        return start, end

    def next_link(self, cursor: str | None) -> dict[str, str]:
        """Return the header with the address of the next page; clients follow it unchanged."""
        if cursor is None:
            return {}
        address = URL(self.address).include_query_params(cursor=cursor)
        return {"Link": f'<{self.endpoint}{address}>; rel="next"'}

    def page(self, found: list[T], most: int) -> tuple[list[T], dict[str, str]]:
        """Return the entries that the query asks for, at most `most`, and the header of `next_link`."""
        start = self.number("cursor")
        end = start + self.limit(most)
        return found[start:end], self.next_link(str(end) if end < len(found) else None)

    def signed_url(self, path: str, *claim: str) -> str:
        """Return an address that works without a token for `HubLimits.link_seconds`."""
        return f"{self.endpoint}{quote(path)}?sig={self.services.signer.sign(*claim)}"

    def check_signature(self, *claim: str) -> None:
        """Check the signature of an address that `signed_url` made for this claim.

        Raises:
            ApiError: 403.
        """
        if not self.services.signer.valid(self.request.query_params.get("sig", ""), *claim):
            raise ApiError(403, "This link is invalid or has expired")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > _DIGITS:
        raise ApiError(400, f"{text[:40]!r} is not a whole number of at most {_DIGITS} digits")
    return int(text)


def ok(content: object = None, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer; without content it is an empty object."""
    return JSONResponse({} if content is None else content, status, headers=headers)


def content_answer(
    context: RequestContext,
    size: int,
    read: Callable[[int, int], Iterator[bytes]],
    headers: dict[str, str],
    media_type: str,
) -> Response:
    """Return content, or the part that a Range header asks for, as a stream.

    Args:
        context: the request.
        size: bytes of the content.
        read: yields the bytes [start, end).
        headers: further headers.
        media_type: value of the header Content-Type.

    Raises:
        ApiError: 416 if the range starts behind the end.
    """
    headers = {**headers, "Accept-Ranges": "bytes"}
    wanted = context.byte_range(size)
    status, (start, end) = (206, wanted) if wanted is not None else (200, (0, size))
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if context.request.method == "HEAD":
        return Response(None, status, headers, media_type)
    return StreamingResponse(_blocks(read(start, end)), status, headers, media_type)


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces, since each one costs a switch between threads."""
    joined: list[bytes] = []
    size = 0
    for piece in pieces:
        joined.append(piece)
        size += len(piece)
        if size >= LIMITS.memory_block:
            yield piece if len(joined) == 1 else b"".join(joined)
            joined, size = [], 0
    if joined:
        yield b"".join(joined)
