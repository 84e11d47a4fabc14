"""Whether to try again, and when."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from hubspool.client.retry import GiveUp, RetryPolicy, Wait, decide_retry, hub_time, retry_after
from hubspool.errors import (
    BadRequestError,
    BadResponseError,
    HubConnectionError,
    HubspoolError,
    HubTimeoutError,
    Outcome,
    RateLimitedError,
)

SAFE = RetryPolicy()
COMMIT = RetryPolicy(acts_twice=True)
LIMITED = RateLimitedError("m", status_code=429, retry_after=7)
REFUSED = HubConnectionError("m", outcome=Outcome.NOT_APPLIED)
LOST = HubTimeoutError("m", outcome=Outcome.UNKNOWN)


def decide(policy: RetryPolicy, error: HubspoolError, *, attempt: int = 1, elapsed: float = 0, chance: float = 0.5):  # type: ignore[no-untyped-def]
    return decide_retry(policy, error, attempt=attempt, elapsed=elapsed, chance=chance)


@pytest.mark.parametrize("error", [LIMITED, REFUSED])
def test_a_commit_that_was_certainly_not_applied_is_sent_again(error: HubspoolError) -> None:
    assert isinstance(decide(COMMIT, error), Wait)


@pytest.mark.parametrize("error", [LOST, BadResponseError("m", status_code=200)])
def test_a_commit_that_may_have_been_applied_is_never_sent_again(error: HubspoolError) -> None:
    assert isinstance(decide(COMMIT, error), GiveUp)
    assert isinstance(decide(SAFE, error), Wait)


def test_permanent_errors_are_not_retried() -> None:
    assert isinstance(decide(SAFE, BadRequestError("m", status_code=400)), GiveUp)


def test_attempts_and_time_are_bounded() -> None:
    assert isinstance(decide(SAFE, REFUSED, attempt=SAFE.attempts), GiveUp)
    assert isinstance(decide(SAFE, REFUSED, elapsed=SAFE.seconds), GiveUp)
    assert isinstance(decide(SAFE, REFUSED, attempt=SAFE.attempts - 1), Wait)


def test_waits_double_up_to_a_cap_and_are_spread_over_the_whole_range() -> None:
    assert [decide(SAFE, REFUSED, attempt=n, chance=1.0).seconds for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert decide(SAFE, REFUSED, chance=0.0).seconds == 0
    patient = RetryPolicy(attempts=100, seconds=1000, cap=16)
    assert decide(patient, REFUSED, attempt=50, chance=1.0).seconds == 16


def test_the_hubs_wish_comes_before_our_own_wait() -> None:
    assert decide(SAFE, LIMITED, chance=0.0).seconds == 7
    assert decide(SAFE, LIMITED, chance=0.5).seconds == 7.5
    too_long = RateLimitedError("m", status_code=429, retry_after=SAFE.seconds)
    assert isinstance(decide(SAFE, too_long), GiveUp)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:10 GMT"}, 10),
        ({"Retry-After": "Wed, 21 Oct 2026 07:27:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 56),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({"RateLimit": '"api";r=3;t=55, "resolvers";r=0;t=9'}, 10),
        ({"RateLimit": '"api";r=0;t=5', "Retry-After": "60"}, 60),
        ({"RateLimit": "nonsense", "Retry-After": "-1"}, None),
    ],
)
def test_what_the_hub_asks_for_is_read_from_its_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=datetime(2026, 10, 21, 7, 28, tzinfo=timezone.utc)) == seconds


def test_a_date_is_compared_with_the_hubs_clock_and_not_with_ours() -> None:
    headers = {"Date": "Wed, 21 Oct 2020 07:28:00 GMT", "Retry-After": "Wed, 21 Oct 2020 07:29:30 GMT"}
    assert retry_after(headers) == 90
    assert hub_time(headers) == datetime(2020, 10, 21, 7, 28, tzinfo=timezone.utc)
    assert abs((hub_time({"Date": "noon"}) - datetime.now(timezone.utc)).total_seconds()) < 60
