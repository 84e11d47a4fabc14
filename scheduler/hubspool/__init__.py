"""hubspool keeps the data of a Gradio Space, or of any process, on the Hugging Face Hub and loses no row on the way."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "CommitEvent",
    "CommitInfo",
    "CommitOperationAdd",
    "CommitOperationCopy",
    "CommitOperationDelete",
    "CommitPlan",
    "CommitScheduler",
    "ErrorEvent",
    "FlushTimeout",
    "HfApi",
    "HubspoolError",
    "SchedulerStatus",
    "SpoolFull",
    "State",
]

if TYPE_CHECKING:
    from hubspool.commit_scheduler import CommitScheduler
    from hubspool.errors import FlushTimeout, HubspoolError, SpoolFull
    from hubspool.hf_api import HfApi
    from hubspool.operations import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
    from hubspool.repo_info import CommitInfo
    from hubspool.status import CommitEvent, CommitPlan, ErrorEvent, SchedulerStatus, State

_HOME = {
    "CommitScheduler": "commit_scheduler",
    "CommitInfo": "repo_info",
    "HfApi": "hf_api",
    **dict.fromkeys(("FlushTimeout", "HubspoolError", "SpoolFull"), "errors"),
    **dict.fromkeys(("CommitOperationAdd", "CommitOperationCopy", "CommitOperationDelete"), "operations"),
    **dict.fromkeys(("CommitEvent", "CommitPlan", "ErrorEvent", "SchedulerStatus", "State"), "status"),
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used, so that ``import hubspool`` costs nothing."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'hubspool' has no attribute {name!r}")
    value = getattr(import_module(f"hubspool.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
