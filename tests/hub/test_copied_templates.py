"""Code that people copied from the guide of the stock scheduler and its subclasses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from hubspool import CommitScheduler

SECONDS = 60


def test_an_override_of_the_stock_schedulers_private_method_is_told_once(
    make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):

        class Copied(CommitScheduler):
            def _push_to_hub(self) -> None:
                raise AssertionError

        class Derived(Copied):
            pass

        for kind in (Copied, Derived, Derived):
            make(kind)
    (told,) = [record.getMessage() for record in caplog.records if "_push_to_hub" in record.getMessage()]
    assert told == "Copied._push_to_hub is never called: override push_to_hub, which is public"


@pytest.mark.parametrize("path_in_repo", [None, "deep/er"])
def test_code_that_reads_private_and_last_uploaded_works(make: Callable[..., Any], path_in_repo: str | None) -> None:
    scheduler = make(path_in_repo=path_in_repo, private=False)
    assert (scheduler.private, scheduler.last_uploaded) == (False, {})
    for name in ("a.txt", "sub/b.bin"):
        path = scheduler.folder_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x\n")
    scheduler.flush(SECONDS)
    files = [scheduler.folder_path / name for name in ("a.txt", "sub/b.bin")]
    assert scheduler.last_uploaded == {path: path.stat().st_mtime for path in files}
    assert make(folder="other").private is True


def test_code_that_writes_last_uploaded_works(make: Callable[..., Any]) -> None:
    class Copied(CommitScheduler):
        def push_to_hub(self) -> None:
            for path in self.folder_path.iterdir():
                if self.last_uploaded.get(path) != path.stat().st_mtime:
                    self.last_uploaded[path] = path.stat().st_mtime

    scheduler = make(Copied)
    (scheduler.folder_path / "a.txt").write_text("x\n")
    scheduler.flush(SECONDS)
    assert scheduler.folder_path / "a.txt" in scheduler.last_uploaded
