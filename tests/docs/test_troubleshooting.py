"""docs/troubleshooting.md: each section begins with what `print(scheduler.status())` shows in that situation.

``UPDATE_DOCS=1 python -m pytest tests/docs/test_troubleshooting.py`` writes the outputs into the page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hubspool import HfApi, HubspoolError, SpoolFull, State
from hubspool.cli import group
from hubspool.local_hub import Fault, LocalHub, RateLimit, User
from hubspool_templates import JsonlScheduler
from tests.support.environment import clean_environment
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
SECTIONS = [
    "My rows do not arrive",
    "The dataset does not load",
    "429",
    "I changed the repo id",
    "The disk is full",
]
REPO = "your-name/votes"
SECONDS = 60
BUSY = (State.SCANNING, State.UPLOADING, State.COMMITTING)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    users = [User("your-name", "hf_owner"), User("your-name", "hf_reader", role="read")]
    with LocalHub(root=tmp_path_factory.mktemp("hub"), users=users) as hub:
        yield hub


def scheduler(
    hub: LocalHub, folder: Path, token: str = "hf_owner", repo: str = REPO, away: bool = False, **options: Any
) -> JsonlScheduler:
    """A scheduler after its first push; or, where the Hub is away, after its first failure."""
    api = HfApi(endpoint=hub.endpoint, token=token)
    if away:
        hub.faults.add(Fault(times=None, drop=True))
    made = JsonlScheduler(repo, folder / "votes", every=5, handle_signals=False, hf_api=api, **options)
    if not away:
        made.last_future.exception(SECONDS)
    return made


def pushed(made: JsonlScheduler, row: dict[str, object]) -> str:
    """Append a row, push, and return what status() shows then."""
    made.append(row)
    made.trigger().exception(SECONDS)
    return shown(made)


def shown(made: JsonlScheduler) -> str:
    text = str(made.status())
    made.stop(flush=False)
    return text


def shown_while_away(made: JsonlScheduler) -> str:
    """What status() shows between two attempts, the constructor's being the first."""
    deadline = time.monotonic() + SECONDS
    while (now := made.status()).consecutive_failures < 2 or now.state in BUSY:
        assert time.monotonic() < deadline, now
        time.sleep(0.005)
    return shown(made)


def wrong_token(hub: LocalHub, folder: Path) -> str:
    return pushed(scheduler(hub, folder, "hf_reader", repo="your-name/private-votes"), {"film": "Solaris"})


def no_connection(hub: LocalHub, folder: Path) -> str:
    made = scheduler(hub, folder, away=True)
    made.append({"film": "Solaris"})
    return shown_while_away(made)


def nothing_committed(hub: LocalHub, folder: Path) -> str:
    made = scheduler(hub, folder, repo="your-name/new-votes")
    made.append({"film": "Solaris"})
    return shown(made)


def other_form(hub: LocalHub, folder: Path) -> str:
    api = HfApi(endpoint=hub.endpoint, token="hf_owner")
    api.create_repo("your-name/tables", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=b"film\nSolaris\n", path_in_repo="a.csv", repo_id="your-name/tables", repo_type="dataset"
    )
    return pushed(scheduler(hub, folder, repo="your-name/tables"), {"film": "Solaris"})


def rate_limit(hub: LocalHub, folder: Path) -> str:
    made = scheduler(hub, folder, repo="your-name/busy-votes")
    hub.faults.add(Fault(route="commit", times=None, limit=RateLimit(1, seconds=3600, per_repo=True)))
    for film in ("Solaris", "Stalker"):
        made.append({"film": film})
        with suppress(HubspoolError):
            made.flush(timeout=30)
    return shown(made)


def changed_repo(hub: LocalHub, folder: Path) -> str:
    old = scheduler(hub, folder, repo="your-name/vots", away=True)
    old.append({"film": "Solaris"})
    old.stop(flush=False)
    hub.faults.clear()
    return pushed(scheduler(hub, folder), {"film": "Stalker"})


def changed_repo_folder(hub: LocalHub, folder: Path) -> str:
    """What `hubspool status votes` prints then."""
    changed_repo(hub, folder)
    done = CliRunner().invoke(group, ["status", str(folder / "votes")])
    assert done.exit_code == 0, done.output
    return done.output.rstrip()


def full_disk(hub: LocalHub, folder: Path) -> str:
    made = scheduler(hub, folder, away=True, max_spool_bytes=200)
    with pytest.raises(SpoolFull):
        for number in range(100):
            made.append({"film": "Solaris", "number": number})
    return shown_while_away(made)


CASES: dict[str, Callable[[LocalHub, Path], str]] = {
    each.__name__: each
    for each in (
        wrong_token,
        no_connection,
        nothing_committed,
        other_form,
        rate_limit,
        changed_repo,
        changed_repo_folder,
        full_disk,
    )
}
#: What differs between two runs, and what the page has in its place.
_VARYING = [
    (r"http://127\.0\.0\.1:\d+", "https://huggingface.co"),
    (r"-20\d{6}-[0-9a-f]{23}-", "-20261128-1f2e3d4c5b6a-"),
    (r"\b[0-9a-f]{40}\b", "8f14e45fceea167a5a36dedd4bea2543e1f2a3b4"),
    (r"\b[0-9a-f]{7,12}\b(?!-)", "8f14e45f"),
    (r"datetime\.datetime\([^()]*(?:\([^()]*\))?[^()]*\)", "…"),
    (r"(?:\b20\d\d-\d\d-\d\d )?\b\d\d:\d\d(?::\d\d)?(?: UTC)?", "12:00"),  # the date of a time after midnight
    (r"\b\d+ (s|seconds|min|minutes) (ago|from now)", r"5 \1 \2"),
    (r"in \d+(\.\d+)? (s|seconds|min|minutes|h)\b", r"in 5 min"),
    (r"Wait \d+ s", "Wait 3600 s"),
    (r"request id: [\w-]+", "request id: 1f2e"),
]


def settled(text: str, folder: Path) -> str:
    """Return an output without what differs between two runs."""
    text = text.replace(str(folder), "/home/user/app")
    for pattern, replacement in _VARYING:
        text = re.sub(pattern, replacement, text)
    return re.sub(r"(votes|vots)-[0-9a-f]{8}\.spool|8f14e45f\.spool", r"\1-1f2e3d4c.spool", text)


@pytest.mark.parametrize("name", CASES)
def test_the_page_shows_what_status_shows(name: str, hub: LocalHub, tmp_path: Path) -> None:
    try:
        output = settled(CASES[name](hub, tmp_path), tmp_path)
    finally:
        hub.faults.clear()
    page = PAGE.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- status {name} -->\n```text\n)(.*?)(\n```)", re.DOTALL)
    assert block.search(page), f"the page has no block for {name}"
    if os.environ.get("UPDATE_DOCS"):
        page = block.sub(lambda found: found[1] + output + found[3], page)
        PAGE.write_text(page, encoding="utf-8")
    assert block.search(page)[2] == output  # type: ignore[index]


def test_each_section_begins_with_a_status() -> None:
    page = PAGE.read_text(encoding="utf-8")
    sections = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert [title for title, _ in sections][: len(SECTIONS)] == SECTIONS
    for title, text in sections[: len(SECTIONS)]:
        first = text.strip().split("```")[0]
        assert "<!-- status " in first, title
        assert len(first.split()) < 40, f"{title}: the output comes first"
    assert {*re.findall(r"<!-- status (\w+) -->", page)} == {*CASES}


def test_the_command_of_the_page_moves_the_rows(hub: LocalHub, tmp_path: Path) -> None:
    """`hubspool flush --from --to`, as the page says it."""
    changed_repo(hub, tmp_path)
    (command,) = re.findall(r"hubspool (flush \S+ --from \S+ --to \S+)", PAGE.read_text(encoding="utf-8"))
    environment = {
        **clean_environment(),
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": "hf_owner",
        "HF_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "hubspool.cli", *command.split()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
