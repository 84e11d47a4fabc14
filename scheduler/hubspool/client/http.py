"""HTTP to the Hub: one pool of connections per process, time-outs on every call, bounded retries.

Not guaranteed: that a request whose answer was lost did nothing. The error says what is known (`Outcome`), and this
module never repeats a request that could act twice.
"""

from __future__ import annotations

import json
import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urljoin

from hubspool import fork
from hubspool.client.defaults import DEFAULTS
from hubspool.client.http_errors import error_of, failure_text, log_warnings, public_url
from hubspool.client.retry import SAFE, Caller, RetryPolicy, call_with_retries, hub_time, pace
from hubspool.errors import (
    BadResponseError,
    HubConnectionError,
    HubspoolError,
    HubTimeoutError,
    OfflineModeIsEnabled,
    Outcome,
)
from hubspool.settings import Settings, Token, is_loopback

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

T = TypeVar("T")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READING = frozenset({"GET", "HEAD"})
#: Encodings of an answer. Others (brotli, several) make gigabytes of one block before anybody can count them.
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})


class Body(Protocol):
    """A request body that can be sent again: its size in bytes, and an iterator over its blocks.

    Blocks are small, because a socket's time-out covers a whole `sendall`: a body of 100 MB given as one `bytes` failed
    on a slow line although it moved steadily.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


@dataclass(eq=False)
class HubSession:
    """Sends requests for one `HfApi`; all threads may use it.

    Attributes:
        headers: sent with every request to the Hub's own address.
        product: names of the program that uses us, added to the User-Agent header.
        interrupt: once set, retries stop waiting and transfers end: the call fails with its last error.
        ends_answers: `interrupt` also ends requests whose answer is awaited; a commit may land nevertheless.
        timeout: seconds that an answer may take, and 32 kB of a transfer; None reads HUBSPOOL_TIMEOUT at each call.
        commit_timeout: the same for the answer to a commit; None: 90, or HUBSPOOL_TIMEOUT if that is longer.
        retry: replaces the bounds of every retry (not what may be repeated); None keeps those of each call.
        deadline: monotonic time when all requests and waits must be over.
        counts: ``requests``: how many were sent, repeated ones included; not those of hf_xet. Threads that send at the
            same time may count one too few.
        pauses: name of a quota of the Hub → monotonic time until which pushes to buckets pause, as the last answer
            that named it asks; copies of the session share them, because the Hub counts the calls of all.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    product: str = ""
    interrupt: threading.Event = field(default_factory=threading.Event)
    ends_answers: bool = False
    timeout: float | None = None
    commit_timeout: float | None = None
    retry: RetryPolicy | None = None
    deadline: float = math.inf
    counts: Counter[str] = field(default_factory=Counter, repr=False)
    pauses: dict[str, float] = field(default_factory=dict, repr=False)
    _pools: dict[bool, requests.Session] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        fork.renew(self, "_pools", dict)  # a child must not use its parent's sockets

    def pool(self, *, local: bool) -> requests.Session:
        """Return the connections of this process: to Hubs of this machine, or to others."""
        pool = self._pools.get(local)
        if pool is None:
            # Two threads may both get here; the pool that is set last stays and the other is collected.
            pool = self._pools[local] = _new_pool(local=local)
        return pool

    @cached_property
    def user_agent(self) -> str:
        """The User-Agent header: the caller's own, else hubspool, Python, requests and `product`."""
        return self.headers.get("User-Agent") or _user_agent(self.product)

    def close(self) -> None:
        """Close this process's connections; a later request opens new ones."""
        for local in list(self._pools):
            self._pools.pop(local).close()

    def within(self, seconds: float, retry: RetryPolicy | None = None) -> HubSession:
        """Return a session whose requests are over in so many seconds from now, all together."""
        return replace(self, deadline=time.monotonic() + seconds, retry=retry or self.retry)

    def retrying(self, call: Callable[[], T], policy: RetryPolicy) -> T:
        """Return what `call` returns, calling it again as `policy` and its errors allow.

        Raises:
            HubspoolError: The last error.
        """
        if self.retry is not None:
            same = {"acts_twice": policy.acts_twice, "replans": policy.replans, "awaits_commit": policy.awaits_commit}
            policy = replace(self.retry, **same)
        caller = Caller(self.interrupt.wait, _log_failure, lambda: self.deadline - time.monotonic())
        return call_with_retries(call, policy, caller)

    def limits(self, timeout: float | None = None, *, commit: bool = False) -> tuple[float, float]:
        """Return the seconds in which a request must connect, and in which its answer must be complete.

        Raises:
            HubTimeoutError: the deadline is over.
        """
        settings = Settings.from_env()
        timeout = timeout or self.timeout or settings.timeout
        answer = (self.commit_timeout or max(settings.commit_timeout, timeout)) if commit else timeout
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise HubTimeoutError("The time for the Hub's answers is over.", outcome=Outcome.NOT_APPLIED)
        return min(timeout, left), min(answer, left)


@dataclass(frozen=True)
class HubClient:
    """Sends requests to one Hub for one account.

    Attributes:
        session: connections, time-outs and retries.
        endpoint: address of the Hub, without a trailing slash.
        token: sent to the Hub's own address and to no other.
    """

    session: HubSession
    endpoint: str
    token: Token | None

    @property
    def auth_headers(self) -> dict[str, str]:
        """The header with the token."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token.value}"}

    def json(self, method: str, url: str, *, policy: RetryPolicy = SAFE, **options: Any) -> Any:
        """Send a request and return the JSON of its answer; `options` are those of `send`.

        Raises:
            RequestError: the request failed. A body that is not JSON, or incomplete, is a `BadResponseError`.
        """
        return self.session.retrying(lambda: _json_of(self.send(method, url, **options)), policy)

    def dated(self, url: str) -> tuple[Any, datetime]:
        """Return the JSON at an address, and the Hub's time when it answered."""

        def ask() -> tuple[Any, datetime]:
            response = self.send("GET", url)
            return _json_of(response), hub_time(response.headers)

        return self.session.retrying(ask, SAFE)

    def pages(self, url: str, params: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Yield the entries of a list that the Hub returns in pages (``Link: <url>; rel="next"``)."""
        for _ in range(DEFAULTS.most_pages):
            response = self.request("GET", url, params=params)
            if not isinstance(page := _json_of(response), list):
                raise BadResponseError(f"{public_url(url)} did not answer with a list.", url=public_url(url))
            yield from page
            if (following := response.links.get("next", {}).get("url")) is None:
                return
            url, params = _join(url, following), None
        raise BadResponseError(f"The list has more than {DEFAULTS.most_pages} pages.", url=public_url(url))

    def content(self, url: str, most: int = DEFAULTS.answer_bytes, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the content of a file, of at most `most` bytes; it may take long as long as it moves.

        Raises:
            RequestError: the request failed, or the content is longer.
        """
        headers = {"Accept-Encoding": "identity", **(headers or {})}

        def fetch() -> bytes:
            response = self.send("GET", url, headers=headers, stream=True)
            with response:
                return _read(response, most)

        return self.session.retrying(fetch, SAFE)

    def request(self, method: str, url: str, *, policy: RetryPolicy = SAFE, **options: Any) -> requests.Response:
        """Send a request and return its answer; `options` are those of `send`."""
        return self.session.retrying(lambda: self.send(method, url, **options), policy)

    def send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        form: Mapping[str, Any] | None = None,
        body: Body | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        commit: bool = False,
        timeout: float | None = None,
    ) -> requests.Response:
        """Send one request, without retries, and return its answer.

        Redirects are followed on the same host; GET and HEAD also follow them to other hosts, without the token.

        Args:
            method: HTTP method.
            url: address; the token is sent only to the Hub's own.
            params: query.
            json: body as JSON.
            form: body as a form.
            body: body in blocks, or a small one as it is.
            headers: more headers.
            stream: leave the body of a success unread; the caller closes the answer. It must come unencoded.
            commit: use the longer time-out of a commit.
            timeout: seconds that this answer may take, in place of the session's.

        Raises:
            RequestError: no answer, or one that is not a success.
        """
        from hubspool.client.connections import origin

        options = {"json": json, "data": form if body is None else body}
        history: list[requests.Response] = []
        for _ in range(DEFAULTS.max_redirects):
            options |= {"params": params, "timeout": self.session.limits(timeout, commit=commit)}
            response = self._exchange(method, url, options, headers or {}, stream=stream)
            target = _join(url, response.headers.get("Location", ""))
            if response.status_code not in _REDIRECTS or target == url:
                break
            if method not in _READING and (origin(url) != origin(target) or response.status_code not in (307, 308)):
                break
            response.close()
            history.append(response)
            url, params = target, None
        response.history = history
        log_warnings(response)
        error = error_of(response, self.token)
        if error is not None:
            response.close()
            raise error
        return response

    def check_address(self, url: str) -> None:
        """Refuse an address without https that an answer of an https Hub names: data would travel in the clear.

        Raises:
            BadResponseError: it has another scheme.
        """
        from hubspool.client.connections import origin

        if origin(self.endpoint)[0] == "https" != origin(url)[0]:
            shown = public_url(url)
            raise BadResponseError(f"The Hub's answer names {shown}, which is not https.", url=shown, retryable=False)

    def _exchange(
        self, method: str, url: str, options: dict[str, Any], headers: Mapping[str, str], *, stream: bool
    ) -> requests.Response:
        import requests

        from hubspool.client.connections import AnswerLimit, answer_limit, origin, prepared

        least_bytes = DEFAULTS.progress_least_bytes if stream else None
        session = self.session
        interrupt = session.interrupt if session.ends_answers else None
        outer = answer_limit.set(AnswerLimit(options["timeout"][1], least_bytes, session.deadline, interrupt))
        try:
            url = prepared(url)  # from here on everybody reads the same host from it
            local = is_loopback(url)
            if not local and Settings.from_env().offline:
                shown = public_url(url)
                raise OfflineModeIsEnabled(f"HF_HUB_OFFLINE is set: no request to {shown}.", url=shown)
            self.check_address(url)
            own = origin(url) == origin(self.endpoint)
            sent = {**self.auth_headers, **session.headers, **headers} if own else dict(headers)
            sent = {"User-Agent": session.user_agent, "Accept-Encoding": "gzip, deflate", **sent}
            session.counts["requests"] += 1
            response = session.pool(local=local).request(
                method, url, headers=sent, auth=_as_given, allow_redirects=False, stream=True, **options
            )
            if own and "RateLimit-Policy" in response.headers:
                waits = pace(response.headers, random.random())  # noqa: S311  jitter
                session.pauses.update({quota: time.monotonic() + wait for quota, wait in waits.items()})
            if not stream or response.status_code // 100 != 2:
                _load(response)
        except requests.RequestException as error:
            failure = _transport_error(error, method, url)
        else:
            return response
        finally:
            answer_limit.reset(outer)
        # Raised here, without the error of requests as its context: that error holds the request with its headers,
        # and so the token.
        raise failure


def _log_failure(error: HubspoolError, wait: float | None) -> None:
    if wait is not None:
        logger.info("A request failed, it is repeated in %.1f s: %s", wait, error)


def _user_agent(product: str) -> str:
    import platform

    import requests

    import hubspool

    parts = [
        f"hubspool/{hubspool.__version__}",
        f"python/{platform.python_version()}",
        f"requests/{requests.__version__}",
    ]
    return "; ".join([*parts, product] if product else parts)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the headers alone: without an auth function, requests lets a ~/.netrc entry replace the token."""
    return request


def _new_pool(*, local: bool) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    from hubspool.client.connections import LimitedAdapter

    pool = requests.Session()
    # requests would prepare the next request of a redirect all the same, and fail at some addresses.
    pool.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # noqa: ARG005
    pool.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    pool.trust_env = not local  # a proxy cannot reach a Hub on this machine
    adapter = LimitedAdapter(
        pool_connections=DEFAULTS.pool_hosts, pool_maxsize=DEFAULTS.pool_connections, max_retries=0
    )
    pool.mount("http://", adapter)
    pool.mount("https://", adapter)
    return pool


def _join(url: str, address: str) -> str:
    try:
        return urljoin(url, address)
    except ValueError:
        shown = public_url(url)
        raise BadResponseError(f"{shown} names {address!r}, which is not an address.", url=shown) from None


def _load(response: requests.Response) -> None:
    """Read the body of an answer into memory; of an error only its status must arrive."""
    try:
        response._content = _read(response, DEFAULTS.answer_bytes)
    except HubspoolError:
        if response.ok:
            raise
        response._content = b""


def _read(response: requests.Response, most: int) -> bytes:
    """Return the body of an answer, of at most `most` bytes, and make the connection free."""
    import requests

    body = bytearray()
    method, url = str(response.request.method), response.url
    problem = ""
    if (encoding := response.headers.get("Content-Encoding", "").strip().lower()) not in _ENCODINGS:
        problem = f"is encoded as {encoding!r}"
    try:
        for block in [] if problem else response.iter_content(DEFAULTS.answer_block_bytes):
            body += block
            if len(body) > most:
                problem = f"is larger than {most} bytes"
                break
    except requests.RequestException as error:
        failure: HubspoolError = _transport_error(error, method, url)
    else:
        if not problem:
            return bytes(body)
        response.close()
        shown = public_url(url)
        what = f"{method} {shown}: the answer {problem}."
        failure = BadResponseError(what, method=method, url=shown, retryable=False)
    raise failure


def _json_of(response: requests.Response) -> Any:
    # Rejected: response.json(). The error of requests holds the request with its headers, and so the token.
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        kind = response.headers.get("Content-Type", "no content type")
        raise BadResponseError(
            f"{response.request.method} {public_url(response.url)} answered {response.status_code} with a body"
            f" that is not JSON ({kind}, {len(response.content)} bytes).",
            method=response.request.method,
            url=public_url(response.url),
            status_code=response.status_code,
        ) from None


def _transport_error(error: requests.RequestException, method: str, url: str) -> HubspoolError:
    import ssl

    from requests import exceptions as r
    from urllib3 import exceptions as u

    causes = list(_chain(error))
    for cause in causes:
        if isinstance(cause, HubspoolError):  # reading the request's body failed, so the request was never complete
            return cause
    request, unreachable = f"{method} {public_url(url)}", "The Hub cannot be reached"
    fields: dict[str, Any] = {"method": method, "url": public_url(url)}

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    unusable = isinstance(error, (r.InvalidURL, r.MissingSchema, r.InvalidSchema, r.InvalidHeader))
    if unusable or has(ssl.SSLCertVerificationError):
        reason = "the address cannot be used" if unusable else "the certificate was not accepted"
        message = failure_text(unreachable, reason, request)
        return HubConnectionError(message, **fields, retryable=False, hint="Check HF_ENDPOINT.")
    # Connect errors before time-outs: a connection that timed out while it was opened carried nothing.
    if has(u.NewConnectionError, u.ConnectTimeoutError, u.NameResolutionError):
        fields["outcome"] = Outcome.NOT_APPLIED
        if not has(u.NewConnectionError):  # which is a ConnectTimeoutError too, by its class
            return HubTimeoutError(failure_text(unreachable, "no connection within the time-out", request), **fields)
        return HubConnectionError(failure_text(unreachable, _innermost(causes), request), **fields)
    if has(u.ReadTimeoutError, TimeoutError):
        message = failure_text("The Hub did not answer within the time-out", "", request)
        return HubTimeoutError(message, **fields, outcome=Outcome.UNKNOWN)
    message = failure_text("The connection to the Hub broke", _innermost(causes), request)
    return HubConnectionError(message, **fields, outcome=Outcome.UNKNOWN)


def _chain(error: BaseException) -> Iterable[BaseException]:
    """Yield an error and the errors that led to it: causes, contexts, and those that urllib3 puts into args."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        linked = [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]
        waiting += [link for link in linked if isinstance(link, BaseException)]


def _innermost(causes: list[BaseException]) -> str:
    """Return the operating system's message, which has no address; urllib3's messages have the query."""
    import ssl

    for cause in causes:
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"TLS says {cause.reason.lower().replace('_', ' ')}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return type(causes[-1]).__name__
