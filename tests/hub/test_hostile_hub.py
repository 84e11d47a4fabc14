"""A Hub, or a proxy, that names other places: the token stays, and no file lands outside of its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hubspool import ErrorEvent, HfApi
from hubspool.client.connections import origin, prepared
from hubspool.client.http import HubClient, HubSession
from hubspool.client.operations import CommitOperationAdd
from hubspool.client.repo_info import parse_entry
from hubspool.client.retry import RetryPolicy
from hubspool.client.validation import local_path
from hubspool.errors import BadResponseError, HFValidationError, HubspoolError
from hubspool.local_hub import Fault, LocalHub
from hubspool.settings import Token
from tests.support.raw_server import RawServer, raw_server

SECRET = "hf_neverShownAnywhere"
ONCE = RetryPolicy(attempts=1)
Make = Callable[..., Any]
FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("hub_environment")]


@pytest.fixture
def settles() -> bool:
    return False


@pytest.fixture
def elsewhere() -> Iterator[RawServer]:
    with raw_server(lambda _: [FOUND]) as server:
        yield server


def client(endpoint: str) -> HubClient:
    return HubClient(HubSession(timeout=10, retry=ONCE), endpoint, Token(SECRET, "test"))


def locations(hub: str, other: str) -> list[str]:
    """Addresses that some parser reads as the Hub's, and that lead elsewhere."""
    hub, other = hub.removeprefix("http://"), other.removeprefix("http://")
    return [
        f"http://{other}\\@{hub}/x",
        f"http:\\\\{other}\\@{hub}/x",
        f"http://{hub}@{other}/x",
        f"http://{hub}:x@{other}/x",
        f"http://{other}#@{hub}/x",
        f"http://{other}?@{hub}/x",
        f"HTTP://{other}\\@{hub}/x",
        f"//{other}\\@{hub}/x",
        f"//{other}/x",
        f"http://{other}\t\\@{hub}/x",
        f"http:/\t/{other}/x",
        f"http://{other};@{hub}/x",
        f"http://{other}%40{hub}/x",
        "http://[/x",
        "http://[::1]x/",
        "file:///etc/passwd",
    ]


@pytest.mark.parametrize("number", range(len(locations("", ""))))
@pytest.mark.parametrize("by", ["redirect", "page", "upload"])
def test_the_token_goes_to_no_other_host_however_the_address_is_written(
    number: int, by: str, elsewhere: RawServer
) -> None:
    def script(line: str) -> list[bytes]:
        address = locations(hub.endpoint, elsewhere.endpoint)[number]
        if line.startswith("GET /start"):
            name = f"Location: {address}" if by == "redirect" else f'Link: <{address}>; rel="next"'
            status = "302 Found" if by == "redirect" else "200 OK"
            return [f"HTTP/1.1 {status}\r\n{name}\r\nContent-Length: 2\r\n\r\n[]".encode()]
        return [FOUND]

    with raw_server(script) as hub:
        asking, address = client(hub.endpoint), locations(hub.endpoint, elsewhere.endpoint)[number]
        try:
            if by == "redirect":
                asking.request("GET", f"{hub.endpoint}/start")
            elif by == "page":
                list(asking.pages(f"{hub.endpoint}/start"))
            else:
                asking.request("PUT", address)
        except HubspoolError as error:
            assert SECRET not in f"{error!r} {error}"
        assert SECRET not in "".join(elsewhere.heads)
        if by != "upload":
            assert SECRET in hub.heads[0]


def test_the_hubs_own_address_gets_the_token_however_it_is_written() -> None:
    for address in ("HTTPS://Hub.Example/x", "https://hub.example:443/x", "https://hub.example/a b\\c"):
        assert origin(prepared(address)) == origin("https://hub.example") == ("https", "hub.example", 443)
    for address in ("http://hub.example/x", "https://hub.example:444/x", "https://hub.example./x"):
        assert origin(prepared(address)) != origin("https://hub.example")


def test_an_https_hub_leads_to_no_address_without_it(elsewhere: RawServer) -> None:
    with pytest.raises(BadResponseError, match="not https"):
        client("https://hub.example").request("PUT", f"{elsewhere.endpoint}/lfs", json={})
    assert elsewhere.requests == []


def test_a_store_of_an_https_hub_without_https_is_refused(hub_api: HfApi, local_hub: LocalHub) -> None:
    from hubspool.client.transfer.xet import XetTokens

    hub_api.create_repo("local/kept", repo_type="dataset")
    token = {"casUrl": "http://cas.example", "accessToken": "x", "exp": 4_000_000_000}
    local_hub.faults.add(Fault(route="xet-token", times=None, status=200, body=json.dumps(token)))
    url = f"{local_hub.endpoint}/api/datasets/local/kept/xet-write-token/main"
    asking = client(local_hub.endpoint)
    with pytest.raises(BadResponseError, match="Xet token"):
        XetTokens().get(HttpsClient(asking.session, asking.endpoint, asking.token), url)
    assert XetTokens().get(asking, url) is not None


class HttpsClient(HubClient):
    """A client of an https Hub, whose answers come from the local one."""

    def json(self, method: str, url: str, **options: Any) -> Any:
        answer = super().json(method, url, **options)
        object.__setattr__(self, "endpoint", "https://hub.example")
        return answer


def test_the_token_stays_when_lfs_names_another_host(
    hub_api: HfApi, local_hub: LocalHub, elsewhere: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    hub_api.create_repo("local/kept", repo_type="dataset")
    hub_api.session.retry = ONCE
    addition = CommitOperationAdd("x.bin", os.urandom(300_000))
    other = elsewhere.endpoint.removeprefix("http://")
    own = local_hub.endpoint.removeprefix("http://")
    actions = {name: {"href": f"http://{other}\\@{own}/{name}"} for name in ("upload", "verify")}
    answer = {"objects": [{"oid": addition.sha256, "size": addition.size, "actions": actions}]}
    local_hub.faults.add(Fault(path="/info/lfs/objects/batch$", times=None, status=200, body=json.dumps(answer)))
    hub_api.preupload_lfs_files("local/kept", [addition], repo_type="dataset")
    assert [line.split()[0] for line in elsewhere.requests] == ["PUT", "POST"]
    assert local_hub.token not in "".join(elsewhere.heads)


OUTSIDE = [
    "../outside.txt",
    "sub/../../outside.txt",
    "/tmp/outside.txt",
    "a//outside.txt",
    "./outside.txt",
    "nul\0.txt",
    "",
]
FOREIGN = [
    ".git/hooks/pre-commit",
    ".GIT/config",
    "sub/.git/config",
    ".cache/huggingface/hubspool/ledger.sqlite3",
    "a\\..\\..\\outside.txt",
    ".git /config",
    "GIT~1/config",
    "rows-0123abcd.spool/x.txt",
    "link/outside.txt",
    "inner/config",
    "tab\t.txt",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_no_repository_can_hold_is_a_bad_answer(path: str) -> None:
    with pytest.raises(BadResponseError, match="no path"):
        parse_entry({"type": "file", "path": path, "size": 1, "oid": "0" * 40})


@pytest.mark.parametrize("path", [*OUTSIDE, *FOREIGN])
def test_restore_writes_nowhere_but_into_its_folder(
    path: str, make: Make, hub_api: HfApi, local_hub: LocalHub, tmp_path: Path
) -> None:
    hub_api.create_repo("local/kept", repo_type="dataset")
    folder = tmp_path / "folder"
    for each in (folder / ".git" / "hooks", tmp_path / "other"):
        each.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "other")
    (folder / "inner").symlink_to(folder / ".git")
    (folder / "broken.txt").symlink_to(tmp_path / "other" / "outside.txt")
    before = {each for each in tmp_path.rglob("*") if each.is_file()}
    entries = [{"type": "file", "path": each, "size": 7, "oid": "0" * 40} for each in (path, "good.txt", "broken.txt")]
    local_hub.faults.add(Fault(route="tree", times=None, status=200, body=json.dumps(entries)))
    served = local_hub.faults.add(Fault(route="resolve", times=None, status=200, body="content"))
    errors: list[ErrorEvent] = []  # the status forgets an error with the first push that succeeds
    make(restore=True, on_error=errors.append)
    written = {each for each in tmp_path.rglob("*") if each.is_file()} - before
    written = {each for each in written if "hubspool" not in each.parts and tmp_path / "home" not in each.parents}
    assert {each for each in written if each.name not in ("good.txt",)} == set(), path
    assert (folder / "broken.txt").is_symlink()
    if path in OUTSIDE:
        assert "no path in a repository" in str(errors[0].error)
    else:
        assert served in [hit.fault for hit in local_hub.faults.hits]
        assert (folder / "good.txt").read_text() == "content"


def test_a_file_where_the_repository_has_a_folder_is_told_and_left_alone(
    make: Make, hub_api: HfApi, tmp_path: Path
) -> None:
    hub_api.create_repo("local/kept", repo_type="dataset")
    hub_api.upload_file(path_or_fileobj=b"1", path_in_repo="a/b.txt", repo_id="local/kept", repo_type="dataset")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("mine")
    errors: list[ErrorEvent] = []
    make(restore=True, on_error=errors.append)
    assert "cannot be written" in str(errors[0].error)
    assert (tmp_path / "folder" / "a").read_text() == "mine"


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "short").symlink_to(tmp_path / "data")
    assert local_path(tmp_path, "short/a.txt") == tmp_path / "short" / "a.txt"
    with pytest.raises(HFValidationError, match="not for downloads"):
        local_path(tmp_path, "a-0123abcd.spool/b.txt")


def test_an_entry_outside_of_the_folder_that_was_asked_for_is_left_alone(
    make: Make, hub_api: HfApi, local_hub: LocalHub, tmp_path: Path
) -> None:
    hub_api.create_repo("local/kept", repo_type="dataset")
    entries = [{"type": "file", "path": path, "size": 7, "oid": "0" * 40} for path in ("other/a.txt", "data/b.txt")]
    local_hub.faults.add(Fault(route="tree", times=None, status=200, body=json.dumps(entries)))
    local_hub.faults.add(Fault(route="resolve", times=None, status=200, body="content"))
    make(restore=True, path_in_repo="data")
    assert [path.name for path in (tmp_path / "folder").rglob("*.txt")] == ["b.txt"]


@pytest.mark.parametrize(
    "body", ["[]", "{}", "null", "3", '"text"', '[{"type": "file"}]', '{"id": 3, "createdAt": []}']
)
def test_an_answer_of_another_form_is_told_and_no_error_in_the_app(
    body: str, make: Make, hub_api: HfApi, local_hub: LocalHub
) -> None:
    hub_api.create_repo("local/kept", repo_type="dataset")
    local_hub.faults.add(Fault(method="GET", times=None, status=200, body=body))
    for repo_id in ("kept", "local/kept"):
        errors: list[ErrorEvent] = []
        api = HfApi(hub_api.endpoint, hub_api.token)
        make(folder=repo_id, repo_id=repo_id, restore=True, hf_api=api, on_error=errors.append)
        assert errors
    assert local_hub.faults.hits
