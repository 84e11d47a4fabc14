"""Organizations: a namespace that belongs to its members; and what else clients ask of accounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hubspool.local_hub import LocalHub, User
from hubspool.local_hub.storage.accounts import with_organizations


@pytest.fixture
def hub(tmp_path: Path, hub_environment: Path) -> Iterator[LocalHub]:
    users = [User.parse(text) for text in ("ada:hf_a", "ada:hf_r:read", "bob:hf_b", "eve:hf_e")]
    with LocalHub(tmp_path / "root", users=with_organizations(users, ["lab:ada,bob", "club:bob"])) as hub:
        yield hub


def api(hub: LocalHub, token: str) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


def test_a_member_makes_and_changes_what_belongs_to_the_organization(hub: LocalHub) -> None:
    ada, bob = api(hub, "hf_a"), api(hub, "hf_b")
    ada.create_repo("lab/rows", repo_type="dataset", private=True)
    bob.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="lab/rows", repo_type="dataset")
    assert bob.list_repo_files("lab/rows", repo_type="dataset") == [".gitattributes", "x.txt"]
    bob.move_repo("lab/rows", "club/rows", repo_type="dataset")
    bob.delete_repo("club/rows", repo_type="dataset")


def test_others_neither_see_nor_change_it(hub: LocalHub) -> None:
    api(hub, "hf_a").create_repo("lab/rows", repo_type="dataset", private=True)
    with pytest.raises(RepositoryNotFoundError):
        api(hub, "hf_e").repo_info("lab/rows", repo_type="dataset")
    for token in ("hf_e", "hf_r"):
        with pytest.raises(HfHubHTTPError, match="rights"):
            api(hub, token).create_repo("lab/other", repo_type="dataset")
    assert api(hub, "hf_r").repo_info("lab/rows", repo_type="dataset").private
    with pytest.raises(HfHubHTTPError, match="rights"):
        api(hub, "hf_a").create_repo("club/rows")


def test_clients_are_told_who_belongs_to_what(hub: LocalHub) -> None:
    ada = api(hub, "hf_a")
    ada.create_repo("lab/rows", repo_type="dataset")
    assert [each["name"] for each in ada.whoami()["orgs"]] == ["lab"]
    assert [each.username for each in ada.list_organization_members("lab")] == ["ada", "bob"]
    overview = ada.get_organization_overview("lab")
    assert (overview.name, overview.num_users, overview.num_datasets) == ("lab", 2, 1)
    user = ada.get_user_overview("bob")
    assert (user.username, [each.name for each in user.orgs]) == ("bob", ["lab", "club"])
    for unknown in (ada.get_user_overview, ada.get_organization_overview):
        with pytest.raises(HfHubHTTPError, match="There is no"):
            unknown("nobody")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lab", "not written as"),
        ("lab:", "not written as"),
        ("lab:zoe", "who is no user"),
        ("api:ada", "not a name"),
        ("ada:bob", "cannot be a user and an organization"),
        ("ADA:bob", "differ in case only"),
    ],
)
def test_an_organization_that_cannot_be_is_named(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        LocalHub(tmp_path, users=with_organizations([User("ada", "hf_a"), User("bob", "hf_b")], [text]))


def test_large_files_are_listed_and_deleted(local_hub: LocalHub, stock_api: HfApi, dataset: str) -> None:
    for path, content in {
        "a.bin": b"a" * 5000,
        "same.bin": b"a" * 5000,
        "sub/b.bin": b"b" * 6000,
        "c.txt": b"c",
    }.items():
        stock_api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=dataset, repo_type="dataset")
    files = list(stock_api.list_lfs_files(dataset, repo_type="dataset"))
    assert sorted((each.filename, each.size, each.ref) for each in files) == [
        ("a.bin", 5000, "refs/heads/main"),
        ("sub/b.bin", 6000, "refs/heads/main"),
    ]
    stock_api.permanently_delete_lfs_files(dataset, files[:1], repo_type="dataset")
    left = [each.filename for each in stock_api.list_lfs_files(dataset, repo_type="dataset")]
    assert left == [each.filename for each in files[1:]]
