"""A pytest plugin for the gate: records which `hubspool` was imported and the exceptions of failed tests.

The run ends with the first test whose assertion failed.
"""

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
    is_failure = isinstance(error, (AssertionError, pytest.fail.Exception)) and not str(error).startswith("Timeout")
    asserted = is_failure and getattr(report, "when", "") == "call"
    _tell(failed=node.nodeid, kind=type(error).__name__, asserted=asserted)
    if asserted:
        node.session.shouldstop = "an assertion failed"


def _tell(**values: object) -> None:
    with Path(os.environ[OUTPUT]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")
