"""`git push` is taken, and judged as a commit is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import EntryNotFoundError

from hubspool.local_hub import LocalHub
from tests.support.git_runner import NOISE, Git, needs_git_lfs


@pytest.fixture
def clone(git: Git, dataset: str, stock_api: HfApi, local_hub: LocalHub, tmp_path: Path) -> Path:
    first = [CommitOperationAdd(f"{number}.txt", b"line\n" * 2000) for number in range(3)]
    stock_api.create_commit(dataset, first, commit_message="first", repo_type="dataset")
    url = f"{local_hub.endpoint}/datasets/{dataset}".replace("://", f"://local:{local_hub.token}@")
    git("clone", url, "clone")
    return tmp_path / "clone"


@pytest.fixture
def commit(git: Git, clone: Path) -> Callable[..., None]:
    def make(**files: bytes) -> None:
        for name, content in files.items():
            path = clone / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        git("add", "--all", cwd=clone)
        git("commit", "--allow-empty", "-m", "pushed", cwd=clone)

    return make


def bare(hub: LocalHub, repo: str) -> Path:
    return hub.root / "repos" / "datasets" / f"{repo}.git"


def read(api: HfApi, repo: str, path: str, revision: str = "main") -> bytes:
    return Path(api.hf_hub_download(repo, path, repo_type="dataset", revision=revision)).read_bytes()


def test_what_is_pushed_is_a_commit_that_clients_read(
    git: Git, clone: Path, commit: Callable[..., None], local_hub: LocalHub, stock_api: HfApi, dataset: str
) -> None:
    changed = b"line\n" * 1999 + b"other\n"  # git sends it as a change of what the Hub has
    commit(**{"0_txt": changed, "sub__new_txt": b"new\n"})
    git("push", cwd=clone)
    assert read(stock_api, dataset, "0.txt") == changed
    assert read(stock_api, dataset, "sub/new.txt") == b"new\n"
    assert stock_api.list_repo_commits(dataset, repo_type="dataset")[0].title == "pushed"
    git("fsck", "--strict", "--full", cwd=bare(local_hub, dataset))
    stock_api.upload_file(path_or_fileobj=b"after\n", path_in_repo="after.txt", repo_id=dataset, repo_type="dataset")
    git("pull", "--ff-only", cwd=clone)
    assert (clone / "after.txt").read_bytes() == b"after\n"


def test_a_push_of_many_objects_leaves_a_whole_repository(
    git: Git, clone: Path, commit: Callable[..., None], local_hub: LocalHub, stock_api: HfApi, dataset: str
) -> None:
    commit(**{f"many__{number}_txt": os.urandom(12_000).hex().encode() for number in range(150)})  # chunked by git
    git("push", cwd=clone)
    git("fsck", "--strict", "--full", cwd=bare(local_hub, dataset))
    assert len(stock_api.list_repo_files(dataset, repo_type="dataset")) == 1 + 3 + 150


@needs_git_lfs
def test_git_lfs_sends_the_large_files_first(
    git: Git, clone: Path, commit: Callable[..., None], stock_api: HfApi, dataset: str
) -> None:
    git("lfs", "install", cwd=clone)
    commit(noise_bin=NOISE)
    git("push", cwd=clone)
    assert read(stock_api, dataset, "noise.bin") == NOISE
    (info,) = stock_api.get_paths_info(dataset, ["noise.bin"], repo_type="dataset")
    assert info.lfs is not None
    assert info.lfs.size == len(NOISE)


def test_branches_and_tags_are_made_and_removed(
    git: Git, clone: Path, commit: Callable[..., None], stock_api: HfApi, dataset: str
) -> None:
    git("checkout", "-b", "side/one", cwd=clone)
    commit(side_txt=b"side\n")
    git("tag", "-a", "v1", "-m", "what is new", cwd=clone)
    git("push", "origin", "side/one", "v1", cwd=clone)
    assert read(stock_api, dataset, "side.txt", "side/one") == read(stock_api, dataset, "side.txt", "v1") == b"side\n"
    refs = stock_api.list_repo_refs(dataset, repo_type="dataset")
    assert ([each.name for each in refs.branches], [each.name for each in refs.tags]) == (["main", "side/one"], ["v1"])
    assert "one that contains it exists" in git("push", "origin", "HEAD:refs/heads/side", cwd=clone, ok=False)
    git("push", "origin", ":side/one", ":v1", cwd=clone)
    refs = stock_api.list_repo_refs(dataset, repo_type="dataset")
    assert ([each.name for each in refs.branches], refs.tags) == (["main"], [])
    assert "Cannot delete refs/heads/main" in git("push", "origin", ":main", cwd=clone, ok=False)


def test_a_message_makes_an_annotated_tag(git: Git, clone: Path, stock_api: HfApi, dataset: str) -> None:
    stock_api.create_tag(dataset, tag="v2", tag_message="what is new\n\nand more", repo_type="dataset")
    stock_api.create_tag(dataset, tag="plain", repo_type="dataset")
    git("fetch", "--tags", cwd=clone)
    assert git("cat-file", "-t", "v2", cwd=clone).strip() == "tag"
    assert git("for-each-ref", "--format=%(contents)", "refs/tags/v2", cwd=clone).strip() == "what is new\n\nand more"
    assert git("cat-file", "-t", "plain", cwd=clone).strip() == "commit"
    assert (
        stock_api.repo_info(dataset, repo_type="dataset", revision="v2").sha
        == git("rev-parse", "main", cwd=clone).strip()
    )
    git("fsck", "--strict", cwd=clone)


def test_a_branch_that_moved_on_is_not_overwritten_unless_forced(
    git: Git, clone: Path, commit: Callable[..., None], stock_api: HfApi, dataset: str
) -> None:
    stock_api.upload_file(path_or_fileobj=b"theirs\n", path_in_repo="t.txt", repo_id=dataset, repo_type="dataset")
    commit(mine_txt=b"mine\n")
    assert "fetch first" in git("push", cwd=clone, ok=False)
    git("push", "--force", cwd=clone)
    assert read(stock_api, dataset, "mine.txt") == b"mine\n"
    with pytest.raises(EntryNotFoundError):
        read(stock_api, dataset, "t.txt")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 5\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"large_txt": b"line\n" * 2_200_000}, r"Offending files: large.txt"),
        ({"pointer_txt": POINTER}, "was not uploaded"),
        ({"..\\b_txt": b"x"}, "must stay inside"),
    ],
)
def test_a_push_that_no_commit_could_be_is_refused_in_words_and_leaves_nothing(
    files: dict[str, bytes],
    said: str,
    git: Git,
    clone: Path,
    commit: Callable[..., None],
    local_hub: LocalHub,
    stock_api: HfApi,
    dataset: str,
) -> None:
    head = stock_api.repo_info(dataset, repo_type="dataset").sha
    commit(**files)
    assert said in git("push", cwd=clone, ok=False)
    assert stock_api.repo_info(dataset, repo_type="dataset").sha == head
    pushed = git("rev-parse", "HEAD", cwd=clone).strip()
    git("cat-file", "-e", pushed, cwd=bare(local_hub, dataset), ok=False)


def test_who_may_not_write_may_not_push(git: Git, dataset: str, local_hub: LocalHub, tmp_path: Path) -> None:
    git("clone", f"{local_hub.endpoint}/datasets/{dataset}", "anonymous")
    git("commit", "--allow-empty", "-m", "x", cwd=tmp_path / "anonymous")
    git("push", cwd=tmp_path / "anonymous", ok=False)


@pytest.mark.parametrize("body", [b"", b"0000", b"zzzz", b"0009hello0000", b"00ffshort", b"0004" * 10])
def test_what_is_no_push_is_answered(body: bytes, dataset: str, local_hub: LocalHub) -> None:
    import requests

    answer = requests.post(
        f"{local_hub.endpoint}/datasets/{dataset}.git/git-receive-pack",
        data=body,
        headers={"Authorization": f"Bearer {local_hub.token}"},
        timeout=30,
    )
    assert answer.status_code == (200 if body == b"0000" else 400)


def test_a_broken_pack_is_refused_in_words(dataset: str, stock_api: HfApi, local_hub: LocalHub) -> None:
    import requests

    head = str(stock_api.repo_info(dataset, repo_type="dataset").sha)
    line = f"{head} {'1' * 40} refs/heads/main\0report-status\n".encode()
    for pack in (b"PACK", b"PACK\0\0\0\2\0\0\0\1" + b"x" * 40, b"no pack at all" * 10):
        answer = requests.post(
            f"{local_hub.endpoint}/datasets/{dataset}.git/git-receive-pack",
            data=b"%04x%s0000%s" % (len(line) + 4, line, pack),
            headers={"Authorization": f"Bearer {local_hub.token}"},
            timeout=30,
        )
        assert answer.status_code == 200
        assert b"unpack the pack" in answer.content
    assert stock_api.repo_info(dataset, repo_type="dataset").sha == head
