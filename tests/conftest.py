"""What every test shares: the local Hub's fixtures, and a process that knows nothing of the person who runs it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hubspool import CommitScheduler, HfApi

REPO = "local/kept"
SECONDS = 60
LONGEST = ("test_pythons.py", "test_zip_many.py")  # files of few tests, which take minutes

pytest_plugins = ["hubspool.local_hub.pytest_plugin"]

# huggingface_hub reads these once, when it is first imported, which is before any fixture could set them.
for _name in (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_HUB_DISABLE_XET",
):
    os.environ.pop(_name, None)
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hubspool-tests-")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

# A shell that runs the tests in the background has them ignore Ctrl-C and SIGQUIT, and nohup SIGHUP; every child would
# inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("SIGQUIT", "SIGHUP"):
    if signal.getsignal(getattr(signal, _name, signal.SIGTERM)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end, one process would wait for them alone."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def scheduler_kind() -> type[CommitScheduler]:
    """The class that `make` builds unless a test names another; a file of tests may override it."""
    from hubspool import CommitScheduler

    return CommitScheduler


@pytest.fixture
def scheduler_options() -> dict[str, Any]:
    """Options that `make` gives to every scheduler; a file of tests may override them."""
    return {}


@pytest.fixture
def settles() -> bool:
    """Whether `make` waits for the first push; a file of tests may override it."""
    return True


@pytest.fixture
def schedulers() -> list[CommitScheduler]:
    """The schedulers that `make` built, in order."""
    return []


@pytest.fixture
def make(
    hub_api: HfApi,
    tmp_path: Path,
    scheduler_kind: type[CommitScheduler],
    scheduler_options: dict[str, Any],
    settles: bool,
    schedulers: list[CommitScheduler],
) -> Iterator[Callable[..., Any]]:
    """Build schedulers of one folder and one repository; stop each without a flush when the test ends."""

    def build(
        kind: type[CommitScheduler] = scheduler_kind, *, folder: str = "folder", settle: bool = settles, **options: Any
    ) -> Any:
        given = {"repo_id": REPO, "repo_type": "dataset", "folder_path": tmp_path / folder, "every": 600}
        schedulers.append(kind(**{**given, "hf_api": hub_api, **scheduler_options, **options}))
        if settle:
            schedulers[-1].last_future.exception(SECONDS)
        return schedulers[-1]

    yield build
    for scheduler in schedulers:
        scheduler.stop(flush=False)


@pytest.fixture
def read(hub_api: HfApi) -> Callable[[str], bytes]:
    """The content of a file on the Hub."""
    from hubspool.client.target import Target

    target = Target.of(hub_api.endpoint, REPO, "dataset")
    return lambda path: hub_api.client().request("GET", target.file_url(path)).content


@pytest.fixture
def contents(hub_api: HfApi, read: Callable[[str], bytes]) -> Callable[[], dict[str, bytes]]:
    """Everything in the repo but .gitattributes."""

    def fetch() -> dict[str, bytes]:
        paths = hub_api.list_repo_files(REPO, repo_type="dataset")
        return {path: read(path) for path in paths if path != ".gitattributes"}

    return fetch


@pytest.fixture
def lines(contents: Callable[[], dict[str, bytes]]) -> Callable[[], list[bytes]]:
    """The lines of all .jsonl files on the Hub, sorted."""

    def fetch() -> list[bytes]:
        files = [content for path, content in contents().items() if path.endswith(".jsonl")]
        return sorted(line for file in files for line in file.splitlines())

    return fetch


@pytest.fixture
def commits(hub_api: HfApi) -> Callable[[], int]:
    """How many commits there are but for the initial one."""
    return lambda: len(hub_api.list_repo_commits(REPO, repo_type="dataset")) - 1
