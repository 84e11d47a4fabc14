"""Two accounts, and any order of what they may do and try: each file stays its owner's, and nobody else's business.

`EXAMPLES=5000 pytest tests/hub/test_hub_two_accounts_states.py` looks longer.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import requests
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from hubspool.local_hub import LocalHub
from hubspool.local_hub.identifiers import hash_to_text
from tests.support.xet_shards import Xorb, shard

TIMEOUT = 30
ACCOUNTS = ("ada", "bob")
CONTENTS = {name: [os.urandom(3000) for _ in range(2)] for name in ACCOUNTS}  # what only this account has


@dataclass
class Repo:
    """What a repository must be."""

    owner: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _other(account: str) -> str:
    return "bob" if account == "ada" else "ada"


account = st.sampled_from(ACCOUNTS)
number = st.integers(0, 1)
path = st.sampled_from(["a.bin", "folder/b.bin"])


class TwoAccounts(RuleBasedStateMachine):
    """Each account has two repositories. All runs share a Hub, so what earlier runs stored is there, too."""

    hub: ClassVar[LocalHub]
    session: ClassVar[requests.Session]
    runs: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.run = next(self.runs)
        self.repos: dict[str, Repo] = {}

    def teardown(self) -> None:
        self.everybody_reads_what_is_theirs_and_no_more()

    def ask(self, who: str, method: str, address: str, **options: object) -> requests.Response:
        headers = {"Authorization": f"Bearer hf_{who}"} if who else {}
        headers |= options.pop("headers", {})  # type: ignore[arg-type]
        address = address if address.startswith("http") else self.hub.endpoint + address
        answer = self.session.request(method, address, headers=headers, timeout=TIMEOUT, **options)
        assert answer.status_code < 500, answer.text
        return answer

    def commit(self, who: str, repo: str, *lines: object, query: str = "") -> requests.Response:
        body = "\n".join(map(json.dumps, ({"key": "header", "value": {"summary": "x"}}, *lines)))
        return self.ask(who, "POST", f"/api/models/{repo}/commit/main{query}", data=body)

    def xet(self, who: str, repo: str, path: str, data: bytes) -> requests.Response:
        token = self.ask(who, "GET", f"/api/models/{repo}/xet-write-token/main").json()
        headers = {"Authorization": f"Bearer {token['accessToken']}"}
        return self.ask("", "POST", token["casUrl"] + path, data=data, headers=headers)

    def name(self, who: str, index: int) -> str:
        return f"{who}/r{self.run}-{index}"

    @initialize(private=st.lists(st.booleans(), min_size=4, max_size=4))
    def create(self, private: list[bool]) -> None:
        for who in ACCOUNTS:
            for index in (0, 1):
                name, hidden = self.name(who, index), private.pop()
                body = {"name": name.partition("/")[2], "private": hidden}
                assert self.ask(who, "POST", "/api/repos/create", json=body).status_code == 200
                self.repos[name] = Repo(who, hidden)

    # -- what an owner does

    @rule(who=account, index=number, which=number, path=path)
    def commit_to_git(self, who: str, index: int, which: int, path: str) -> None:
        content, repo = CONTENTS[who][which].hex().encode(), self.name(who, index)
        line = {"key": "file", "value": {"path": path, "content": content.decode(), "encoding": "utf-8"}}
        assert self.commit(who, repo, line).status_code == 200
        self.repos[repo].files[path] = content

    def _commit_large(self, who: str, repo: str, content: bytes, path: str) -> None:
        line = {"key": "lfsFile", "value": {"path": path, "oid": _sha256(content), "size": len(content)}}
        assert self.commit(who, repo, line).status_code == 200
        self.repos[repo].files[path] = content

    @rule(who=account, index=number, which=number, path=path)
    def upload_with_lfs(self, who: str, index: int, which: int, path: str) -> None:
        content, repo = CONTENTS[who][which], self.name(who, index)
        body = {"operation": "upload", "objects": [{"oid": _sha256(content), "size": len(content)}]}
        (described,) = self.ask(who, "POST", f"/{repo}.git/info/lfs/objects/batch", json=body).json()["objects"]
        if "actions" in described:
            href = described["actions"]["upload"]["href"]
            assert self.ask("", "PUT", href, data=content[:-1] + b"!").status_code in (200, 400)
            assert self.ask("", "PUT", href, data=content).status_code == 200
        self._commit_large(who, repo, content, path)

    @rule(who=account, index=number, which=number, path=path)
    def upload_with_xet(self, who: str, index: int, which: int, path: str) -> None:
        content, repo = CONTENTS[who][which], self.name(who, index)
        xorb = Xorb((content,))
        assert self.xet(who, repo, f"/v1/xorbs/default/{hash_to_text(xorb.hash)}", xorb.body).status_code == 200
        told = shard(xorb.file_hash, xorb.hash, xorb.nodes, sha256=_sha256(content), listed=xorb.nodes)
        assert self.xet(who, repo, "/v1/shards", told).status_code == 200
        self._commit_large(who, repo, content, path)

    @rule(who=account, index=number, private=st.booleans())
    def change_visibility(self, who: str, index: int, private: bool) -> None:
        repo = self.name(who, index)
        assert self.ask(who, "PUT", f"/api/models/{repo}/settings", json={"private": private}).status_code == 200
        self.repos[repo].private = private

    @rule(who=account, index=number)
    def delete_and_create_again(self, who: str, index: int) -> None:
        repo = self.name(who, index)
        body = {"name": repo.partition("/")[2]}
        assert self.ask(who, "DELETE", "/api/repos/delete", json=body).status_code == 200
        assert self.ask(who, "POST", "/api/repos/create", json={**body, "private": True}).status_code == 200
        self.repos[repo] = Repo(who, private=True)

    # -- what the other one tries

    @rule(thief=account, index=number, which=number, path=path)
    def claim_content(self, thief: str, index: int, which: int, path: str) -> None:
        content, repo = CONTENTS[_other(thief)][which], self.name(thief, index)
        line = {"key": "lfsFile", "value": {"path": path, "oid": _sha256(content), "size": len(content)}}
        assert self.commit(thief, repo, line).status_code == 400
        target = self.name(_other(thief), index)
        if not self.repos[target].private:
            assert self.commit(thief, target, line, query="?create_pr=1").status_code in (200, 400)

    @rule(thief=account, index=number, which=number, path=path)
    def commit_a_pointer(self, thief: str, index: int, which: int, path: str) -> None:
        content, repo = CONTENTS[_other(thief)][which], self.name(thief, index)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{_sha256(content)}\nsize {len(content)}\n"
        line = {"key": "file", "value": {"path": path, "content": pointer, "encoding": "utf-8"}}
        assert self.commit(thief, repo, line).status_code == 200
        self.repos[repo].files[path] = pointer.encode()

    @rule(thief=account, index=number, which=number, kind=st.sampled_from(["xorb", "file", "proof", "sha256"]))
    def forge(self, thief: str, index: int, which: int, kind: str) -> None:
        theirs, repo = Xorb((CONTENTS[_other(thief)][which],)), self.name(thief, index)
        own = Xorb((os.urandom(3000),))
        wrong = theirs.body[:-1] + bytes([theirs.body[-1] ^ 1])
        address = f"/v1/xorbs/default/{hash_to_text(theirs.hash)}"
        if kind == "xorb":
            assert self.xet(thief, repo, address, wrong).status_code == 400
            return
        assert self.xet(thief, repo, f"/v1/xorbs/default/{hash_to_text(own.hash)}", own.body).status_code == 200
        sha256 = _sha256(theirs.chunks[0])
        told = {
            "file": shard(theirs.file_hash, own.hash, own.nodes, sha256=sha256, listed=own.nodes),
            "proof": shard(theirs.file_hash, theirs.hash, theirs.nodes, sha256=sha256, proof=os.urandom(32)),
            "sha256": shard(own.file_hash, own.hash, own.nodes, sha256=sha256, listed=own.nodes),
        }[kind]
        assert self.xet(thief, repo, "/v1/shards", told).status_code == 400

    @rule(thief=account, index=number, at=number, which=number)
    def copy_from_a_private_repository(self, thief: str, index: int, at: int, which: int) -> None:
        victim, repo = self.name(_other(thief), index), self.name(thief, at)
        content = CONTENTS[_other(thief)][which]
        body = {"target": {"type": "model", "name": repo}, "files": [{"sha256": _sha256(content)}]}
        if self.repos[victim].private:
            status = self.ask(thief, "POST", f"/api/models/{victim}/lfs-files/duplicate", json=body).status_code
            assert status == 404

    @rule(thief=account, index=number, path=path)
    def write(self, thief: str, index: int, path: str) -> None:
        victim = self.name(_other(thief), index)
        line = {"key": "file", "value": {"path": path, "content": "mine", "encoding": "utf-8"}}
        refused = {404} if self.repos[victim].private else {403}
        assert self.commit(thief, victim, line).status_code in refused
        assert self.commit(thief, victim, {"key": "deletedFile", "value": {"path": path}}).status_code in refused
        for method, what, body in (
            ("PUT", "settings", {"private": False}), ("POST", "super-squash/main", {}), ("POST", "branch/b", {}),
        ):  # fmt: skip
            answer = self.ask(thief, method, f"/api/models/{victim}/{what}", json=body)
            assert answer.status_code in refused, (what, answer.text)
        body = {"name": victim.partition("/")[2], "organization": _other(thief)}
        assert self.ask(thief, "DELETE", "/api/repos/delete", json=body).status_code in refused
        move = {"fromRepo": victim, "toRepo": f"{thief}/taken"}
        assert self.ask(thief, "POST", "/api/repos/move", json=move).status_code in refused

    # -- what must be so at any time

    @rule()
    def everybody_reads_what_is_theirs_and_no_more(self) -> None:
        for name, repo in self.repos.items():
            for who in (*ACCOUNTS, ""):
                may_read = not repo.private or who == repo.owner
                for path, content in repo.files.items():
                    answer = self.ask(who, "GET", f"/{name}/resolve/main/{path}")
                    assert answer.status_code == (200 if may_read else 404 if who else 401), (name, who)
                    assert (answer.content == content) == may_read, (name, who, path)
                    if not may_read:
                        self._nothing_tells(who, name, path, content)

    def _nothing_tells(self, who: str, name: str, path: str, content: bytes) -> None:
        body = {"operation": "download", "objects": [{"oid": _sha256(content), "size": len(content)}]}
        places = [f"/{name}.git", *(f"/{own}.git" for own, repo in self.repos.items() if repo.owner == who)]
        for place in places:
            answer = self.ask(who, "POST", f"{place}/info/lfs/objects/batch", json=body)
            assert "actions" not in answer.text, (who, place)
        for address in (
            f"/{name}/raw/main/{path}", f"/{name}/blob/main/{path}", f"/{name}.git/info/refs?service=git-upload-pack",
            f"/api/models/{name}/tree/main", f"/api/models/{name}/xet-read-token/main",
            f"/lfs/objects/{_sha256(content)}",
        ):  # fmt: skip
            answer = self.ask(who, "GET", address)
            assert answer.status_code in (401, 403, 404), address
            assert path not in answer.text or address.endswith(path)


@pytest.mark.timeout(3600)
def test_two_accounts_in_any_order() -> None:
    with LocalHub(users=["ada:hf_ada", "bob:hf_bob"]) as TwoAccounts.hub, requests.Session() as TwoAccounts.session:
        TwoAccounts.session.trust_env = False
        run_state_machine_as_test(
            TwoAccounts,
            settings=settings(
                max_examples=int(os.environ.get("EXAMPLES", "6")),
                stateful_step_count=12,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
