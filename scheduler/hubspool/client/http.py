"""HTTP to the Hub: one pool of connections per process, time-outs on every call, bounded retries.

Not guaranteed: that a request whose answer was lost did nothing. The error says what is known (`Outcome`), and this
module never repeats a request that could act twice.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

from hubspool import fork
from hubspool.client.defaults import DEFAULTS
from hubspool.client.http_errors import error_of, log_warnings, public_url
from hubspool.client.retry import SAFE, Caller, RetryPolicy, call_with_retries
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
        timeout: seconds that a request may be silent; None reads HUBSPOOL_TIMEOUT at each call.
        commit_timeout: the same for commits; None: 90, or HUBSPOOL_TIMEOUT if that is longer.
        retry: replaces the bounds of every retry (not what may be repeated); None keeps those of each call.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    product: str = ""
    interrupt: threading.Event = field(default_factory=threading.Event)
    timeout: float | None = None
    commit_timeout: float | None = None
    retry: RetryPolicy | None = None
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

    def retrying(self, call: Callable[[], T], policy: RetryPolicy) -> T:
        """Return what `call` returns, calling it again as `policy` and its errors allow.

        Raises:
            HubspoolError: The last error.
        """
        if self.retry is not None:
            policy = replace(self.retry, acts_twice=policy.acts_twice, replans=policy.replans)
        return call_with_retries(call, policy, Caller(self.interrupt.wait, _log_failure))

    def limits(self, timeout: float | None = None, *, commit: bool = False) -> tuple[float, float]:
        """Return the connect and the read time-out of a request, in seconds."""
        settings = Settings.from_env()
        timeout = timeout or self.timeout or settings.timeout
        if not commit:
            return timeout, timeout
        return timeout, self.commit_timeout or max(settings.commit_timeout, timeout)


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

    def pages(self, url: str, params: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """Yield the entries of a list that the Hub returns in pages (``Link: <url>; rel="next"``)."""
        next_url: str | None = url
        while next_url is not None:
            response = self.request("GET", next_url, params=params)
            yield from _json_of(response)
            next_url, params = response.links.get("next", {}).get("url"), None

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
        body: Body | None = None,
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
            body: body in blocks.
            headers: more headers.
            stream: leave the answer's body unread; the caller closes it.
            commit: use the longer time-out of a commit.
            timeout: seconds that this request may be silent, in place of the session's.

        Raises:
            RequestError: no answer, or one that is not a success.
        """
        options = {
            "json": json,
            "data": form if body is None else body,
            "timeout": self.session.limits(timeout, commit=commit),
        }
        history: list[requests.Response] = []
        for _ in range(DEFAULTS.max_redirects):
            response = self._exchange(method, url, {**options, "params": params}, headers or {}, stream=stream)
            target = urljoin(url, response.headers.get("Location", ""))
            if response.status_code not in _REDIRECTS or target == url:
                break
            if method not in _READING and (not same_origin(url, target) or response.status_code not in (307, 308)):
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

    def _exchange(
        self, method: str, url: str, options: dict[str, Any], headers: Mapping[str, str], *, stream: bool
    ) -> requests.Response:
        import requests

        local = is_loopback(url)
        if not local and Settings.from_env().offline:
            raise OfflineModeIsEnabled(f"HF_HUB_OFFLINE is set: no request to {public_url(url)}.", url=public_url(url))
        own = same_origin(url, self.endpoint)
        sent = {**self.auth_headers, **self.session.headers, **headers} if own else dict(headers)
        sent.setdefault("User-Agent", self.session.user_agent)
        try:
            return self.session.pool(local=local).request(
                method, url, headers=sent, auth=_as_given, allow_redirects=False, stream=stream, **options
            )
        except requests.RequestException as error:
            failure = _transport_error(error, method, url)
        # Raised here, without the error of requests as its context: that error holds the request with its headers,
        # and so the token.
        raise failure


def _log_failure(error: HubspoolError, wait: float | None) -> None:
    if wait is not None:
        logger.info("A request failed, it is repeated in %.1f s: %s", wait, error)


def same_origin(url: str, other: str) -> bool:
    """Return whether two addresses have the same scheme, host and port."""
    return _origin(url) == _origin(other)


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


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave the headers alone: without an auth function, requests lets a ~/.netrc entry replace the token."""
    return request


def _new_pool(*, local: bool) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests
    from requests.adapters import HTTPAdapter

    pool = requests.Session()
    pool.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    pool.trust_env = not local  # a proxy cannot reach a Hub on this machine
    adapter = HTTPAdapter(pool_connections=DEFAULTS.pool_hosts, pool_maxsize=DEFAULTS.pool_connections, max_retries=0)
    pool.mount("http://", adapter)
    pool.mount("https://", adapter)
    return pool


def _json_of(response: requests.Response) -> Any:
    # Rejected: response.json(). The error of requests holds the request with its headers, and so the token.
    try:
        return json.loads(response.content)
    except ValueError:
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
    what = f"{method} {public_url(url)}"
    fields: dict[str, Any] = {"method": method, "url": public_url(url)}

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    unusable = isinstance(error, (r.InvalidURL, r.MissingSchema, r.InvalidSchema, r.InvalidHeader))
    if unusable or has(ssl.SSLCertVerificationError):
        reason = "the address cannot be used" if unusable else "the certificate was not accepted"
        return HubConnectionError(f"{what}: {reason}.", **fields, retryable=False, hint="Check HF_ENDPOINT.")
    # Connect errors before time-outs: a connection that timed out while it was opened carried nothing.
    if has(u.NewConnectionError, u.ConnectTimeoutError, u.NameResolutionError):
        fields["outcome"] = Outcome.NOT_APPLIED
        if not has(u.NewConnectionError):  # which is a ConnectTimeoutError too, by its class
            return HubTimeoutError(f"{what}: no connection within the time-out.", **fields)
        return HubConnectionError(f"{what}: no connection ({_innermost(causes)}).", **fields)
    if has(u.ReadTimeoutError, TimeoutError):
        return HubTimeoutError(f"{what}: no answer within the time-out.", **fields, outcome=Outcome.UNKNOWN)
    return HubConnectionError(
        f"{what}: the connection broke ({_innermost(causes)}).", **fields, outcome=Outcome.UNKNOWN
    )


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
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return type(causes[-1]).__name__
