"""The bad days: what a test can make the local Hub do to its clients."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RateLimit:
    """At most `requests` in each window of `seconds`, for each repository apart if asked; more are answered with 429.

    `Fault(route="commit", limit=RateLimit(128, per_repo=True))` is what the Hub allows.
    """

    requests: int
    seconds: float = 3600
    per_repo: bool = False

    def __post_init__(self) -> None:
        for number in (self.requests, self.seconds):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or number < 0:
                raise ValueError(f"{number!r} is no number of requests or seconds.")


@dataclass(frozen=True)
class Fault:
    """One way in which requests go wrong. Without any of the effects below it only counts.

    Which requests:

    Attributes:
        route: Name of a route, or several; None for any. The names are those of `hub.requests`.
        path: Regular expression searched in the raw path.
        method: In capitals.
        after: How many matching requests pass first.
        times: How many are hit then; None for all.

    What happens to them, combined as one likes:

        delay: Seconds before anything else happens (`math.inf`: silence until the Hub stops or the faults are
            cleared). A request whose client has gone by then does not take effect.
        status: Answered with this status, `headers` and `body`.
        headers: Added to the answer, also to a real one.
        body: Of the answer; text or bytes, HTML or broken JSON as one likes.
        drop: The connection is reset in place of an answer.
        applied: The request takes effect before `status` or `drop`: the client cannot know. Otherwise it does
            not.
        late: The request is answered by `status`, or dropped, and takes effect this many seconds later; with
            `math.inf` when `faults.release()` is called.
        keep_bytes: Only so many bytes of the answer's body are sent, then the connection ends.
        stale: Reads are answered from the state this many commits ago.
        full_disk: The request runs, and the disk is full after it has written this many files: 507.
        limit: A rate limit over the matching requests, with the headers that the Hub sends. `times` does not
            count.
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
            raise ValueError(f"{self.status} is no HTTP status of an answer.")
        if wrong := [name for name, value in self.headers.items() if not isinstance(value, str)]:
            raise ValueError(f"The value of the header {wrong[0]!r} must be a text.")

    @classmethod
    def storage_quota(cls, **options: Any) -> Fault:
        """LFS batches and commits are refused as when the owner has no storage left."""
        text = "Private repository storage limit reached, please upgrade your plan to increase your private storage."
        told = {"status": 403, "headers": {"X-Error-Message": text}, "body": json.dumps({"error": text})}
        where = {"path": "/commit/[^/]+$|/info/lfs/objects/batch$", "times": None}
        return cls(**{**told, **where, **options})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Fault:
        """A fault as `hubspool hub --faults` takes it: the attributes by name, `delay` and `late` also as "forever".

        `{"storage_quota": true}` stands for `Fault.storage_quota()`; further attributes may come with it.

        Raises:
            ValueError: An attribute is unknown or of another type.
        """
        values: dict[str, Any] = {name: math.inf if value == "forever" else value for name, value in content.items()}
        make = cls.storage_quota if values.pop("storage_quota", False) is True else cls
        for name, value in values.items():
            if (
                name not in _TYPES
                or isinstance(value, bool) != (_TYPES[name] is bool)
                or not isinstance(value, _TYPES[name])
            ):
                raise ValueError(
                    f"{name!r} is no attribute of a fault that can be {value!r}: see hubspool.local_hub.Fault"
                )
        if "limit" in values:
            try:
                values["limit"] = RateLimit(**values["limit"])
            except TypeError:
                raise ValueError("a limit has the attributes requests, seconds and per_repo") from None
        if isinstance(values.get("route"), list):
            values["route"] = tuple(map(str, values["route"]))
        try:
            re.compile(values.get("path", ""))
        except re.error as error:
            raise ValueError(f"the path is no regular expression: {error}") from None
        return make(**values)

    @property
    def routes(self) -> tuple[str, ...]:
        return (self.route,) if isinstance(self.route, str) else self.route or ()

    def matches(self, route: str, method: str, path: str) -> bool:
        return (
            (self.route is None or route in self.routes)
            and (self.method is None or method == self.method)
            and (self.path is None or re.search(self.path, path) is not None)
        )

    @property
    def replaces_answer(self) -> bool:
        return self.status is not None or self.drop or self.late is not None


_TYPES: dict[str, Any] = {
    "route": (str, list),
    **dict.fromkeys(("path", "method", "body"), str),
    **dict.fromkeys(("after", "times", "status", "keep_bytes", "stale", "full_disk"), int),
    **dict.fromkeys(("delay", "late"), (int, float)),
    **dict.fromkeys(("drop", "applied"), bool),
    **dict.fromkeys(("headers", "limit"), dict),
}
_REPO = re.compile(r"(?:models|datasets|spaces)/[^/]+/[^/]+")


@dataclass(frozen=True)
class FaultHit:
    """A fault that really happened to a request."""

    fault: Fault
    route: str
    method: str
    path: str


@dataclass
class _Armed:
    """A fault and what it has seen; changed under the lock of `Faults`."""

    fault: Fault
    seen: int = 0
    windows: dict[str, tuple[float, int]] = field(default_factory=dict)  # start of each, and requests in it


@dataclass(frozen=True)
class Verdict:
    """What is to happen to one request: at most one fault; rate limit headers go with the answer."""

    fault: Fault | None
    headers: Mapping[str, str]
    cleared: threading.Event


NO_FAULT = Verdict(None, {}, threading.Event())


class Faults:
    """The faults that are armed; the first one that matches a request hits it.

    Thread-safety: every method may be called from any thread.
    """

    def __init__(self, routes: Collection[str]) -> None:
        self._routes = routes
        self._armed: list[_Armed] = []
        self._hits: list[FaultHit] = []
        self._late = 0
        self._releases = 0
        self.stopped = False
        self._cleared = threading.Event()
        self._changed = threading.Condition()

    def add(self, fault: Fault) -> Fault:
        """Arm a fault; returns it, to be looked for among the hits.

        Raises:
            ValueError: It names a route that does not exist, and so would never happen.
        """
        if unknown := [route for route in fault.routes if route not in self._routes]:
            raise ValueError(f"No such route: {', '.join(unknown)}. There are: {', '.join(sorted(self._routes))}.")
        with self._changed:
            self._armed.append(_Armed(fault))
        return fault

    def clear(self) -> None:
        """Disarm all faults and end their delays; hits are kept, late requests still wait for `release()`."""
        with self._changed:
            self._armed.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    @property
    def armed(self) -> list[Fault]:
        """What is armed, in the order in which it was added."""
        with self._changed:
            return [armed.fault for armed in self._armed]

    @property
    def hits(self) -> list[FaultHit]:
        """What happened so far, oldest first."""
        with self._changed:
            return list(self._hits)

    def wait_for_hits(self, count: int = 1, *, timeout: float = 30) -> bool:
        """Wait until `count` faults have happened; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._hits) >= count, timeout)

    def release(self, *, timeout: float = 30) -> bool:
        """Apply the late requests now and wait until they took effect; False after `timeout` seconds."""
        with self._changed:
            self._releases += 1
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._late == 0, timeout)

    # -- for the server

    def judge(self, route: str, method: str, path: str) -> Verdict:
        """Count a request that arrived and say what happens to it."""
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
                    self._hits.append(FaultHit(fault, route, method, path))
                    self._changed.notify_all()
            return Verdict(found, headers, self._cleared)

    @staticmethod
    def _due(armed: _Armed) -> Fault | None:
        armed.seen += 1
        number = armed.seen - armed.fault.after
        return armed.fault if number > 0 and (armed.fault.times is None or number <= armed.fault.times) else None

    @staticmethod
    def _over_limit(armed: _Armed, path: str, headers: dict[str, str]) -> Fault | None:
        limit, now = armed.fault.limit, time.monotonic()
        assert limit is not None  # the caller's condition
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
        """A late request arrived; returns what `wait_late` wants."""
        with self._changed:
            self._late += 1
            return self._releases

    def wait_late(self, ticket: int, seconds: float) -> bool:
        """Wait until a late request is due; False when the Hub stops first. Not for the event loop."""
        with self._changed:
            timeout = None if math.isinf(seconds) else seconds
            self._changed.wait_for(lambda: self.stopped or self._releases > ticket, timeout)
            return not self.stopped

    def end_late(self) -> None:
        with self._changed:
            self._late -= 1
            self._changed.notify_all()

    def start(self) -> None:
        """The Hub starts (again)."""
        with self._changed:
            self.stopped = False
            self._cleared = threading.Event()

    def stop(self) -> None:
        """End every wait; late requests are forgotten."""
        with self._changed:
            self.stopped = True
            self._cleared.set()
            self._changed.notify_all()
