"""A flag of each component of Gradio 5 arrives as docs/gradio_components.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubspool.local_hub import LocalHub
from tests.support.gradio_components import documented, measured
from tests.support.other_clients import python_with

OLDEST = "5.49.1"
#: What hubspool needs beside the packages that come with Gradio.
NEEDED = ["pyarrow", "requests", "filelock", "hf_xet", "ruamel.yaml", "orjson", "click"]


@pytest.mark.timeout(600)
def test_each_component_is_the_column_that_the_document_says(tmp_path: Path) -> None:
    with LocalHub() as hub:
        version, rows = measured(python_with(f"gradio=={OLDEST}", *NEEDED), tmp_path, hub)
    assert version == OLDEST
    assert rows == documented(version)
