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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

from hubspool.errors import ConflictError, HubspoolError, Outcome, ParentCommitMismatchError, RequestError

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
    """

    acts_twice: bool = False
    attempts: int | None = 5
    seconds: float = 60.0
    base: float = 1.0
    cap: float = 16.0
    replans: bool = False


#: One HTTP request that only reads, or that may act twice without harm.
SAFE = RetryPolicy()
#: One HTTP request that would act twice.
UNLESS_APPLIED = RetryPolicy(acts_twice=True)
#: `flush()`: as long as the caller waits.
FLUSH = RetryPolicy(attempts=None, seconds=math.inf, cap=60.0, replans=True)
#: A task of a large upload: as long as the process runs.
LARGE_UPLOAD = RetryPolicy(attempts=None, seconds=math.inf, base=2.0, cap=60.0, replans=True)
#: A change of metadata, which reads the file again after a 412.
METADATA = RetryPolicy(attempts=5, replans=True)

_SHORTEST_PUSH_SECONDS = 60.0


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
    if not isinstance(error, HubspoolError):
        return GiveUp("not an error of the Hub")
    if not can_pass(policy, error):
        return GiveUp("permanent")
    if policy.acts_twice and error.outcome is Outcome.UNKNOWN:
        return GiveUp("may have been applied")
    seconds = _seconds(policy, error, attempt, chance)
    if elapsed + seconds > policy.seconds or (policy.attempts is not None and attempt >= policy.attempts):
        return GiveUp("out of attempts or time")
    return Wait(seconds)


def can_pass(policy: RetryPolicy, error: HubspoolError) -> bool:
    """Whether retrying later can succeed without user action."""
    moved = policy.replans and isinstance(error, (ConflictError, ParentCommitMismatchError))
    return error.retryable or moved


def _seconds(policy: RetryPolicy, error: HubspoolError, attempt: int, chance: float) -> float:
    # The exponent is bounded: 2.0 ** 1024 overflows after a day of attempts.
    seconds = chance * min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 32))
    # The jitter comes on top of what the Hub asks for: all writers that were given the same second would return in it.
    return seconds + (asked_seconds(error) or 0.0)


def asked_seconds(error: BaseException | None) -> float | None:
    """Return how many seconds the Hub asked us to wait, as `error` says; None if it did not ask."""
    return error.retry_after if isinstance(error, RequestError) else None


def call_with_retries(
    call: Callable[[], T],
    policy: RetryPolicy,
    *,
    pause: Callable[[float], bool],
    on_failure: Callable[[HubspoolError, int, float | None], None],
    seconds_left: Callable[[], float] = lambda: math.inf,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> T:
    """Return what `call` returns, calling it again as `policy` and its errors allow.

    Args:
        call: the attempt.
        policy: the bounds.
        pause: waits so many seconds; returns True where the caller must stop waiting.
        on_failure: called after each failed attempt with its error, its number, and the seconds until the next one,
            None for the last one.
        seconds_left: the time that the caller has; a longer wait is not begun.
        clock: monotonic seconds.
        chance: random numbers in [0, 1).

    Raises:
        HubspoolError: the last attempt's. Any other exception passes at once.
    """
    started = clock()
    attempt = 0
    while True:
        attempt += 1
        try:
            return call()
        except HubspoolError as error:
            decision = decide_retry(policy, error, attempt=attempt, elapsed=clock() - started, chance=chance())
            wait = decision.seconds if isinstance(decision, Wait) and decision.seconds <= seconds_left() else None
            on_failure(error, attempt, wait)
            if wait is None or pause(wait):
                raise


_WINDOW = re.compile(r'(?:^|,)\s*"?[^",;]*"?\s*;\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)')


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return how many seconds the Hub asks us to wait, None when it does not say.

    Reads ``RateLimit: "api";r=0;t=55`` (an exhausted window that ends in t seconds) and ``Retry-After`` as
    seconds or as a date. Where both are given the longer wait counts.
    """
    from email.utils import parsedate_to_datetime

    waits = [float(t) + 1.0 for r, t in _WINDOW.findall(headers.get("RateLimit", "")) if int(r) == 0]
    given = headers.get("Retry-After", "").strip()
    if given.isdigit():
        waits.append(float(given))
    elif given:
        try:
            date = parsedate_to_datetime(given)
        except ValueError:
            return max(waits, default=None)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        waits.append(max(0.0, (date - (now or datetime.now(timezone.utc))).total_seconds()))
    return max(waits, default=None)
