"""The sample Space shows a vote, a picture and a file at once, before the Hub has them, and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from arena import Arena
from bulk_images import BulkImages
from hubspool_templates import JsonlScheduler, ParquetScheduler, ZipScheduler
from pictures import SCHEMA, Pictures
from romanise import romanise

Make = Callable[..., Any]


def test_a_vote_counts_at_once(make: Make) -> None:
    arena = Arena(make(kind=JsonlScheduler))
    assert (arena.standings(), arena.last_rows()) == ("", [])
    pair = romanise("Καλημέρα")
    for number in (1, 2):
        arena.save_feedback("Καλημέρα", pair.output_1, pair.output_2, 1)
        assert f">{number}</span>" in arena.standings()
        arena.scheduler.flush()
    assert ">2</span>" in arena.standings()
    assert [row["input"] for row in arena.last_rows()] == ["Καλημέρα"] * 2
    version = arena.saved.version
    arena.scheduler.append({"input": None, "other": 1})  # of another program
    assert ">2</span>" in arena.standings()
    assert arena.saved.version == version + 1


def test_a_picture_and_a_file_appear_at_once(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    Image.new("RGB", (640, 480), (1, 2, 3)).save(path)
    pictures = Pictures(make(kind=ParquetScheduler, schema=SCHEMA, repo_id="local/pictures"))
    files = BulkImages(make(kind=ZipScheduler, repo_id="local/files"))
    for _ in range(2):
        assert "stored" in pictures.save_picture(str(path), "cat")
        assert "stored" in files.save_images([str(path)], "cat")
        assert pictures.gallery()[0][0].size == (320, 240)
        assert pictures.last_rows()[0]["label"] == "cat"
        assert files.last_rows()[0]["file_name"] == "cat.png"
        pictures.scheduler.flush()
        files.scheduler.flush()
    assert len(pictures.gallery()) == len(files.last_rows()) == 2
