"""hubspool keeps the data of a Gradio Space, or of any process, on the Hugging Face Hub and loses no row on the way.

Importing it is cheap: each name loads its module when it is first used. The functions (`upload_file`, `create_repo`, …)
are methods of one `HfApi` for the value that HF_ENDPOINT has at the time of the call.
"""

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
    "create_branch",
    "create_commit",
    "create_pull_request",
    "create_repo",
    "create_tag",
    "delete_branch",
    "delete_file",
    "delete_files",
    "delete_folder",
    "delete_repo",
    "delete_tag",
    "file_exists",
    "get_discussion_details",
    "get_paths_info",
    "hf_hub_download",
    "list_repo_commits",
    "list_repo_files",
    "list_repo_refs",
    "list_repo_tree",
    "merge_pull_request",
    "metadata_update",
    "preupload_lfs_files",
    "repo_exists",
    "revision_exists",
    "run_as_future",
    "super_squash_history",
    "upload_file",
    "upload_folder",
    "upload_large_folder",
    "whoami",
]

if TYPE_CHECKING:
    from hubspool.client.background import BackgroundCall
    from hubspool.client.hf_api import HfApi
    from hubspool.client.operations import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
    from hubspool.client.repo_info import CommitInfo
    from hubspool.errors import FlushTimeout, HubspoolError, SpoolFull
    from hubspool.push.events import CommitEvent, CommitPlan, ErrorEvent, State
    from hubspool.scheduling.commit_scheduler import CommitScheduler
    from hubspool.scheduling.status import SchedulerStatus

    _api = HfApi()
    create_branch = _api.create_branch
    create_commit: BackgroundCall[..., CommitInfo]
    create_pull_request = _api.create_pull_request
    create_repo = _api.create_repo
    create_tag = _api.create_tag
    delete_branch = _api.delete_branch
    delete_file = _api.delete_file
    delete_files = _api.delete_files
    delete_folder = _api.delete_folder
    delete_repo = _api.delete_repo
    delete_tag = _api.delete_tag
    file_exists = _api.file_exists
    get_discussion_details = _api.get_discussion_details
    get_paths_info = _api.get_paths_info
    hf_hub_download = _api.hf_hub_download
    list_repo_commits = _api.list_repo_commits
    list_repo_files = _api.list_repo_files
    list_repo_refs = _api.list_repo_refs
    list_repo_tree = _api.list_repo_tree
    merge_pull_request = _api.merge_pull_request
    metadata_update = _api.metadata_update
    preupload_lfs_files = _api.preupload_lfs_files
    repo_exists = _api.repo_exists
    revision_exists = _api.revision_exists
    run_as_future = _api.run_as_future
    super_squash_history = _api.super_squash_history
    upload_file: BackgroundCall[..., CommitInfo]
    upload_folder: BackgroundCall[..., CommitInfo]
    upload_large_folder = _api.upload_large_folder
    whoami = _api.whoami

_HOME = {
    "CommitScheduler": "scheduling.commit_scheduler",
    "CommitInfo": "client.repo_info",
    "HfApi": "client.hf_api",
    **dict.fromkeys(("FlushTimeout", "HubspoolError", "SpoolFull"), "errors"),
    **dict.fromkeys(("CommitOperationAdd", "CommitOperationCopy", "CommitOperationDelete"), "client.operations"),
    **dict.fromkeys(("CommitEvent", "CommitPlan", "ErrorEvent", "State"), "push.events"),
    "SchedulerStatus": "scheduling.status",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used."""
    home = _HOME.get(name)
    if home is None and name in __all__:
        # Not stored: the client depends on HF_ENDPOINT at this moment.
        return getattr(import_module("hubspool.client.hf_api").default_api(), name)
    if home is None:
        raise AttributeError(f"module 'hubspool' has no attribute {name!r}")
    value = getattr(import_module(f"hubspool.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
