"""Ready-made schedulers: subclasses of `hubspool.CommitScheduler`, each for one kind of data."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hubspool_templates.archive.zip_scheduler import ZipScheduler
from hubspool_templates.jsonl import JsonlScheduler
from hubspool_templates.logs.summary_writer import HubSummaryWriter
from hubspool_templates.logs.training_logs import TrainingLogs
from hubspool_templates.reading.rows import read_rows
from hubspool_templates.rows import RowScheduler

if TYPE_CHECKING:
    from hubspool_templates.parquet.parquet_scheduler import ParquetScheduler
    from hubspool_templates.ui.chat import ChatLogger
    from hubspool_templates.ui.flagging import HubFlaggingCallback
    from hubspool_templates.ui.panel import status_panel
    from hubspool_templates.ui.save_button import save_button

__all__ = [
    "HubSummaryWriter",
    "JsonlScheduler",
    "RowScheduler",
    "TrainingLogs",
    "ZipScheduler",
    "read_rows",
]
# Without gradio or pyarrow `from hubspool_templates import *` leaves out what needs it.
with suppress(ModuleNotFoundError, ValueError):  # in its place a test has put a module without a spec
    if find_spec("gradio") is not None:
        __all__ += ["ChatLogger", "HubFlaggingCallback", "save_button", "status_panel"]
with suppress(ModuleNotFoundError, ValueError):
    if find_spec("pyarrow") is not None:
        __all__ += ["ParquetScheduler"]

#: What needs gradio or pyarrow, which is imported when one of them is first used.
_LAZY = {
    "ChatLogger": "ui.chat",
    "HubFlaggingCallback": "ui.flagging",
    "ParquetScheduler": "parquet.parquet_scheduler",
    "save_button": "ui.save_button",
    "status_panel": "ui.panel",
}
#: Package → the extra of `hubspool` that installs it.
_EXTRAS = {"gradio": "gradio", "pyarrow": "parquet"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise ImportError(f'{name} needs {package}: pip install "hubspool[{_EXTRAS[package]}]"') from error
