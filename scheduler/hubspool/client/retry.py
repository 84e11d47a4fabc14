"""Decides whether and when a failed call is repeated; no other module does.

`decide_retry` is pure: policy, error, attempt and time in, `Wait` or `GiveUp` out. `call_with_retries` is the loop
around it. The policies of all callers are listed below: HTTP requests, pushes, flushes, large uploads and metadata
updates.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from hubspool.errors import (
    ConflictError,
    HubspoolError,
    Outcome,
    ParentCommitMismatchError,
    RequestError,
    RevisionNotFoundError,
)

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds of the retries of one call.

    Args:
        acts_twice: a repetition would act a second time, so there is one only when the first request certainly did
            nothing.
        attempts: calls in all, the first included; None for no limit.
        seconds: no attempt starts later than this after the first one.
        base: each wait is random: at most this many seconds for the first, twice as many for each further one.
        cap: longest wait that we choose ourselves, seconds; the Hub may ask for longer ones.
        replans: each attempt reads the branch again and makes another request, so that a conflict (409) and a branch
            that moved (412) can pass too.
        awaits_commit: only a commit that the Hub does not know yet is asked for again.
    """

    acts_twice: bool = False
    attempts: int | None = 5
    seconds: float = 60.0
    base: float = 1.0
    cap: float = 16.0
    replans: bool = False
    awaits_commit: bool = False


#: One HTTP request that only reads, or that may act twice without harm.
SAFE = RetryPolicy()
#: The requests that read one commit, around the policy of each: it exists, but a replica of the Hub may lag behind.
AT_COMMIT = RetryPolicy(awaits_commit=True)
#: The newest commit of a branch, of which a newer one is known: as long as an answer may be old.
NEWER_HEAD = RetryPolicy(attempts=None, cap=8.0, awaits_commit=True)
#: One HTTP request that would act twice.
UNLESS_APPLIED = RetryPolicy(acts_twice=True)
#: `flush()`: as long as the caller waits.
FLUSH = RetryPolicy(attempts=None, seconds=math.inf, cap=60.0, replans=True)
#: A task of a large upload: as long as the process runs.
LARGE_UPLOAD = RetryPolicy(attempts=None, seconds=math.inf, base=2.0, cap=60.0, replans=True)
#: A commit on top of the newest one, which reads the branch again after a 409 or 412.
ON_HEAD = RetryPolicy(acts_twice=True, replans=True)
#: A change of metadata, which reads the file again after a 412.
METADATA = RetryPolicy(attempts=5, replans=True)

_SHORTEST_PUSH_SECONDS = 60.0
#: A month; neither a lock nor a date takes every number that a header may hold.
_LONGEST_ASKED_SECONDS = 30 * 24 * 3600.0


def push_policy(period: float) -> RetryPolicy:
    """Return the policy of one push: until the next period, which plans again; at least a minute.

    Args:
        period: seconds between two pushes.
    """
    return RetryPolicy(attempts=None, seconds=max(period, _SHORTEST_PUSH_SECONDS), cap=60.0, replans=True)


@dataclass(frozen=True)
class Wait:
    """Try again after this many seconds."""

    seconds: float


@dataclass(frozen=True)
class GiveUp:
    """Raise the error."""

    reason: str


def decide_retry(
    policy: RetryPolicy, error: BaseException, *, attempt: int, elapsed: float, chance: float
) -> Wait | GiveUp:
    """Decide what follows a failed attempt.

    Args:
        policy: the bounds.
        error: what the attempt ended with; only a `HubspoolError` can pass.
        attempt: number of attempts made so far, 1 after the first.
        elapsed: seconds since the first one started.
        chance: a random number in [0, 1). Full jitter: writers that failed together must not return together.
    """
    if not isinstance(error, HubspoolError) or not can_pass(policy, error):
        return GiveUp("permanent")
    if policy.acts_twice and error.outcome is Outcome.UNKNOWN:
        return GiveUp("may have been applied")
    seconds = _seconds(policy, error, attempt, chance)
    if elapsed + seconds > policy.seconds or (policy.attempts is not None and attempt >= policy.attempts):
        return GiveUp("out of attempts or time")
    return Wait(seconds)


def can_pass(policy: RetryPolicy, error: BaseException) -> bool:
    """Whether retrying later can succeed without user action."""
    if policy.awaits_commit:
        return isinstance(error, RevisionNotFoundError)
    moved = policy.replans and isinstance(error, (ConflictError, ParentCommitMismatchError))
    return moved or (isinstance(error, HubspoolError) and error.retryable)


def _seconds(policy: RetryPolicy, error: HubspoolError, attempt: int, chance: float) -> float:
    # The exponent is bounded: 2.0 ** 1024 overflows after a day of attempts.
    seconds = chance * min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 32))
    # The jitter comes on top of what the Hub asks for: all writers that were given the same second would return in it.
    return seconds + (asked_seconds(error) or 0.0)


def asked_seconds(error: BaseException | None) -> float | None:
    """Return how many seconds the Hub asked us to wait, as `error` says; None if it did not ask."""
    return error.retry_after if isinstance(error, RequestError) else None


@dataclass(frozen=True)
class Caller:
    """Who waits for a call, and how it may be repeated.

    Args:
        pause: waits so many seconds; returns True where the caller must stop waiting.
        on_failure: called after each failed attempt with its error, and the seconds until the next one, None for the
            last one.
        seconds_left: returns the time that the caller has; a longer wait is not begun.
        on_inner_wait: called when a call inside this one failed and is repeated after so many seconds.
    """

    pause: Callable[[float], bool]
    on_failure: Callable[[HubspoolError, float | None], None] = lambda error, wait: None  # noqa: ARG005
    seconds_left: Callable[[], float] = lambda: math.inf
    on_inner_wait: Callable[[HubspoolError, float], None] = lambda error, wait: None  # noqa: ARG005

    def within(self, outer: Caller) -> Caller:
        """Return this caller inside a call of `outer`: no wait outlasts either of them."""

        def pause(seconds: float) -> bool:
            return outer.pause(seconds) or self.pause(0)

        def report(error: HubspoolError, wait: float | None) -> None:
            self.on_failure(error, wait)
            if wait is not None:  # the last failure reaches `outer` as the error of its own attempt
                outer.on_inner_wait(error, wait)

        return Caller(pause, report, lambda: min(self.seconds_left(), outer.seconds_left()), outer.on_inner_wait)


#: The caller around the running code: a request must not wait longer than its push, nor the push than its flush.
_outer: ContextVar[Caller | None] = ContextVar("hubspool_caller", default=None)


@contextmanager
def beside_outer() -> Iterator[None]:
    """Run calls whose failures are not those of the call around them; they still end with it."""
    outer = _outer.get()
    token = _outer.set(None if outer is None else Caller(outer.pause, seconds_left=outer.seconds_left))
    try:
        yield
    finally:
        _outer.reset(token)


def call_with_retries(call: Callable[[], T], policy: RetryPolicy, caller: Caller) -> T:
    """Return what `call` returns, calling it again as `policy` and its errors allow.

    Calls nest: the waits of a request inside a push end with those of the push. A thread that works for a call must run
    in a copy of its context (`contextvars.copy_context`).

    Args:
        call: the attempt.
        policy: the bounds.
        caller: who waits.

    Raises:
        HubspoolError: the last attempt's. Any other exception passes at once.
    """
    outer = _outer.get()
    caller = caller if outer is None else caller.within(outer)
    token = _outer.set(caller)
    started = time.monotonic()
    attempt = 0
    try:
        while True:
            attempt += 1
            try:
                return call()
            except HubspoolError as error:
                elapsed, chance = time.monotonic() - started, random.random()  # noqa: S311  jitter
                decision = decide_retry(policy, error, attempt=attempt, elapsed=elapsed, chance=chance)
                wait = decision.seconds if isinstance(decision, Wait) else None
                if wait is not None and wait > caller.seconds_left():
                    wait = None
                caller.on_failure(error, wait)
                if wait is None or caller.pause(wait):
                    raise
    finally:
        _outer.reset(token)


_WINDOW = re.compile(r'(?:^|,)\s*"?([^",;]*)"?\s*;\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)')


_QUOTA = re.compile(r'"?([^",;]*)"?\s*;\s*q\s*=\s*(\d+)')


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return how many seconds the Hub asks us to wait, None when it does not say.

    Reads ``RateLimit: "api";r=0;t=55`` (an exhausted window that ends in t seconds) and ``Retry-After`` as
    seconds or as a date. Where both are given the longer wait counts.
    """
    seconds = _asked(headers, now)
    return None if seconds is None else min(seconds, _LONGEST_ASKED_SECONDS)


def pace(headers: Mapping[str, str], chance: float) -> dict[str, float]:
    """Return how many seconds pushes to a bucket pause, so that they use less than half of what the Hub allows.

    The Hub has several quotas (calls of its API, downloads); the result has those that an answer names.

    Reads ``RateLimit: "api";r=250;t=55`` and ``RateLimit-Policy: "fixed window";"api";q=500;w=300``.

    Args:
        headers: of an answer.
        chance: a random number in [0, 1): writers that pause must not return together.
    """
    quotas = dict(_QUOTA.findall(headers.get("RateLimit-Policy", "")))
    windows = _WINDOW.findall(headers.get("RateLimit", ""))
    return {
        name: 0.0
        if 2 * int(left) > int(quotas[name])
        else min((int(seconds) + 1) * (1 + chance / 2), _LONGEST_ASKED_SECONDS)
        for name, left, seconds in windows
        if name in quotas
    }


def hub_time(headers: Mapping[str, str]) -> datetime:
    """Return the Hub's time of an answer, from its Date header; this machine's, which may be wrong, without one."""
    return _date(headers.get("Date", "")) or datetime.now(timezone.utc)


def _date(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date.replace(tzinfo=timezone.utc) if date.tzinfo is None else date


def _asked(headers: Mapping[str, str], now: datetime | None) -> float | None:
    waits = [float(t) + 1.0 for _, r, t in _WINDOW.findall(headers.get("RateLimit", "")) if int(r) == 0]
    given = headers.get("Retry-After", "").strip()
    if given.isdigit():
        waits.append(float(given))
    elif (date := _date(given)) is not None:  # both dates are the Hub's
        waits.append(max(0.0, (date - (now or hub_time(headers))).total_seconds()))
    return max(waits, default=None)
