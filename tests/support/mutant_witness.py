"""A pytest plugin for the gate: records which `hubspool` was imported and the exception of each failed test."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

OUTPUT = "MUTANT_WITNESS"


def pytest_configure() -> None:
    _tell(imported=str(Path(str(importlib.import_module("hubspool").__file__)).parent))


def pytest_exception_interact(node: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
    assert call.excinfo is not None
    error = call.excinfo.value
    asserted = isinstance(error, (AssertionError, pytest.fail.Exception)) and not str(error).startswith("Timeout")
    _tell(failed=node.nodeid, kind=type(error).__name__, asserted=asserted and getattr(report, "when", "") == "call")


def _tell(**values: object) -> None:
    with Path(os.environ[OUTPUT]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")
