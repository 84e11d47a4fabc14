"""How long pushes to a bucket pause, as the rate limits in the Hub's answers ask."""

from __future__ import annotations

import time

import pytest

from hubspool import HfApi
from hubspool.client.retry import pace
from hubspool.local_hub import Fault, LocalHub

POLICY = '"fixed window";"api";q=1000;w=300'
BOTH = '"fixed window";"api";q=1000;w=300, "fixed window";"resolvers";q=5000;w=300'


@pytest.mark.parametrize(
    ("limit", "policy", "expected"),
    [
        ('"api";r=501;t=20', POLICY, {"api": 0.0}),
        ('"api";r=500;t=20', POLICY, {"api": 21.0}),
        ("api;r=500;t=20", "api;q=1000", {"api": 21.0}),
        ('"api";r=9;t=20, "resolvers";r=4000;t=20', BOTH, {"api": 21.0, "resolvers": 0.0}),
        ('"pages";r=0;t=20', POLICY, {}),
        ("", POLICY, {}),
        ('"api";r=9;t=20', "", {}),
    ],
)
def test_pushes_pause_once_half_of_a_quota_is_used(limit: str, policy: str, expected: dict[str, float]) -> None:
    assert pace({"RateLimit": limit, "RateLimit-Policy": policy}, 0.0) == expected


def test_an_answer_of_another_quota_ends_no_pause_and_copies_of_the_session_share_it(
    hub_api: HfApi, local_hub: LocalHub
) -> None:
    before = time.monotonic()
    for quota, left in (("api", 10), ("resolvers", 900)):
        headers = {"RateLimit": f'"{quota}";r={left};t=100', "RateLimit-Policy": f'"w";"{quota}";q=1000;w=300'}
        local_hub.faults.add(Fault(path="^/api/whoami", headers=headers, times=1))
    beside = HfApi(endpoint=hub_api.endpoint, token=local_hub.token)
    beside.session = hub_api.session.within(30)
    beside.whoami()
    beside.whoami()
    assert len(local_hub.faults.hits) == 2
    assert hub_api.session.pauses["api"] > before + 100
    assert hub_api.session.pauses["resolvers"] <= time.monotonic()
