"""The folders and the Hub of one durability test, and the types of its fixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates.rows import RowScheduler
from tests.support.oracle import Verdict, judge
from tests.support.processes import Process
from tests.support.producer import Producer


@dataclass
class Place:
    """A folder of rows, the producers' records, and the Hub that receives the rows."""

    hub: LocalHub
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "folder"

    @property
    def records(self) -> Path:
        return self.root / "records"

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.hub.endpoint, token=self.hub.token)

    def options(self, **options: object) -> dict[str, object]:
        """Return the producer's options."""
        return {"endpoint": self.hub.endpoint, "folder": self.folder, "records": self.records, **options}

    def judge(self, **options: Any) -> Verdict:
        """Start once more and read everything."""
        return judge(self.hub, self.folder, self.records, **options)


@dataclass
class InProcess:
    """A scheduler in this process, and the producer that writes to it."""

    scheduler: RowScheduler
    producer: Producer


#: Starts the producer with options of its command line, or any `command`; `prefix` is what runs it.
Start = Callable[..., Process]
#: Makes a scheduler in this process.
Open = Callable[..., InProcess]
