"""A flag of each Gradio component arrives as docs/gradio_components.md says, with the Gradio that is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hubspool.local_hub import LocalHub
from tests.support.gradio_components import documented, measured


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_component_is_the_column_that_the_document_says(local_hub: LocalHub, tmp_path: Path) -> None:
    version, rows = measured(sys.executable, tmp_path, local_hub)
    assert version >= "6"
    assert rows == documented(version)
    assert len(rows) >= 24
