"""A reader of the documentation, with a Hub and a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hubspool.local_hub import LocalHub
from tests.support.reader import Reader


@pytest.fixture
def reader(local_hub: LocalHub, tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "desk"
    folder.mkdir()
    reader = Reader(local_hub, folder)
    yield reader
    for process, _ in reader.served:
        process.kill()
        process.communicate()
