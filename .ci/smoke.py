"""Stores rows in a local Hub and reads them back: whether the package works on a system at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hubspool import HfApi
from hubspool.local_hub import LocalHub
from hubspool_templates import JsonlScheduler, ParquetScheduler, read_rows


def main() -> None:
    """Append rows with two schedulers, push them, and read one dataset back."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, LocalHub(Path(folder, "hub")) as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        with JsonlScheduler("local/rows", Path(folder, "rows"), hf_api=api) as rows:
            rows.extend({"number": number} for number in range(100))
        with ParquetScheduler("local/tables", Path(folder, "tables"), hf_api=api) as tables:
            tables.append({"number": 1})
        assert sorted(row["number"] for row in read_rows("local/rows", api=api)) == [*range(100)]
        assert any(path.endswith(".parquet") for path in api.list_repo_files("local/tables", repo_type="dataset"))
    print("100 rows are stored and read")


if __name__ == "__main__":
    main()
