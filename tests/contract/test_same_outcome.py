"""The same calls through our client and through huggingface_hub's leave the same on the Hub."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import pytest

import hubspool
from hubspool.local_hub import LocalHub


@dataclass
class Client:
    """One of the two clients, with what a case needs of it."""

    module: ModuleType
    api: Any
    repo: str
    other: str
    folder: Path
    said: list[object] = field(default_factory=list)

    def commit(self, *operations: Any, **options: Any) -> Any:
        return self.api.create_commit(self.repo, list(operations), **{"commit_message": "m", **options})

    def add(self, path: str, content: bytes | str | Path) -> Any:
        return self.module.CommitOperationAdd(path, content)

    def delete(self, path: str, **options: Any) -> Any:
        return self.module.CommitOperationDelete(path, **options)

    def copy(self, source: str, path: str, **options: Any) -> Any:
        return self.module.CommitOperationCopy(source, path, **options)

    def say(self, result: object) -> None:
        """Note something that the other client has to come to as well."""
        self.said.append(result)


Case = Callable[[Client], None]
CASES: list[Case] = []


@pytest.fixture
def run_both(local_hub: LocalHub, tmp_path: Path) -> Callable[[Case], tuple[object, object]]:
    """Runs a case with either client; returns what each left behind, and said."""
    reader = huggingface_hub.HfApi(endpoint=local_hub.endpoint, token=local_hub.token)

    def tree(repo: str, revision: str) -> dict[str, object]:
        files = reader.list_repo_tree(repo, recursive=True, revision=revision)
        return {f.path: (f.size, f.blob_id) for f in files if isinstance(f, huggingface_hub.hf_api.RepoFile)}

    def state(repo: str) -> object:
        refs = reader.list_repo_refs(repo, include_pull_requests=True)
        named = [*refs.branches, *refs.tags, *(refs.pull_requests or [])]
        return {ref.ref: tree(repo, ref.ref.removeprefix("refs/heads/")) for ref in named}

    def run(case: Case, module: ModuleType) -> object:
        name = module.__name__.replace("_", "-")
        api = module.HfApi(endpoint=local_hub.endpoint, token=local_hub.token)
        folder = tmp_path / name
        folder.mkdir()
        client = Client(module, api, f"local/{name}", f"local/{name}-other", folder)
        for repo in (client.repo, client.other):
            reader.create_repo(repo)
        case(client)
        return [state(repo) for repo in (client.repo, client.other)], client.said

    def both(case: Case) -> tuple[object, object]:
        return run(case, hubspool), run(case, huggingface_hub)

    return both


BIG = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(40_000))  # 1.3 MB that neither compresses nor repeats
README = b"---\nlicense: mit\ntags:\n- one\n---\n# Title\n\nText\n"


def case(function: Case) -> Case:
    CASES.append(function)
    return function


@contextmanager
def failing(client: Client) -> Iterator[None]:
    """The body fails with either client; the kind of error, and its status, are compared."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - which one it is, is the question
        builtin = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
        status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
        client.say((status, status is not None or issubclass(type(error), ValueError) or builtin))
    else:
        client.say("no error")


def write(client: Client, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        target = client.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


TREE = {
    "README.md": README,
    "train/a.txt": b"a",
    "train/logs/x.txt": b"x",
    "logs/y.txt": b"y",
    "logs/deep/z.log": b"z",
    "weights.bin": BIG,
    "empty.txt": b"",
    "empty.bin": b"",
    ".hidden": b"h",
    "Größe %20 #1?.txt": b"names",
    "sub/.gitignore": b"*.txt\n",
}


def upload(client: Client, **options: Any) -> Any:
    return client.api.upload_folder(repo_id=client.repo, folder_path=client.folder, **options)


@case
def file_from_path_bytes_and_object(client: Client) -> None:
    write(client, {"f": BIG})
    for name, content in {"path": client.folder / "f", "bytes": b"text", "object": io.BytesIO(b"o")}.items():
        info = client.api.upload_file(path_or_fileobj=content, path_in_repo=f"in/{name}.bin", repo_id=client.repo)
        client.say((info.commit_url.startswith("http"), info.pr_url, info.repo_url.repo_id == client.repo))


@case
def folder_to_the_root(client: Client) -> None:
    write(client, TREE)
    upload(client)
    client.say(len(client.api.list_repo_commits(client.repo)))


@case
def folder_into_a_folder(client: Client) -> None:
    write(client, TREE)
    upload(client, path_in_repo="my/place/", commit_message="there")
    client.say(client.api.list_repo_commits(client.repo)[0].title)


@case
def folder_with_patterns(client: Client) -> None:
    write(client, TREE)
    for number, (allow, ignore) in enumerate(
        [
            ("*.txt", None),
            (["*.TXT", "*.md"], None),
            (None, "logs/"),
            ("*.txt", ["train/*"]),
            ([], None),
            (None, []),
            ("logs/*", "*/z.log"),
            ("[lt]*", None),
            ("nothing", None),
        ]
    ):
        upload(client, path_in_repo=f"p{number}", allow_patterns=allow, ignore_patterns=ignore)


@case
def git_and_cache_folders_stay_at_home(client: Client) -> None:
    write(client, {"a": b"a", ".git/config": b"secret", "in/.git/x": b"secret", ".cache/huggingface/x": b"mine"})
    write(client, {"deep/er/.cache/huggingface/y": b"mine"})
    upload(client)


@case
def root_gitignore_counts_and_others_do_not(client: Client) -> None:
    write(client, {".gitignore": b"*.tmp\nbuild/\n", "a.tmp": b"", "build/x": b"", "in/b.tmp": b"", "kept": b"k"})
    write(client, {"sub/.gitignore": b"kept-too\n", "sub/kept-too": b"k"})
    upload(client)
    client.api.upload_file(path_or_fileobj=b"later", path_in_repo="later.tmp", repo_id=client.repo)
    client.api.upload_file(path_or_fileobj=BIG, path_in_repo="big.tmp", repo_id=client.repo)


@case
def folder_replaces_what_delete_patterns_match(client: Client) -> None:
    client.commit(*(client.add(f"exp/logs/{name}", b"old") for name in ("1.txt", "2.txt", "keep.csv", "in/3.txt")))
    write(client, {"2.txt": b"new", "4.txt": b"new", "no.csv": b"no"})
    upload(client, path_in_repo="exp/logs/", allow_patterns="*.txt", delete_patterns="*.txt")
    upload(client, delete_patterns=["*.csv", ".gitattributes"])


@case
def one_commit_of_many_operations(client: Client) -> None:
    client.commit(
        client.add("old.h5", BIG), client.add("logs/1", b"1"), client.add("logs/2", b"2"), client.add("i", b"i")
    )
    client.commit(
        client.add("LICENSE.md", b"licence"),
        client.add("weights.h5", BIG + b"!"),
        client.delete("old.h5"),
        client.delete("logs/"),
        client.copy("i", "j"),
        client.copy("old.h5", "new.h5"),
    )


@case
def folders_and_files_are_deleted(client: Client) -> None:
    client.commit(*(client.add(path, b"x") for path in ("a/1", "a/2", "b/1.csv", "b/2.csv", "b/3.txt", "c", "d/e/f")))
    client.api.delete_file("c", client.repo)
    client.api.delete_folder("a", client.repo)
    client.api.delete_files(client.repo, ["*.csv"])
    client.commit(client.delete("d/e", is_folder=True))
    client.say([commit.title.split(" with ")[0] for commit in client.api.list_repo_commits(client.repo)])


@case
def a_folder_is_deleted_and_filled_anew(client: Client) -> None:
    client.commit(client.add("a/1", b"1"), client.add("a/2", b"2"))
    client.commit(client.delete("a/"), client.add("a/1", b"1"), client.add("a/3", b"3"))


@case
def what_is_not_there_cannot_be_deleted_or_copied(client: Client) -> None:
    client.commit(client.add("a", b"a"))
    for operation in (client.delete("absent"), client.delete("absent/"), client.delete("a/")):
        with failing(client):
            client.commit(client.add("b", b"b"), operation)
    try:
        client.commit(client.add("b", b"b"), client.copy("absent", "c"))
    except Exception as error:  # noqa: BLE001 - its name is compared
        client.say(any(kind.__name__ == "EntryNotFoundError" for kind in type(error).__mro__))


@case
def copies_in_the_repository(client: Client) -> None:
    client.commit(client.add("big.bin", BIG), client.add("small.txt", b"1"))
    client.api.create_branch(client.repo, branch="before")
    client.commit(client.add("big.bin", BIG + b"2"), client.add("small.txt", b"2"))
    client.commit(
        client.copy("big.bin", "now/big.bin"),
        client.copy("small.txt", "now/small.txt"),
        client.copy("big.bin", "then/big.bin", src_revision="before"),
        client.copy("small.txt", "then/small.txt", src_revision="before"),
    )
    before = client.api.repo_info(client.repo).sha
    again = client.commit(client.copy("small.txt", "now/small.txt"), client.copy("big.bin", "now/big.bin"))
    client.say(again.oid == before)


@case
def copies_from_another_repository(client: Client) -> None:
    files = {"big.bin": BIG, "small.txt": b"small", "in/other.bin": BIG[::-1]}
    client.api.create_commit(
        client.other, [client.add(path, content) for path, content in files.items()], commit_message="m"
    )
    source = {"src_repo_id": client.other, "src_repo_type": "model"}
    client.commit(*(client.copy(path, f"from/{path}", **source) for path in files))


@case
def a_commit_of_nothing_new_is_none(client: Client) -> None:
    write(client, TREE)
    first = upload(client)
    again = upload(client)
    client.say((first.oid == again.oid, len(client.api.list_repo_commits(client.repo))))
    client.say(client.commit(client.add("train/a.txt", b"a")).oid == first.oid)


@case
def parent_commit_must_be_the_head(client: Client) -> None:
    first = client.commit(client.add("a", b"1"))
    client.commit(client.add("a", b"2"), parent_commit=first.oid[:10])
    with failing(client):
        client.commit(client.add("a", b"3"), parent_commit=first.oid)


@case
def a_pull_request_holds_the_commit(client: Client) -> None:
    client.commit(client.add("a", b"1"))
    info = client.commit(client.add("a", b"2"), client.add("big.bin", BIG), create_pr=True)
    client.say((info.pr_num, info.pr_revision, info.pr_url.rpartition("/")[2]))
    client.commit(client.add("b", b"more"), revision=info.pr_revision)
    details = client.api.get_discussion_details(client.repo, info.pr_num)
    client.say((details.num, details.is_pull_request))


@case
def a_folder_goes_into_a_pull_request_and_is_merged(client: Client) -> None:
    write(client, TREE)
    info = upload(client, create_pr=True, commit_message="All of it")
    details = client.api.get_discussion_details(client.repo, info.pr_num)
    client.say((details.title, details.git_reference, details.target_branch))
    client.api.merge_pull_request(client.repo, info.pr_num)
    client.say(client.api.get_discussion_details(client.repo, info.pr_num).status)


@case
def branches_and_tags(client: Client) -> None:
    api, repo = client.api, client.repo
    first = client.commit(client.add("a", b"1"))
    client.commit(client.add("a", b"2"))
    api.create_branch(repo, branch="feature/x", revision=first.oid)
    api.create_branch(repo, branch="feature/x", exist_ok=True)
    client.commit(client.add("b", b"1"), revision="feature/x")
    api.create_tag(repo, tag="v1", revision="feature/x", tag_message="one")
    api.create_tag(repo, tag="v0", revision=first.oid)
    api.create_tag(repo, tag="v0", exist_ok=True)
    for again in (lambda: api.create_branch(repo, branch="feature/x"), lambda: api.create_tag(repo, tag="v0")):
        with failing(client):
            again()
    with failing(client):
        api.delete_branch(repo, branch="absent")
    with failing(client):
        api.delete_branch(repo, branch="main")
    api.delete_tag(repo, tag="v0")
    client.say([api.revision_exists(repo, name) for name in ("v1", "v0", "feature/x", "absent")])
    refs = api.list_repo_refs(repo)
    client.say(([b.name for b in refs.branches], [t.name for t in refs.tags], refs.converts, refs.pull_requests))


@case
def a_history_is_squashed(client: Client) -> None:
    for n in range(3):
        client.commit(client.add("a", b"%d" % n))
    client.api.super_squash_history(client.repo, commit_message="all")
    client.say([commit.title for commit in client.api.list_repo_commits(client.repo)])


@case
def contents_are_sent_before_they_are_committed(client: Client) -> None:
    operations = []
    for n in range(3):
        addition = client.add(f"shard_{n}.bin", BIG + b"%d" % n)
        client.api.preupload_lfs_files(client.repo, additions=[addition])
        client.say(addition.path_or_fileobj == b"")
        operations.append(addition)
    client.commit(*operations, client.add("notes.txt", b"with them"))
    with failing(client):
        client.commit(*operations)


@case
def jobs_in_the_background_keep_their_order(client: Client) -> None:
    futures = [
        client.api.upload_file(path_or_fileobj=b"%d" % n, path_in_repo="n", repo_id=client.repo, run_as_future=True)
        for n in range(4)
    ]
    write(client, {"folder.txt": b"x"})
    futures.append(upload(client, run_as_future=True))
    futures.append(client.api.run_as_future(client.api.delete_file, "n", client.repo))
    client.say(
        [future.result(timeout=60).oid for future in futures]
        == [commit.commit_id for commit in client.api.list_repo_commits(client.repo)[:6]][::-1]
    )


@case
def bad_values_are_refused(client: Client) -> None:
    (client.folder / "file").write_bytes(b"x")
    for call in (
        lambda: client.add("../x", b""),
        lambda: client.add("a/../../x", b""),
        lambda: client.add("a", client.folder / "absent"),
        lambda: client.add("a", client.folder),
        lambda: client.add(".git/x", b""),
        lambda: client.add(".cache/x", b""),
        lambda: client.add("a", io.StringIO("text")),
        lambda: client.delete("a", is_folder="perhaps"),
        lambda: client.copy("a", "b", src_repo_id="x/y"),
        lambda: client.commit(client.add("a", b""), commit_message=""),
        lambda: client.commit(client.add("a", b""), parent_commit="zzz"),
        lambda: client.api.upload_folder(repo_id=client.repo, folder_path=client.folder / "file"),
        lambda: client.api.upload_folder(repo_id=client.repo, folder_path=client.folder / "absent"),
        lambda: client.api.upload_folder(repo_id=client.repo, folder_path=client.folder, repo_type="wrong"),
        lambda: client.commit(client.add("README.md", b"---\nlicense: [\n---\n")),
    ):
        with failing(client):
            call()


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's use of its HTTP library
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_clients_come_to_the_same(case: Case, run_both: Callable[[Case], tuple[object, object]]) -> None:
    ours, stock = run_both(case)
    assert ours == stock
