"""Whether to try again, and when: pure decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum

from hubspool.errors import HubspoolError, Outcome, RequestError


class Repeat(Enum):
    """What a repeated request does."""

    SAFE = "safe"
    #: It would act twice, so it is repeated only when the first one certainly did nothing.
    IF_NOT_APPLIED = "if not applied"
    NEVER = "never"


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds of the retries of one call.

    Attributes:
        repeat: What a repetition may do.
        attempts: Requests in all, the first included.
        seconds: No attempt starts later than this after the first one.
        base: The first wait is a random part of this many seconds; each further one of twice as many.
        cap: Longest wait that we choose ourselves, seconds; the Hub may ask for longer ones.
    """

    repeat: Repeat = Repeat.SAFE
    attempts: int = 5
    seconds: float = 60.0
    base: float = 1.0
    cap: float = 16.0


@dataclass(frozen=True)
class Wait:
    """Try again after this many seconds."""

    seconds: float


@dataclass(frozen=True)
class GiveUp:
    """Raise the error."""

    reason: str


def decide_retry(
    policy: RetryPolicy, error: HubspoolError, *, attempt: int, elapsed: float, chance: float
) -> Wait | GiveUp:
    """Decide what follows a failed attempt.

    Args:
        policy: The bounds.
        error: What the attempt ended with.
        attempt: Number of attempts made so far, 1 after the first.
        elapsed: Seconds since the first one started.
        chance: A random number in [0, 1). Full jitter: writers that failed together must not return together.
    """
    if not error.retryable:
        return GiveUp("permanent")
    if policy.repeat is Repeat.NEVER:
        return GiveUp("not repeatable")
    if policy.repeat is Repeat.IF_NOT_APPLIED and error.outcome is Outcome.UNKNOWN:
        return GiveUp("may have been applied")
    if attempt >= policy.attempts:
        return GiveUp("out of attempts")
    seconds = chance * min(policy.cap, policy.base * 2.0 ** (attempt - 1))
    asked = error.retry_after if isinstance(error, RequestError) else None
    if asked is not None:
        seconds += asked  # the jitter on top: everybody who was told the same second would come in it
    if elapsed + seconds > policy.seconds:
        return GiveUp("out of time")
    return Wait(seconds)


_WINDOW = re.compile(r'(?:^|,)\s*"?[^",;]*"?\s*;\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)')


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return how many seconds the Hub asks us to wait, None when it does not say.

    Reads ``RateLimit: "api";r=0;t=55`` (an exhausted window that ends in t seconds) and ``Retry-After`` as
    seconds or as a date. Where both are given the longer wait counts.
    """
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
