"""What a page that the user visits cannot do, and what another user of the machine cannot read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub

TIMEOUT = 30
BASIC = ("ada", "hf_ada")


@pytest.fixture
def hub(hub_environment: Path, tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "root", users=["ada:hf_ada"]) as hub:
        HfApi(endpoint=hub.endpoint, token="hf_ada").create_repo("ada/secret", private=True)
        yield hub


# -- names


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "[fe80::1]"],
)
@pytest.mark.parametrize("path", ["/", "/api/models", "/ada/secret/resolve/main/.gitattributes", "/no/such/page"])
def test_a_name_that_leads_here_by_dns_rebinding_is_refused(hub: LocalHub, host: str, path: str) -> None:
    answer = requests.get(hub.endpoint + path, headers={"Host": host}, auth=BASIC, timeout=TIMEOUT)
    assert answer.status_code == 421
    assert "ada" not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.1.2.3:1", "[::1]:5", "hub.localhost", "localhost."]
)
def test_every_name_of_this_machine_is_served(hub: LocalHub, host: str) -> None:
    headers = {"Host": host, "Authorization": "Bearer hf_ada"}
    assert requests.get(f"{hub.endpoint}/api/models/ada/secret", headers=headers, timeout=TIMEOUT).status_code == 200


def test_a_hub_for_other_machines_serves_every_name() -> None:
    with LocalHub(host="0.0.0.0", users=["ada:hf_ada"]) as hub:
        port = hub.endpoint.rpartition(":")[2]
        answer = requests.get(f"http://127.0.0.1:{port}/", headers={"Host": "hub.example"}, timeout=TIMEOUT)
        assert answer.status_code == 200


# -- pages of other origins

ANOTHER_PORT = {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}
WRITES = [
    ("POST", "/api/repos/create", '{"name": "made"}'),
    ("POST", "/api/models/ada/secret/commit/main", '{"key": "header", "value": {"summary": "x"}}'),
    ("POST", "/api/models/ada/secret/branch/b", "{}"),
    ("PUT", "/api/models/ada/secret/settings", '{"private": false}'),
    ("DELETE", "/api/repos/delete", '{"name": "secret"}'),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize(
    "headers",
    [
        ANOTHER_PORT,
        {"Origin": "http://127.0.0.1:7860"},
        {"Origin": "null"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    ],
    ids=["another port", "an old browser", "a sandbox", "another name", "another site"],
)
def test_a_page_of_another_origin_writes_nothing_with_the_users_password(
    hub: LocalHub, method: str, path: str, body: str, headers: dict[str, str]
) -> None:
    port = hub.endpoint.rpartition(":")[2]
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    sent["Content-Type"] = "text/plain"  # a request that a browser sends without asking first
    answer = requests.request(method, hub.endpoint + path, data=body, headers=sent, auth=BASIC, timeout=TIMEOUT)
    assert answer.status_code == 401
    api = HfApi(endpoint=hub.endpoint, token="hf_ada")
    assert api.repo_info("ada/secret").private
    assert [repo.id for repo in api.list_models()] == ["ada/secret"]


def test_our_own_pages_and_programs_write(hub: LocalHub) -> None:
    own = {"Origin": hub.endpoint, "Sec-Fetch-Site": "same-origin"}
    bearer = {**ANOTHER_PORT, "Authorization": "Bearer hf_ada"}  # a page has to know this token itself
    for name, headers, auth in (("git", {}, BASIC), ("page", own, BASIC), ("bearer", bearer, None)):
        answer = requests.post(
            f"{hub.endpoint}/api/repos/create", json={"name": name}, headers=headers, auth=auth, timeout=TIMEOUT
        )
        assert answer.status_code == 200, name


def test_a_page_of_another_origin_reads_nothing_but_may_link(hub: LocalHub) -> None:
    path = f"{hub.endpoint}/ada/secret"
    link = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert requests.get(path, headers=link, auth=BASIC, timeout=TIMEOUT).status_code == 200
    for headers in (ANOTHER_PORT, {**link, "Sec-Fetch-Dest": "iframe"}, {**link, "Sec-Fetch-Site": "cross-site"}):
        assert requests.get(path, headers=headers, auth=BASIC, timeout=TIMEOUT).status_code == 401


# -- other users of the machine


def _readable_by_others(root: Path) -> list[str]:
    """What another user can read or enter, beginning at the root."""
    if not root.stat().st_mode & stat.S_IXOTH:
        return []
    return [str(path) for path in (root, *root.rglob("*")) if path.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH)]


@pytest.mark.parametrize("exists", [False, True])
def test_other_users_of_the_machine_read_nothing(hub_environment: Path, tmp_path: Path, exists: bool) -> None:
    before = os.umask(0o022)
    try:
        root = tmp_path / "root"
        if exists:
            root.mkdir()
        with LocalHub(root, users=["ada:hf_ada"]) as hub:
            api = HfApi(endpoint=hub.endpoint, token="hf_ada")
            api.create_repo("ada/secret", private=True)
            api.upload_file(path_or_fileobj=b"\0" * 2_000_000, path_in_repo="a.bin", repo_id="ada/secret")
            assert _readable_by_others(root) == []
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert stat.S_IMODE((root / "secret").stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_no_file_is_readable_by_others_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that is moved to its place had its mode before, and the root had its mode before the first file."""
    seen = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((str(target), stat.S_IMODE(self.stat().st_mode), stat.S_IMODE(root.stat().st_mode)))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    before = os.umask(0o022)
    root = tmp_path / "root"
    try:
        with LocalHub(root, users=["ada:hf_ada"]):
            pass
    finally:
        os.umask(before)
    assert {Path(path).name for path, _, _ in seen} >= {"secret", "store-id"}
    assert all(mode & 0o077 == 0 and root_mode == 0o700 for _, mode, root_mode in seen), seen


@pytest.mark.parametrize("damaged", ["", "00", "not hexadecimal"])
def test_an_empty_secret_is_replaced(tmp_path: Path, damaged: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "secret").write_text(damaged)
    with LocalHub(root):
        pass
    assert len(bytes.fromhex((root / "secret").read_text())) == 32
    assert stat.S_IMODE((root / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["file", "environment"])
def test_tokens_need_not_be_in_the_list_of_processes(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-m", "hubspool.cli", "hub", "--root", str(tmp_path / "root"), "--port", "0"]
    env = {**os.environ}
    if how == "file":
        (tmp_path / "users").write_text("# people\nada:hf_from_elsewhere\n\nbob:hf_bob:read\n")
        command += ["--users-file", str(tmp_path / "users")]
    else:
        env["HUBSPOOL_HUB_USERS"] = "ada:hf_from_elsewhere bob:hf_bob:read"
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().decode().strip()
            assert HfApi(endpoint=endpoint, token="hf_from_elsewhere").whoami()["name"] == "ada"
            assert HfApi(endpoint=endpoint, token="hf_bob").whoami()["name"] == "bob"
            assert b"hf_from_elsewhere" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        finally:
            process.terminate()


def test_a_users_file_that_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ada:hf_ada\nbob\n")
    command = [sys.executable, "-m", "hubspool.cli", "hub", "--root", str(tmp_path / "root")]
    for name, words in (("users", ("users", "bob")), ("absent", ("absent", "--users-file"))):
        done = subprocess.run(
            [*command, "--users-file", str(tmp_path / name)], capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode != 0
        assert all(word in done.stderr for word in words), done.stderr
        assert "Traceback" not in done.stderr
        assert "hf_ada" not in done.stderr
