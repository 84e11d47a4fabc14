"""The arena's rows, stored through its API function, as `datasets` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import pytest

from arena import TEXT_LIMIT, Arena
from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler
from romanise import SAMPLES, romanise
from tests.support.demo_launcher import rows_of

DATASET = "local/arena-votes"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(root=tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def arena(hub: LocalHub, tmp_path: Path) -> Iterator[Arena]:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    scheduler = JsonlScheduler(DATASET, folder_path=tmp_path / "votes", every=600, hf_api=api)
    yield Arena(scheduler)
    scheduler.stop()


def rows(hub: LocalHub, folder: Path) -> list[dict[str, object]]:
    return rows_of(DATASET, {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HOME": str(folder / "reader")})


def test_texts_in_every_script_come_back_as_they_were(hub: LocalHub, arena: Arena, tmp_path: Path) -> None:
    texts = [
        *SAMPLES.values(),
        "two\nlines\u2028three",
        'quotes " and \\',
        "👩‍👩‍👧 é e\u0301",
        "\u202eright to left",
        "{}",
    ]
    ids = []
    for number, text in enumerate(texts):
        pair = romanise(text, swapped=bool(number % 2))
        ids.append(arena.save_feedback(text, pair.output_1 or "-", pair.output_2 or "-", 1 + number % 2))
    arena.scheduler.flush()
    read = rows(hub, tmp_path)
    assert list(read[0]) == ["id", "time", "input", "output_1", "output_2", "user_choice"]
    assert [row["id"] for row in read] == ids
    assert [row["input"] for row in read] == texts
    assert [row["user_choice"] for row in read] == [1 + number % 2 for number in range(len(texts))]


def test_many_visitors_at_once_lose_nothing(hub: LocalHub, arena: Arena, tmp_path: Path) -> None:
    def vote(number: int) -> str:
        return arena.save_feedback(f"text {number}", "left", "right", 2)

    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(vote, range(400)))
    arena.scheduler.flush()
    assert sorted(str(row["id"]) for row in rows(hub, tmp_path)) == sorted(ids)


@pytest.mark.parametrize(
    ("vote", "message"),
    [
        (("", "a", "b", 1), "input_text is empty"),
        (("x", "  ", "b", 1), "output_1 is empty"),
        (("x", "a", None, 1), "output_2 is empty"),
        (("x" * (TEXT_LIMIT + 1), "a", "b", 1), "input_text has 2,001 characters"),
        (("x", "a" * 40_001, "b", 1), "output_1 has 40,001 characters"),
        (("x\ud800", "a", "b", 1), "lone surrogate"),
        (("x", "a", "b", 0), "user_choice is 0: it must be 1 or 2"),
        (("x", "a", "b", True), "user_choice is True"),
        (("x", "a", "b", "1"), "user_choice is '1'"),
    ],
)
def test_a_bad_vote_is_refused_and_stores_nothing(arena: Arena, vote: tuple[str, str, str, int], message: str) -> None:
    with pytest.raises(gr.Error, match=message):
        arena.save_feedback(*vote)
    assert arena.scheduler.status().pending_rows == 0
