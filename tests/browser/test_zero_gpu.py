"""On ZeroGPU one function of the sample Space asks for a GPU; elsewhere none does, and the training is the same."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import training


def test_one_function_asks_for_a_gpu_where_spaces_is_present(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def gpu(function: Callable[..., Any]) -> Callable[..., Any]:
        asked.append(function.__name__)
        return function

    spaces = ModuleType("spaces")
    spaces.GPU = gpu  # type: ignore[attr-defined]  # a stand-in: the real one only acts on ZeroGPU's machines
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    importlib.reload(training)
    assert asked == ["train"]


def test_the_loss_falls_and_the_ring_is_learned() -> None:
    epochs = list(training.train(15))
    assert len(epochs) == 15
    assert epochs[-1][0] < epochs[0][0]
    assert epochs[-1][1] > 0.8
