"""Where the tests are that must notice mutants."""

from __future__ import annotations

KILLERS = "tests/mutants/test_killers.py"
LOSSES = "tests/losses/test_losses.py::test_hubspool_passes"
REMOVED = "tests/durability/test_removed.py"
UNIT = "tests/unit"
DESTINATIONS = "tests/hub/destinations"
DATASETS = "tests/datasets"
