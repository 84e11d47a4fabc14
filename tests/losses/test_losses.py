"""What the stock scheduler loses, hubspool keeps: the cheap rows of the table of losses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hubspool.local_hub import LocalHub
from tests.losses.runner import CASES
from tests.support.loss_trial import BucketTrial, Case, Side, Trial

#: A case without a meaning for a bucket says so in its row of the table.
CHEAP = [
    pytest.param(case, kind, id=f"{case.run.__name__}-{kind.__name__}")
    for case in CASES
    for kind in (Trial, BucketTrial)
    if case.cheap and not (kind is BucketTrial and case.no_bucket)
]


@pytest.mark.parametrize(("case", "kind"), CHEAP)
def test_hubspool_passes(case: Case, kind: type[Trial], local_hub: LocalHub, tmp_path: Path) -> None:
    outcome = case.run(kind(local_hub, Side.OURS, "case", tmp_path))
    assert outcome.ok, outcome.text


def test_every_row_of_the_table_has_a_case() -> None:
    assert {re.match(r"L\d+", case.row)[0] for case in CASES} == {f"L{n}" for n in range(1, 34)}  # type: ignore[index]


@pytest.mark.parametrize("name", ["restart_on_a_fresh_disk", "sigterm", "middle_of_a_line"])
def test_a_case_can_fail(name: str, local_hub: LocalHub, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.run.__name__ == name)
    assert not case.run(Trial(local_hub, Side.STOCK, "case", tmp_path)).ok
