"""What a type checker says of a scheduler's options; `make check` reads this file, nothing runs it.

mypy reports an ignore that nothing needs, so each marked line must be an error.
"""

from __future__ import annotations

from hubspool import CommitScheduler
from hubspool_templates import JsonlScheduler, ParquetScheduler, TrainingLogs, ZipScheduler

JsonlScheduler("user/rows", every=5, name="train", on_existing="error", push_after_rows=10)
TrainingLogs("user/rows", "runs", versioned=["*.csv", "state.json"])
CommitScheduler(repo_id="user/rows", folder_path="folder", evry=5)  # type: ignore[call-arg]
JsonlScheduler("user/rows", evry=5)  # type: ignore[call-arg]
ParquetScheduler("user/rows", evry=5)  # type: ignore[call-arg]
ZipScheduler("user/rows", evry=5)  # type: ignore[call-arg]
TrainingLogs("user/rows", "runs", evry=5)  # type: ignore[call-arg]
CommitScheduler(repo_id="user/rows", folder_path="folder", versioned=True)  # type: ignore[arg-type]
JsonlScheduler("user/rows", every="often")  # type: ignore[arg-type]
