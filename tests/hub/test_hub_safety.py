"""What anybody may send: no accident, no way out of the root, no token in a log, and nothing lost when many write."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from huggingface_hub import HfApi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool.local_hub import LocalHub
from hubspool.local_hub.routes.table import OBJECT, REV, ROUTES

TIMEOUT = 30
TOKEN = "hf_a_token_that_nobody_should_see"
STRANGER = "hf_a_stranger"
SECRET = b"what only the first account may read " * 100
SECRET_HASH = hashlib.sha256(SECRET).hexdigest()
_REVS = [
    "main",
    "v1",
    "refs/pr/1",
    "refs/heads/main",
    "..",
    "../../HEAD",
    "HEAD",
    "\0",
    "a" * 300,
    "0" * 40,
    "é",
    "None",
]
_PATHS = ["README.md", ".", "../secret", "a/../../../secret", "big.bin", "data", "\0", "x" * 5000, "/".join("a" * 3000)]
_KEYS = (
    "path paths size sample files key value summary parentCommit content encoding oid algo name type tag title status"
)
_KEYS += (
    " operation transfers objects partNumber parts visibility private gated fromRepo toRepo target comment description"
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "main",
            "local/rows",
            "local/secret",
            "stranger/rows",
            "dataset",
            "a/b",
            "../x",
            "upload",
            "download",
            "header",
            "file",
            "lfsFile",
            "base64",
            "basic",
            SECRET_HASH,
            len(SECRET),
        ]
    ),
)
_JSON = st.recursive(
    _VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS.split()), inner, max_size=6),
    max_leaves=12,
)
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Range": st.sampled_from(
            ["bytes=0-0", "bytes=5-1", "bytes=-0", "bytes=99999999999999999999-", "bytes=-5", "x"]
        ),
        "Content-Encoding": st.just("gzip"),
        "Content-Type": st.sampled_from(["application/x-www-form-urlencoded", "application/json"]),
        "Accept": st.just("application/vnd.xet-fileinfo+json"),
    },
)
_PARAMETERS = "limit cursor expand recursive create_pr p type status sort direction filter search service diff sig"
_QUERY = st.dictionaries(
    st.sampled_from(_PARAMETERS.split()),
    st.sampled_from(["1", "-1", "9" * 30, "true", "x", "", "git-upload-pack", "lastModified", "1.a", "²", "é.é"]),
    max_size=4,
)


@pytest.fixture(scope="module")
def busy_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalHub, requests.Session]]:
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    with LocalHub(tmp_path_factory.mktemp("busy") / "root", users=[f"local:{TOKEN}", f"stranger:{STRANGER}"]) as hub:
        for kind in ("model", "dataset", "space"):
            body = {"name": "rows", "type": kind, "sdk": "gradio"}
            session.post(f"{hub.endpoint}/api/repos/create", json=body, timeout=TIMEOUT)
        session.post(
            f"{hub.endpoint}/api/models/local/rows/discussions",
            json={"title": "One pull", "pullRequest": True},
            timeout=TIMEOUT,
        )
        api = HfApi(endpoint=hub.endpoint, token=TOKEN)
        HfApi(endpoint=hub.endpoint, token=STRANGER).create_repo("stranger/rows")
        api.create_repo("local/secret", private=True)
        for path in ("big.bin", "notes.txt"):
            api.upload_file(path_or_fileobj=SECRET, path_in_repo=path, repo_id="local/secret")
        yield hub, session


def _paths(pattern: str) -> st.SearchStrategy[str]:
    """Addresses of a route: mostly of things that are there, and of what an attacker would try."""
    pattern = re.sub(r"\(\?P<repo>[^()]*(?:\([^()]*\)[^()]*)*\)", "(?:local/rows|local/secret|stranger/rows)", pattern)
    revs = "|".join(re.escape(quote(rev, safe="")) for rev in _REVS)
    pattern = pattern.replace(REV, "(?P<rev>[^/]+)")
    pattern = re.sub(r"\(\?P<(rev|branch|tag|revs)>\[\^/\]\+\??\)", f"(?:{revs})", pattern)
    pattern = pattern.replace(OBJECT, f"(?:{SECRET_HASH}|[0-9a-f]{{64}})")
    pattern = re.sub(r"\(\?P<path>\.[*+]\)", "(?:" + "|".join(re.escape(quote(path)) for path in _PATHS) + ")", pattern)
    return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii", exclude_characters="\n\r ?#"))


_ROUTES = [route for route in ROUTES if route.name not in ("repo-delete", "repo-move")]


@pytest.mark.timeout(180)
def test_no_request_makes_an_accident_or_tells_a_stranger_the_secret(
    busy_hub: tuple[LocalHub, requests.Session],
) -> None:
    hub, session = busy_hub

    @settings(max_examples=700, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        route = data.draw(st.sampled_from(_ROUTES), label="route")
        path = data.draw(_paths(route.pattern), label="path")
        method = data.draw(st.sampled_from(route.methods.split()), label="method")
        lines = st.lists(_JSON, max_size=3).map(lambda items: "\n".join(map(json.dumps, items)).encode())
        one = _JSON.map(lambda item: json.dumps(item).encode())
        body = data.draw(st.one_of(one, lines, st.binary(max_size=60)), label="body")
        headers, query = data.draw(_HEADERS, label="headers"), data.draw(_QUERY, label="query")
        prepared = session.prepare_request(
            requests.Request(method, hub.endpoint, headers=headers, data=body, params=query)
        )
        tells = route.name in ("repo-settings", "lfs-duplicate")  # with which the owner could publish the secret
        token = data.draw(st.sampled_from([STRANGER if tells else TOKEN, STRANGER, ""]), label="token")
        prepared.headers["Authorization"] = f"Bearer {token}"
        prepared.url = f"{hub.endpoint}{quote(path, safe='/%:=')}?{(prepared.url or '').partition('?')[2]}"
        with session.send(prepared, timeout=TIMEOUT, allow_redirects=False) as answer:
            assert answer.status_code < 500, answer.text
            assert token == TOKEN or SECRET[:30] not in answer.content

    ask()
    assert len({record.route for record in hub.requests}) > 30  # it got behind the doors
    assert len({record.route for record in hub.requests if record.status < 300}) > 10


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/validate-yaml", {"content": "---\na: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)) + "---\n"}),
        ("/api/validate-yaml", {"content": "---\na: " + "[" * 5000 + "\n---\n"}),
    ],
)  # fmt: skip
def test_a_card_that_explodes_is_refused(busy_hub: tuple[LocalHub, requests.Session], path: str, body: object) -> None:
    hub, session = busy_hub
    assert session.post(hub.endpoint + path, json=body, timeout=TIMEOUT).status_code == 400


def test_bodies_have_limits(busy_hub: tuple[LocalHub, requests.Session]) -> None:
    hub, session = busy_hub
    nested = "[" * 200_000
    assert session.post(f"{hub.endpoint}/api/repos/create", data=nested, timeout=TIMEOUT).status_code == 400
    lines = f'{{"key": "header", "value": {{"summary": "x"}}}}\n{nested}'
    assert (
        session.post(f"{hub.endpoint}/api/models/local/rows/commit/main", data=lines, timeout=TIMEOUT).status_code
        == 400
    )
    large = b" " * (17 << 20)
    assert session.post(f"{hub.endpoint}/api/repos/create", data=large, timeout=TIMEOUT).status_code == 413
    bomb = gzip.compress(b"0000" * (20 << 20))
    answer = session.post(
        f"{hub.endpoint}/local/rows/git-upload-pack", data=bomb, headers={"Content-Encoding": "gzip"}, timeout=TIMEOUT
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "rev", ["../../HEAD", "../../hubspool.json", "..", "../../../../../secret", "refs/../../hubspool.json", "x\0y"]
)
def test_no_revision_leads_out_of_the_repository(busy_hub: tuple[LocalHub, requests.Session], rev: str) -> None:
    hub, session = busy_hub
    name = quote(rev, safe="")
    api = f"{hub.endpoint}/api/models/local/rows"
    lines = '{"key": "header", "value": {"summary": "x"}}'
    for method, path, body in (
        ("GET", f"revision/{name}", None),
        ("GET", f"tree/{name}", None),
        ("POST", f"commit/{name}", lines),
        ("POST", f"branch/{name}", "{}"),
        ("DELETE", f"branch/{name}", None),
        ("POST", f"super-squash/{name}", "{}"),
        ("POST", "tag/main", json.dumps({"tag": rev})),
    ):
        answer = session.request(method, f"{api}/{path}", data=body, timeout=TIMEOUT)
        assert answer.status_code in (400, 404), (method, path, answer.text)
    assert (hub.root / "repos/models/local/rows.git/hubspool.json").read_text().startswith('{"id"')


@pytest.mark.parametrize("name", ["../x", "..", "x/../../y", "a\0b", "con/", ".git", "x.git", "-x", "a b"])
def test_no_repository_name_leads_out_of_the_root(busy_hub: tuple[LocalHub, requests.Session], name: str) -> None:
    hub, session = busy_hub
    before = sorted(hub.root.rglob("*"))
    for body in ({"name": name}, {"name": "x", "organization": name}):
        answer = session.post(f"{hub.endpoint}/api/repos/create", json=body, timeout=TIMEOUT)
        assert answer.status_code in (400, 403), answer.text
    move = {"fromRepo": "local/rows", "toRepo": f"local/{name}"}
    assert session.post(f"{hub.endpoint}/api/repos/move", json=move, timeout=TIMEOUT).status_code == 400
    assert sorted(hub.root.rglob("*")) == before


def test_a_hub_for_other_machines_needs_named_users() -> None:
    for host in ("0.0.0.0", "::", "", "192.168.1.1"):
        with pytest.raises(ValueError, match="Name the users"):
            LocalHub(host=host)
    with LocalHub(host="0.0.0.0", users=["ada:hf_ada"]) as hub:
        assert hub.endpoint.startswith("http://0.0.0.0:")


def test_no_log_tells_a_token(
    busy_hub: tuple[LocalHub, requests.Session], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, session = busy_hub
    monkeypatch.setattr("hubspool.local_hub.services.repositories.Repositories.find", lambda *_: 1 / 0)
    with caplog.at_level(logging.DEBUG):
        url = f"{hub.endpoint}/api/models/local/rows"
        assert session.get(url, timeout=TIMEOUT).status_code == 500
        assert requests.get(url, headers={"Authorization": "Bearer hf_wrong_one"}, timeout=TIMEOUT).status_code == 401
        basic = requests.get(
            f"{hub.endpoint}/local/rows/info/refs?service=git-upload-pack", auth=("x", TOKEN), timeout=TIMEOUT
        )
        assert basic.status_code == 500
    ours = [record for record in caplog.records if record.name.startswith(("hubspool", "uvicorn"))]
    assert ours, "the failure must be logged"
    told = "\n".join(logging.Formatter().format(record) for record in ours) + repr(list(hub.requests)) + repr(hub.users)
    assert TOKEN not in told
    assert "hf_wrong_one" not in told


@pytest.mark.timeout(120)
def test_fifty_commits_at_once_lose_nothing(hub_environment: Path, tmp_path: Path) -> None:
    with LocalHub(tmp_path) as hub:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {hub.token}"
        session.post(f"{hub.endpoint}/api/repos/create", json={"name": "m"}, timeout=TIMEOUT)
        together = threading.Barrier(50)

        def commit(number: int) -> str:
            lines = (
                f'{{"key": "header", "value": {{"summary": "{number}"}}}}\n'
                f'{{"key": "file", "value": {{"path": "{number % 5}/{number}.txt", "content": "{number}"}}}}'
            )
            together.wait(TIMEOUT)
            headers = {"Authorization": f"Bearer {hub.token}"}
            url = f"{hub.endpoint}/api/models/local/m/commit/main"
            answer = requests.post(url, data=lines, headers=headers, timeout=60)
            return str(answer.json()["commitOid"])

        with ThreadPoolExecutor(50) as pool:
            made = list(pool.map(commit, range(50)))
        tree = session.get(f"{hub.endpoint}/api/models/local/m/tree/main?recursive=1", timeout=TIMEOUT).json()
        assert {entry["path"] for entry in tree if entry["type"] == "file"} == {
            ".gitattributes",
            *(f"{number % 5}/{number}.txt" for number in range(50)),
        }
        history = session.get(f"{hub.endpoint}/api/models/local/m/commits/main?limit=50", timeout=TIMEOUT).json()
        assert {entry["id"] for entry in history} == set(made)
        repo = tmp_path / "repos" / "models" / "local" / "m.git"
        subprocess.run(["git", "fsck", "--strict", "--full"], cwd=repo, check=True, timeout=60, capture_output=True)


def test_of_two_commits_on_one_parent_the_second_is_told(
    local_hub: LocalHub, http: requests.Session, dataset: str
) -> None:
    api = f"{local_hub.endpoint}/api/datasets/{dataset}"
    parent = http.get(api, timeout=TIMEOUT).json()["sha"]
    line = '{"key": "file", "value": {"path": "%s", "content": "x"}}'
    head = json.dumps({"key": "header", "value": {"summary": "x", "parentCommit": parent}})

    def commit(number: int) -> int:
        url, body = f"{api}/commit/main", f"{head}\n{line % number}"
        return requests.post(url, data=body, headers=dict(http.headers), timeout=TIMEOUT).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(commit, range(8))) == [200, *[412] * 7]
