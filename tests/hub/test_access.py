"""Who may do what, and what the others are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hubspool.local_hub import LocalHub, User
from hubspool.local_hub.storage.signing import Signer

OWNER, GUEST, READER, NOTHING, FINE = "hf_owner", "hf_guest", "hf_reader", "hf_nothing", "hf_fine"


@pytest.fixture
def hub(hub_environment: Path) -> Iterator[LocalHub]:
    users = [f"ada:{OWNER}", User("bob", GUEST), f"ada:{READER}:read", f"ada:{NOTHING}:none"]
    users.append(f"ci:{FINE}:fineGrained=ada/named,datasets/ada/rows")
    with LocalHub(users=users) as hub:
        HfApi(endpoint=hub.endpoint, token=OWNER).create_repo("ada/secret", private=True)
        HfApi(endpoint=hub.endpoint, token=OWNER).create_repo("ada/open")
        yield hub


def api(hub: LocalHub, token: str | bool) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


@pytest.mark.parametrize("token", [GUEST, NOTHING, False])
def test_a_private_repository_is_invisible_to_others(hub: LocalHub, token: str | bool) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api(hub, token).repo_info("ada/secret")
    with pytest.raises(RepositoryNotFoundError):
        api(hub, token).hf_hub_download("ada/secret", ".gitattributes")
    assert [repo.id for repo in api(hub, token).list_models()] == ["ada/open"]
    answers = {
        requests.get(f"{hub.endpoint}/api/models/ada/{name}", headers=_headers(token), timeout=10).text
        for name in ("secret", "missing")
    }
    assert len(answers) == 1  # nothing tells a private repository from one that does not exist


@pytest.mark.parametrize("token", [OWNER, READER])
def test_the_owner_sees_a_private_repository(hub: LocalHub, token: str) -> None:
    assert api(hub, token).repo_info("ada/secret").private
    assert len(list(api(hub, token).list_models())) == 2


@pytest.mark.parametrize(("token", "status"), [(GUEST, 403), (READER, 403), (NOTHING, 403), (False, 401)])
def test_only_the_owners_write_token_changes_a_public_repository(hub: LocalHub, token: str | bool, status: int) -> None:
    client = api(hub, token)
    assert client.list_repo_files("ada/open") == [".gitattributes"]
    for change in (
        lambda: client.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="ada/open"),
        lambda: client.create_branch("ada/open", branch="b"),
        lambda: client.delete_repo("ada/open"),
        lambda: client.create_repo("ada/new"),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            change()
        assert caught.value.response.status_code == status
        assert caught.value.response.headers["X-Request-Id"]
    url = f"{hub.endpoint}/api/models/ada/open/xet-write-token/main"
    assert requests.get(url, headers=_headers(token), timeout=10).status_code == status


def test_a_token_that_is_not_known_is_refused_everywhere(hub: LocalHub) -> None:
    for path in ("api/whoami-v2", "api/models/ada/open", "ada/open/resolve/main/.gitattributes"):
        answer = requests.get(f"{hub.endpoint}/{path}", headers=_headers("hf_wrong"), timeout=10)
        assert answer.status_code == 401
        assert answer.headers["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_whoami_tells_name_and_role(hub: LocalHub) -> None:
    assert api(hub, READER).whoami()["name"] == "ada"
    assert api(hub, READER).whoami()["auth"]["accessToken"]["role"] == "read"
    assert api(hub, OWNER).whoami()["auth"]["accessToken"]["role"] == "write"


def test_a_repository_can_be_made_private_afterwards(hub: LocalHub) -> None:
    api(hub, OWNER).update_repo_settings("ada/open", visibility="private")
    with pytest.raises(RepositoryNotFoundError):
        api(hub, GUEST).repo_info("ada/open")


def test_signed_links_and_xet_tokens_cannot_be_forged(hub: LocalHub) -> None:
    token = requests.get(
        f"{hub.endpoint}/api/models/ada/open/xet-read-token/main", headers=_headers(GUEST), timeout=10
    ).json()
    xorb = f"{token['casUrl']}/v1/xorbs/default/{'0' * 64}"
    for access, status in ((token["accessToken"], 403), ("write" + token["accessToken"][4:], 401), ("", 401)):
        assert requests.post(xorb, data=b"x", headers=_headers(access), timeout=10).status_code == status
    address = f"{hub.endpoint}/lfs/objects/{'0' * 64}/ada/open/ada"
    for signature in ("", f"?sig=9999999999.{'0' * 64}"):
        assert requests.put(address + signature, data=b"x", timeout=10).status_code == 403


def test_a_permission_ends() -> None:
    signer = Signer(b"key")
    assert signer.valid(signer.sign("put", "x"), "put", "x")
    assert not signer.valid(signer.sign("put", "x", seconds=-1), "put", "x")
    assert not signer.valid(signer.sign("put", "x"), "get", "x")
    assert not signer.valid("", "put", "x")


def test_no_token_is_ever_shown(hub: LocalHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    requests.get(f"{hub.endpoint}/api/whoami-v2", headers=_headers(OWNER), timeout=10)
    shown = f"{hub.users!r} {list(hub.requests)!r} {caplog.text}"
    assert not any(token in shown for token in (OWNER, GUEST, READER, NOTHING))


@pytest.mark.parametrize("text", ["ada", "ada:", "a b:t", "ada:hf x", "ada:t:admin", ":t", "ada:t:read:x", "api:t"])
def test_a_bad_user_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"user|User|token|role"):
        User.parse(text)


def test_the_default_token_is_for_this_machine_only() -> None:
    with pytest.raises(ValueError, match="--user"):
        LocalHub(host="0.0.0.0")


def _headers(token: str | bool) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def test_a_fine_grained_token_writes_the_named_repositories_only(hub: LocalHub) -> None:
    owner, fine = api(hub, OWNER), api(hub, FINE)
    owner.create_repo("ada/named", private=True)
    owner.create_repo("ada/rows", repo_type="dataset", private=True)
    assert fine.whoami()["auth"]["accessToken"]["role"] == "fineGrained"
    for kind, name in (("model", "ada/named"), ("dataset", "ada/rows")):
        big, small = b"\0x" * 600_000, b"1"
        fine.upload_file(path_or_fileobj=big, path_in_repo="big.bin", repo_id=name, repo_type=kind)
        fine.upload_file(path_or_fileobj=small, path_in_repo="a.txt", repo_id=name, repo_type=kind, create_pr=True)
        assert fine.list_repo_files(name, repo_type=kind) == [".gitattributes", "big.bin"]
    assert {repo.id for repo in fine.list_models()} == {"ada/named", "ada/open"}
    with pytest.raises(RepositoryNotFoundError):
        fine.repo_info("ada/secret")
    assert fine.list_repo_files("ada/open") == [".gitattributes"]
    for change in (
        lambda: fine.create_repo("ci/new"),
        lambda: fine.create_repo("ada/new"),
        lambda: fine.move_repo("ada/named", "ci/named"),
        lambda: fine.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="ada/open"),
        lambda: fine.create_pull_request("ada/open", "From a stranger"),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            change()
        assert caught.value.response.status_code == 403


@pytest.mark.parametrize(
    "text", ["ci:t:fineGrained", "ci:t:fineGrained=", "ci:t:write=ada/x", "ci:t:fineGrained=rows", "ci:t:admin", "ci"]
)
def test_a_user_that_is_written_wrongly_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"ci|role|repository") as caught:
        User.parse(text)
    assert "\n" not in str(caught.value)
