"""The parts of a Gradio page in the package: loaded when they are first used, and silent about nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

import hubspool_templates
from hubspool import HfApi
from hubspool_templates import HubFlaggingCallback, ParquetScheduler
from hubspool_templates.ui.save_button import Once

PARTS = ["ChatLogger", "HubFlaggingCallback", "save_button", "status_panel"]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_loads_when_it_is_asked_for(name: str) -> None:
    assert callable(getattr(hubspool_templates, name))
    assert name in hubspool_templates.__all__


@pytest.mark.parametrize("name", PARTS)
def test_a_part_names_its_extra(name: str) -> None:
    code = f"import sys; sys.modules['gradio'] = None; from hubspool_templates import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 'pip install "hubspool[gradio]"' in done.stderr.splitlines()[-1]


def test_a_form_is_stored_once_per_key_also_by_clicks_at_the_same_time() -> None:
    once, together, stored = Once(), threading.Barrier(8, timeout=30), []

    def click(_: int) -> str:
        together.wait()
        return once("key", lambda: f"row {stored.append(1) or len(stored)}")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(click, range(8))) == {"row 1"}
    assert len(stored) == 1
    assert [once("", lambda: "no key") for _ in range(2)] == ["no key"] * 2


def test_a_form_that_was_refused_can_be_stored_with_the_same_key() -> None:
    once = Once()
    with pytest.raises(gr.Error, match="empty"):
        once("key", lambda: refuse("empty"))
    assert once("key", lambda: "stored") == once("key", lambda: refuse("again")) == "stored"


def refuse(words: str) -> str:
    raise gr.Error(words)


def test_no_scheduler_starts_before_an_interface_is_built() -> None:
    callback = HubFlaggingCallback("local/kept")
    assert callback.scheduler is None
    with pytest.raises(RuntimeError, match="setup"):
        callback.flag(["text"])


def test_setup_twice_keeps_the_scheduler_until_the_kind_changes(hub_api: HfApi, tmp_path: Path) -> None:
    callback = HubFlaggingCallback("local/kept", hf_api=hub_api)
    callback.setup([gr.Textbox(label="text")], tmp_path)
    first = callback.scheduler
    callback.setup([gr.Textbox(label="text")], tmp_path)
    assert callback.scheduler is first
    callback.setup([gr.Image(label="image")], tmp_path)
    assert callback.scheduler is not first
    assert isinstance(callback.scheduler, ParquetScheduler)
    callback.scheduler.stop(flush=False)


def test_a_user_name_is_stored_only_when_asked(hub_api: HfApi, tmp_path: Path) -> None:
    kept = []
    for asked in (False, True):
        callback = HubFlaggingCallback("local/kept", store_username=asked, transform=_noting(kept), hf_api=hub_api)
        callback.setup([gr.Textbox(label="text"), gr.Textbox(label="username")], tmp_path / str(asked))
        assert callback.flag(["a", "b"], username="ada") == 1
        callback.scheduler.stop(flush=False)
    assert "ada" not in kept[0].values()
    assert (kept[1]["username"], kept[1]["username 2"]) == ("ada", "b")


def _noting(kept: list[dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def transform(row: dict[str, Any]) -> dict[str, Any]:
        kept.append(row)
        return row

    return transform
