"""Faults: errors, delays, lost answers and rate limits that a test makes the local Hub produce."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hubspool.local_hub.limits import LIMITS


@dataclass(frozen=True)
class RateLimit:
    """At most `requests` in each window of `seconds`; further ones are answered with 429.

    `Fault(route="commit", limit=RateLimit(128, per_repo=True))` is the Hub's own limit.

    Attributes:
        per_repo: whether each repository has a window of its own.
    """

    requests: int
    seconds: float = 3600
    per_repo: bool = False

    def __post_init__(self) -> None:
        for number in (self.requests, self.seconds):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or number < 0:
                raise ValueError(f"{number!r} is not a number of requests or seconds.")


@dataclass(frozen=True)
class Fault:
    """A failure of the local Hub: which requests it hits, and what happens to them.

    The attributes from `route` to `times` choose the requests. The others are effects, which can be combined; a fault
    without effects only counts requests.

    Attributes:
        route: name of a route, or several; None for any. The names are those of `hub.requests`.
        path: regular expression that is searched in the raw path.
        method: in capitals.
        after: number of matching requests that pass first.
        times: number of requests that are hit then; None for all.
        delay: seconds before anything else happens; `math.inf` lasts until the Hub stops or the faults are cleared. A
            request whose client is gone by then does not take effect.
        status: the answer has this status, with `headers` and `body`.
        headers: added to the answer, also to a real one.
        body: body of the answer: text or bytes, also HTML or broken JSON.
        drop: the connection is reset in place of an answer.
        applied: the request takes effect before `status` or `drop`, which the client cannot know. Otherwise it has no
            effect.
        late: the request is answered by `status`, or dropped, and takes effect this many seconds later; with
            `math.inf` at `faults.release()`.
        keep_bytes: the connection ends after this many bytes of the answer's body.
        stale: reads of a revision are answered from the state this many commits ago, and lists of a bucket's files (by
            folder or by path) from that this many changed files ago. Git's own protocol, accounts, the content in
            buckets, and content that is addressed by its hash have no older state. It counts as a hit only if the state
            was older.
        full_disk: the disk is full after the request has written this many files: 507. It counts as a hit only then.
        limit: a rate limit over the matching requests, with the headers of the Hub. It ignores `after` and `times`.
    """

    route: str | tuple[str, ...] | None = None
    path: str | None = None
    method: str | None = None
    after: int = 0
    times: int | None = 1
    delay: float = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | bytes = ""
    drop: bool = False
    applied: bool = False
    late: float | None = None
    keep_bytes: int | None = None
    stale: int = 0
    full_disk: int | None = None
    limit: RateLimit | None = None

    def __post_init__(self) -> None:
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"{self.status} is not the HTTP status of an answer.")
        if wrong := [name for name, value in self.headers.items() if not isinstance(value, str)]:
            raise ValueError(f"The value of the header {wrong[0]!r} must be a string.")

    @classmethod
    def storage_quota(cls, **options: Any) -> Fault:
        """Return the fault of a full account: LFS batches and commits are refused with the Hub's 403."""
        text = "Private repository storage limit reached, please upgrade your plan to increase your private storage."
        effect = {"status": 403, "headers": {"X-Error-Message": text}, "body": json.dumps({"error": text})}
        where = {"path": "/commit/[^/]+$|/info/lfs/objects/batch$", "times": None}
        return cls(**{**effect, **where, **options})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Fault:
        """Return a fault from the JSON that `hubspool hub --faults` accepts: its attributes by name.

        `delay` and `late` may be "forever". `{"storage_quota": true}` means `Fault.storage_quota()`, and can be
        combined with other attributes.

        Raises:
            ValueError: An attribute is unknown or has another type.
        """
        values: dict[str, Any] = {name: math.inf if value == "forever" else value for name, value in content.items()}
        make = cls.storage_quota if values.pop("storage_quota", False) is True else cls
        for name, value in values.items():
            if not _fits(name, value):
                raise ValueError(f"{name!r} cannot be {value!r}: see the attributes of hubspool.local_hub.Fault")
        if "limit" in values:
            try:
                values["limit"] = RateLimit(**values["limit"])
            except TypeError:
                raise ValueError("A limit has the attributes requests, seconds and per_repo") from None
        if isinstance(values.get("route"), list):
            values["route"] = tuple(map(str, values["route"]))
        try:
            re.compile(values.get("path", ""))
        except re.error as error:
            raise ValueError(f"The path is not a regular expression: {error}") from None
        return make(**values)

    @property
    def routes(self) -> tuple[str, ...]:
        """The names in `route`."""
        return (self.route,) if isinstance(self.route, str) else self.route or ()

    def matches(self, route: str, method: str, path: str) -> bool:
        """Whether the fault chooses a request, before `after` and `times`."""
        return (
            (self.route is None or route in self.routes)
            and (self.method is None or method == self.method)
            and (self.path is None or re.search(self.path, path) is not None)
        )

    @property
    def replaces_answer(self) -> bool:
        """Whether the client does not get the request's own answer."""
        return self.status is not None or self.drop or self.late is not None

    @property
    def may_miss(self) -> bool:
        """Whether only the answer shows if the fault had an effect."""
        always = self.replaces_answer or self.delay or self.headers or self.keep_bytes is not None
        return bool(self.stale or self.full_disk is not None) and not always


_TYPES: dict[str, Any] = {
    "route": (str, list),
    **dict.fromkeys(("path", "method", "body"), str),
    **dict.fromkeys(("after", "times", "status", "keep_bytes", "stale", "full_disk"), int),
    **dict.fromkeys(("delay", "late"), (int, float)),
    **dict.fromkeys(("drop", "applied"), bool),
    **dict.fromkeys(("headers", "limit"), dict),
}
_REPO = re.compile(r"(?:models|datasets|spaces|buckets)/[^/]+/[^/]+")


def _fits(name: str, value: object) -> bool:
    kind = _TYPES.get(name, ())
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


@dataclass(frozen=True)
class FaultHit:
    """A fault that happened to a request."""

    fault: Fault
    route: str
    method: str
    path: str


@dataclass
class _ArmedFault:
    """A fault and its counts, which change under the lock of `Faults`.

    Attributes:
        seen: matching requests so far.
        windows: of a rate limit, by repository: start of the window and requests in it.
    """

    fault: Fault
    seen: int = 0
    windows: dict[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class FaultDecision:
    """What happens to one request: at most one fault, and the headers of rate limits.

    Attributes:
        cleared: set when the faults are cleared, which ends a delay.
    """

    fault: Fault | None
    headers: Mapping[str, str]
    cleared: threading.Event


NO_FAULT = FaultDecision(None, {}, threading.Event())


class Faults:
    """The faults of one Hub; the first one that matches a request hits it.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, routes: Collection[str]) -> None:
        self._routes = routes
        self._armed: list[_ArmedFault] = []
        self._hits: list[FaultHit] = []
        self._late = 0
        self._releases = 0
        self.stopped = False
        self._cleared = threading.Event()
        self._changed = threading.Condition()  # re-entrant

    def add(self, fault: Fault) -> Fault:
        """Add a fault, and return it for comparison with `hits`.

        Raises:
            ValueError: The fault names an unknown route, so that it would never happen.
        """
        if unknown := [route for route in fault.routes if route not in self._routes]:
            raise ValueError(f"No such route: {', '.join(unknown)}. There are: {', '.join(sorted(self._routes))}.")
        with self._changed:
            self._armed.append(_ArmedFault(fault))
        return fault

    def clear(self) -> None:
        """Remove all faults and end their delays. Hits are kept, and late requests still wait for `release()`."""
        with self._changed:
            self._armed.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    @property
    def armed(self) -> list[Fault]:
        """The added faults, oldest first."""
        with self._changed:
            return [armed.fault for armed in self._armed]

    @property
    def hits(self) -> list[FaultHit]:
        """The faults that happened, oldest first."""
        with self._changed:
            return list(self._hits)

    def wait_for_hits(self, count: int = 1, *, timeout: float = LIMITS.wait_seconds) -> bool:
        """Wait until `count` faults have happened; return False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._hits) >= count, timeout)

    def release(self, *, timeout: float = LIMITS.wait_seconds) -> bool:
        """Apply the late requests now and wait until they took effect; return False after `timeout` seconds."""
        with self._changed:
            self._releases += 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._late == 0, timeout)

    # -- called by the server

    def decide(self, route: str, method: str, path: str) -> FaultDecision:
        """Count a request and return what happens to it."""
        headers: dict[str, str] = {}
        with self._changed:
            found: Fault | None = None
            for armed in self._armed:
                fault = armed.fault
                if (found is not None and fault.limit is None) or not fault.matches(route, method, path):
                    continue
                effect = self._over_limit(armed, path, headers) if fault.limit is not None else self._due(armed)
                if found is None and effect is not None:
                    found = effect
                    if not fault.may_miss:
                        self.note_hit(FaultHit(fault, route, method, path))
            return FaultDecision(found, headers, self._cleared)

    def note_hit(self, hit: FaultHit) -> None:
        """Record a fault that happened."""
        with self._changed:
            self._hits.append(hit)
            self._changed.notify_all()

    @staticmethod
    def _due(armed: _ArmedFault) -> Fault | None:
        armed.seen += 1
        number = armed.seen - armed.fault.after
        return armed.fault if number > 0 and (armed.fault.times is None or number <= armed.fault.times) else None

    @staticmethod
    def _over_limit(armed: _ArmedFault, path: str, headers: dict[str, str]) -> Fault | None:
        limit, now = armed.fault.limit, time.monotonic()
        assert limit is not None  # `decide` checks it
        repo = _REPO.search(path) if limit.per_repo else None
        key = repo[0] if repo else ""
        start, used = armed.windows.get(key, (now, 0))
        if now - start >= limit.seconds:
            start, used = now, 0
        armed.windows[key] = start, used + 1
        left = max(limit.requests - used - 1, 0)
        seconds = math.ceil(limit.seconds - (now - start))
        headers["RateLimit"] = f'"api";r={left};t={seconds}'
        headers["RateLimit-Policy"] = f'"fixed window";"api";q={limit.requests};w={math.ceil(limit.seconds)}'
        if used < limit.requests:
            return None
        text = '{"error": "You have been rate limited; we suggest that you wait and try again."}'
        return Fault(status=429, headers=dict(armed.fault.headers), body=armed.fault.body or text)

    def begin_late(self) -> int:
        """Count a late request; return the ticket for `wait_late`."""
        with self._changed:
            self._late += 1
            return self._releases

    def wait_late(self, ticket: int, seconds: float) -> bool:
        """Block until a late request is due; return False if the Hub stops first."""
        with self._changed:
            timeout = None if math.isinf(seconds) else seconds
            self._changed.wait_for(lambda: self.stopped or self._releases > ticket, timeout)
            return not self.stopped

    def end_late(self) -> None:
        """End what `begin_late` counted."""
        with self._changed:
            self._late -= 1
            self._changed.notify_all()

    def start(self) -> None:
        """Allow waiting again after `stop`."""
        with self._changed:
            self.stopped = False
            self._cleared = threading.Event()

    def stop(self) -> None:
        """End every wait; late requests do not take effect."""
        with self._changed:
            self.stopped = True
            self._cleared.set()
            self._changed.notify_all()
