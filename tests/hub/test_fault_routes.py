"""Every fault acts on every route that it claims: the answer changes, and only then it counts as a hit."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import Fault, LocalHub, RateLimit
from hubspool.local_hub.routes.table import ROUTES

TIMEOUT = 20
REPO = "local/rows"
API = f"/api/datasets/{REPO}"
#: An address of each route; those of `READS` answer from the state of a revision.
ADDRESSES = {
    "whoami": ("GET", "/api/whoami-v2"),
    "user-overview": ("GET", "/api/users/local/overview"),
    "organization": ("GET", "/api/organizations/local/members"),
    "validate-yaml": ("POST", "/api/validate-yaml"),
    "repo-create": ("POST", "/api/repos/create"),
    "repo-delete": ("DELETE", "/api/repos/delete"),
    "repo-move": ("POST", "/api/repos/move"),
    "repo-list": ("GET", "/api/datasets?full=true&cardData=true"),
    "repo-info": ("GET", API),
    "repo-settings": ("PUT", f"{API}/settings"),
    "auth-check": ("GET", f"{API}/auth-check"),
    "preupload": ("POST", f"{API}/preupload/main"),
    "commit": ("POST", f"{API}/commit/main"),
    "commits": ("GET", f"{API}/commits/main"),
    "compare": ("GET", f"{API}/compare/main...other"),
    "refs": ("GET", f"{API}/refs"),
    "branch-create": ("POST", f"{API}/branch/new"),
    "branch-delete": ("DELETE", f"{API}/branch/new"),
    "tag-create": ("POST", f"{API}/tag/main"),
    "tag-delete": ("DELETE", f"{API}/tag/new"),
    "super-squash": ("POST", f"{API}/super-squash/main"),
    "discussion-create": ("POST", f"{API}/discussions"),
    "discussion-info": ("GET", f"{API}/discussions/1"),
    "discussion-merge": ("POST", f"{API}/discussions/1/merge"),
    "tree": ("GET", f"{API}/tree/main"),
    "paths-info": ("POST", f"{API}/paths-info/main"),
    "resolve": ("GET", f"/datasets/{REPO}/resolve/main/a.bin"),
    "raw": ("GET", f"/datasets/{REPO}/raw/main/a.bin"),
    "lfs-list": ("GET", f"{API}/lfs-files"),
    "lfs-delete": ("POST", f"{API}/lfs-files/batch"),
    "lfs-duplicate": ("POST", f"{API}/lfs-files/duplicate"),
    "lfs-batch": ("POST", f"/datasets/{REPO}.git/info/lfs/objects/batch"),
    "lfs-verify": ("POST", f"/datasets/{REPO}.git/info/lfs/verify"),
    "lfs-locks": ("GET", f"/datasets/{REPO}.git/info/lfs/locks"),
    "lfs-put": ("PUT", f"/lfs/objects/{'a' * 64}/local/rows/local"),
    "lfs-part": ("PUT", f"/lfs/parts/{'a' * 64}/local/rows/local/1"),
    "lfs-complete": ("POST", f"/lfs/complete/{'a' * 64}/local/rows/local"),
    "lfs-get": ("GET", f"/lfs/objects/{'a' * 64}"),
    "xet-token": ("GET", f"{API}/xet-read-token/main"),
    "bucket-list": ("GET", "/api/buckets/local"),
    "bucket-create": ("POST", "/api/buckets/local/new"),
    "bucket-delete": ("DELETE", "/api/buckets/local/votes"),
    "bucket-info": ("GET", "/api/buckets/local/votes"),
    "bucket-settings": ("PUT", "/api/buckets/local/votes/settings"),
    "bucket-tree": ("GET", "/api/buckets/local/votes/tree"),
    "bucket-paths-info": ("POST", "/api/buckets/local/votes/paths-info"),
    "bucket-batch": ("POST", "/api/buckets/local/votes/batch"),
    "bucket-events": ("GET", "/api/buckets/local/votes/events"),
    "bucket-token": ("GET", "/api/buckets/local/votes/xet-read-token"),
    "bucket-resolve": ("GET", "/buckets/local/votes/resolve/a.bin"),
    "xet-chunk": ("GET", f"/xet/0/chunks/default/{'a' * 64}"),
    "xet-xorb": ("POST", f"/xet/0/xorbs/default/{'a' * 64}"),
    "xet-shard": ("POST", "/xet/0/shards"),
    "xet-reconstruction": ("GET", f"/xet/0/reconstructions/{'a' * 64}"),
    "xet-telemetry": ("POST", "/xet/0/telemetry"),
    "xet-data": ("GET", f"/xet/0/data/{'a' * 64}"),
    "git-refs": ("GET", f"/datasets/{REPO}.git/info/refs?service=git-upload-pack"),
    "git-upload-pack": ("POST", f"/datasets/{REPO}.git/git-upload-pack"),
    "git-receive-pack": ("POST", f"/datasets/{REPO}.git/git-receive-pack"),
    "login": ("POST", "/login"),
    "page": ("GET", f"/datasets/{REPO}/tree/main"),
}
PAGES = ["/", f"/datasets/{REPO}/blob/main/a.bin", f"/datasets/{REPO}/commits/main", f"/datasets/{REPO}"]
READS = (
    "repo-list", "repo-info", "preupload", "commits", "compare", "refs", "tree", "paths-info", "resolve", "raw",
    "lfs-list", "page",
)  # fmt: skip
BODIES = {
    "preupload": {"files": [{"path": "a.bin", "size": 10, "sample": ""}]},
    "paths-info": {"paths": ["a.bin"]},
}

Ask = Callable[..., requests.Response]


@pytest.fixture
def ask(local_hub: LocalHub, http: requests.Session, stock_api: HfApi, dataset: str) -> Ask:
    """Sends a request to a route, or an address, of a Hub with a repository whose last commit changed a large file."""
    for content in (b"first", b"second"):
        stock_api.upload_file(
            path_or_fileobj=content * 1000,
            path_in_repo="a.bin",
            repo_id=dataset,
            repo_type="dataset",
            commit_message=content.decode(),
        )
        if content == b"first":
            stock_api.create_branch(dataset, branch="other", repo_type="dataset")

    def send(name: str, address: str | None = None) -> requests.Response:
        method, default = ADDRESSES[name]
        body = BODIES.get(name)
        http.close()  # a connection that a fault has cut
        url = f"{local_hub.endpoint}{address or default}"
        return http.request(method, url, json=body, timeout=TIMEOUT, allow_redirects=False)

    return send


def answer(response: requests.Response) -> str:
    """What an answer says, without what differs each time."""
    text = re.sub(r"[\w-]+\.[\w-]+\.[\w-]+|sig=\w+", "", response.text)
    return f"{response.status_code} {text} {response.headers.get('X-Repo-Commit')}"


def test_each_route_has_an_address_here() -> None:
    assert {route.name for route in ROUTES} == set(ADDRESSES)


@pytest.mark.parametrize(("name", "address"), [*((name, None) for name in READS), *(("page", page) for page in PAGES)])
def test_a_stale_read_shows_the_state_before_the_last_commit(
    name: str, address: str | None, ask: Ask, local_hub: LocalHub
) -> None:
    now = ask(name, address)
    assert now.status_code == 200
    local_hub.faults.add(Fault(route=name, stale=1))
    before = ask(name, address)
    assert before.status_code == 200
    assert answer(before) != answer(now)
    assert answer(ask(name, address)) == answer(now)
    assert len(local_hub.faults.hits) == 1


@pytest.mark.parametrize("name", sorted(set(ADDRESSES) - {*READS, "commit", "repo-delete", "repo-move"}))
def test_a_route_without_an_older_state_is_not_hit_by_a_stale_read(name: str, ask: Ask, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route=name, stale=1, times=None))
    ask(name)
    assert local_hub.faults.hits == []


def test_a_stale_read_of_what_did_not_change_is_no_hit(ask: Ask, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="tree", stale=1, times=None))
    ask("tree", f"{API}/tree/{ask('repo-info').json()['sha']}")
    assert len(local_hub.faults.hits) == 1
    first = ask("commits").json()[-1]["id"]
    ask("tree", f"{API}/tree/{first}")
    assert len(local_hub.faults.hits) == 1


def test_every_other_fault_changes_the_answer_of_every_route(ask: Ask, local_hub: LocalHub) -> None:
    """Also where the request itself would be refused."""
    replaced = {
        "status": Fault(status=418, body="tea"),
        "headers": Fault(headers={"X-Fault": "yes"}),
        "limit": Fault(limit=RateLimit(0), times=None),
        "late": Fault(status=504, late=0.0),
        "cut": Fault(keep_bytes=0),
        "drop": Fault(drop=True),
    }
    for name in ADDRESSES:
        for effect, fault in replaced.items():
            if (name, effect) == ("xet-telemetry", "cut"):
                continue  # its answer has no body
            local_hub.faults.clear()
            hits = len(local_hub.faults.hits)
            local_hub.faults.add(fault)
            if effect in ("cut", "drop"):
                with pytest.raises(requests.RequestException):
                    ask(name)
            else:
                found = ask(name)
                seen = {"status": found.status_code == 418 and found.text == "tea", "late": found.status_code == 504}
                seen |= {"headers": found.headers.get("X-Fault") == "yes", "limit": found.status_code == 429}
                assert seen[effect], (name, effect, found.status_code)
            assert len(local_hub.faults.hits) == hits + 1, (name, effect)


def test_a_full_disk_is_a_hit_where_something_was_written(ask: Ask, local_hub: LocalHub) -> None:
    fault = local_hub.faults.add(Fault(full_disk=0, times=None))
    assert ask("tree").status_code == 200
    assert local_hub.faults.hits == []
    local_hub.faults.clear()
    local_hub.faults.add(fault)
    assert ask("repo-settings").status_code == 507
    assert [hit.route for hit in local_hub.faults.hits] == ["repo-settings"]
