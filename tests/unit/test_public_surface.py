"""What the ready-made schedulers and the sample Space use of hubspool is public, documented, and pinned here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import hubspool
import hubspool.extending as extending
from hubspool import HfApi

ROOT = Path(__file__).resolve().parents[2]
USERS = [*(ROOT / "templates").rglob("*.py"), *(ROOT / "demo_space").rglob("*.py")]
#: Names of `hubspool` that they use.
OF_HUBSPOOL = {
    "CommitEvent",
    "CommitInfo",
    "CommitOperationAdd",
    "CommitPlan",
    "CommitScheduler",
    "HfApi",
    "HubspoolError",
    "SchedulerStatus",
    "SpoolFull",
    "State",
}
#: Names of `hubspool.extending`, all of them used.
OF_EXTENDING = {
    "DEFAULT_EVERY",
    "BadRequestError",
    "ChangedMeanwhileError",
    "CommonOptions",
    "Compact",
    "CursorTooOldError",
    "Durability",
    "Encoding",
    "FileRange",
    "FrontMatter",
    "HFValidationError",
    "JoinedRun",
    "Joiner",
    "Matches",
    "LineKind",
    "Patterns",
    "PendingSegments",
    "Progress",
    "PublishOptions",
    "RangeName",
    "RangeOnHub",
    "RemoteBucket",
    "RemoteEntryNotFoundError",
    "RemoteFile",
    "RemoteRepo",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
    "SchedulerOptions",
    "SegmentName",
    "Span",
    "Spool",
    "Stat",
    "StatePaths",
    "Target",
    "broken_card",
    "cached_file",
    "changed_meanwhile",
    "count_lines",
    "is_manifest",
    "is_object",
    "is_spool",
    "is_spool_folder",
    "joined_runs",
    "kind_by_name",
    "pending_segments",
    "process_rank",
    "read_text",
    "renew_after_fork",
    "split_destination",
    "split_of",
}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every import of hubspool, for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(str(node.module), alias.name) for alias in node.names]
        else:
            continue
        yield from (each for each in found if each[0].split(".")[0] == "hubspool")


def used(module: str) -> set[str]:
    return {name for path in USERS for origin, name in imports(path) if origin == module}


def test_no_internal_module_is_imported() -> None:
    inside = [
        f"{path.relative_to(ROOT)} imports {module}.{name}"
        for path in USERS
        for module, name in imports(path)
        if module not in ("hubspool", "hubspool.extending") and (path.name, module) != ("demo.py", "hubspool.local_hub")
    ]
    assert inside == []


def test_the_names_in_use_are_pinned_and_public() -> None:
    assert used("hubspool") == OF_HUBSPOOL
    assert set(hubspool.__all__) >= OF_HUBSPOOL
    assert used("hubspool.extending") == OF_EXTENDING
    assert set(extending.__all__) == OF_EXTENDING


def test_each_name_is_explained() -> None:
    text = extending.__doc__ or ""
    assert set(re.findall(r"`(\w+)`", text)) >= OF_EXTENDING
    assert all(hasattr(extending, name) for name in extending.__all__)


def test_read_text_reads_a_revision_and_returns_none_for_a_missing_file(hub_api: HfApi) -> None:
    hub_api.create_repo("local/texts", repo_type="dataset")
    old = hub_api.upload_file(path_or_fileobj=b"old", path_in_repo="a.txt", repo_id="local/texts", repo_type="dataset")
    hub_api.upload_file(path_or_fileobj=b"new", path_in_repo="a.txt", repo_id="local/texts", repo_type="dataset")
    target = extending.Target.of(hub_api.endpoint, "local/texts", "dataset")
    assert extending.read_text(hub_api, target, "a.txt") == "new"
    assert extending.read_text(hub_api, target, "a.txt", old.oid) == "old"
    assert extending.read_text(hub_api, target, "b.txt") is None
