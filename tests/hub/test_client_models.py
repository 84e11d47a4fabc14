"""Sequences of commits, held against a dictionary: what the Hub has afterwards is what the dictionary has."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from hubspool.errors import EntryNotFoundError
from hubspool.local_hub import LocalHub

Tree = dict[str, bytes]
NAMES = ["a.txt", "b.bin", "in/a.txt", "in/b.bin", "in/deep/c.bin", "other/a.txt"]
CONTENTS = [b"", b"1", b"two", b"x" * 3000, bytes(range(256)) * 40]

paths = st.sampled_from(NAMES)
adds = st.tuples(st.just("add"), paths, st.sampled_from(CONTENTS))
deletes = st.tuples(st.just("delete"), st.sampled_from([*NAMES, "in/", "other/", "in/deep/"]))
copies = st.tuples(st.just("copy"), paths, paths)
commits = st.lists(st.one_of(adds, adds, deletes, copies), min_size=1, max_size=5)
folders = st.tuples(
    st.dictionaries(paths, st.sampled_from(CONTENTS), max_size=4),
    st.sampled_from(["", "in", "new/place/"]),
    st.sampled_from([None, "*.txt", ["*.bin", "in/"], "deep/*"]),
)


@pytest.fixture(scope="module")
def hub() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(hub_environment: Path) -> None:
    """No cache of the person who runs the tests."""


def applied(tree: Tree, steps: list[tuple[str, ...]]) -> Tree | None:
    """What a commit of these steps makes of a tree; None where it must fail."""
    before, after = tree, dict(tree)
    for kind, path, *more in steps:
        if kind == "add":
            after[path] = more[0]  # type: ignore[assignment]
        elif kind == "copy":
            if path not in before:
                return None
            after[str(more[0])] = before[path]
        else:
            gone = [name for name in after if name == path or (path.endswith("/") and name.startswith(path))]
            if not gone:
                return None
            for name in gone:
                del after[name]
    return after


def operation(kind: str, path: str, *more: object) -> CommitOperationAdd | CommitOperationDelete | CommitOperationCopy:
    if kind == "add":
        return CommitOperationAdd(path, more[0])  # type: ignore[arg-type]
    return CommitOperationDelete(path) if kind == "delete" else CommitOperationCopy(path, str(more[0]))


def tree_of(api: HfApi, repo: str, folder: Path) -> Tree:
    names = [name for name in api.list_repo_files(repo) if name != ".gitattributes"]
    return {name: Path(api.hf_hub_download(repo, name, local_dir=folder)).read_bytes() for name in names}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=st.lists(commits, min_size=1, max_size=4))
def test_a_repository_holds_what_a_dictionary_would(hub: LocalHub, history: list[list[tuple[str, ...]]]) -> None:
    api = HfApi(hub.endpoint, hub.token)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # operations that overwrite each other are part of the game
        repo = api.create_repo(f"local/{Path(folder).name}").repo_id
        tree: Tree = {}
        for steps in history:
            expected = applied(tree, steps)
            head = api.repo_info(repo).sha
            operations = [operation(*step) for step in steps]
            if expected is None:
                with pytest.raises(EntryNotFoundError):
                    api.create_commit(repo, operations, commit_message="m")
                assert api.repo_info(repo).sha == head
                continue
            info = api.create_commit(repo, operations, commit_message="m")
            assert info.oid == api.repo_info(repo).sha
            assert info.is_noop == (info.oid == head)
            tree = expected
        assert tree_of(api, repo, Path(folder)) == tree
        api.delete_repo(repo)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(uploads=st.lists(folders, min_size=1, max_size=4))
def test_folders_end_up_as_a_dictionary_would(
    hub: LocalHub, uploads: list[tuple[Tree, str, str | list[str] | None]]
) -> None:
    api = HfApi(hub.endpoint, hub.token)
    with tempfile.TemporaryDirectory() as folder:
        repo = api.create_repo(f"local/{Path(folder).name}").repo_id
        tree: Tree = {}
        for number, (files, place, patterns) in enumerate(uploads):
            local = Path(folder) / f"local{number}"
            local.mkdir()
            for name, content in files.items():
                (local / name).parent.mkdir(parents=True, exist_ok=True)
                (local / name).write_bytes(content)
            prefix = f"{place.strip('/')}/" if place else ""
            for name in [name for name in tree if name.startswith(prefix) and chosen(name[len(prefix) :], patterns)]:
                del tree[name]
            tree |= {prefix + name: content for name, content in files.items()}
            api.upload_folder(repo_id=repo, folder_path=local, path_in_repo=place, delete_patterns=patterns)
            again = api.upload_folder(repo_id=repo, folder_path=local, path_in_repo=place, delete_patterns=patterns)
            assert again.is_noop
        assert tree_of(api, repo, Path(folder) / "down") == tree
        api.delete_repo(repo)


def chosen(path: str, patterns: str | list[str] | None) -> bool:
    """The patterns above, in other words."""
    if patterns is None:
        return False
    if patterns == "*.txt":
        return path.endswith(".txt")
    return path.startswith("deep/") if patterns == "deep/*" else path.endswith(".bin") or path.startswith("in/")
