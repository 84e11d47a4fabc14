"""The pages: readable without a script, and nothing that was uploaded runs in them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from html import unescape

import pyarrow
import pyarrow.parquet
import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub

TIMEOUT = 20
EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"
PNG = bytes.fromhex("89504e470d0a1a0a") + b"\0" * 50


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("site") / "root", users=["ada:hf_ada", "bob:hf_bob"]) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        api.create_repo("ada/rows", repo_type="dataset")
        api.create_repo("ada/secret", private=True)
        lines = [json.dumps({"text": EVIL, "number": number, EVIL: 1}) for number in range(30)]
        parquet = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"id": list(range(40)), "blob": [b"12345"] * 40}), parquet)
        for path, content in (
            ("data/rows.jsonl", "\n".join(lines).encode() + b"\n"),
            ("data/table.parquet", parquet.getvalue()),
            ("data/cells.csv", b"a,b\n1,<b>2\n"),
            ("broken.jsonl", b'{"a": 1}\nno json\n'),
            ("broken.parquet", b"PAR1 and more"),
            (f"{EVIL.replace('/', '')}.txt", EVIL.encode()),
            ("page.html", EVIL.encode()),
            ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
            ("README.md", f"---\nlicense: mit\n---\n{EVIL}".encode()),
            ("picture.png", PNG),
        ):
            api.upload_file(
                path_or_fileobj=content, path_in_repo=path, repo_id="ada/rows", repo_type="dataset", commit_message=EVIL
            )
        api.create_pull_request("ada/rows", EVIL, description=EVIL, repo_type="dataset")
        api.upload_file(
            path_or_fileobj=b"x", path_in_repo="x", repo_id="ada/rows", repo_type="dataset", create_pr=True,
            commit_message=EVIL, commit_description=EVIL,
        )  # fmt: skip
        yield hub


def get(hub: LocalHub, path: str, **options: object) -> requests.Response:
    return requests.get(hub.endpoint + path, timeout=TIMEOUT, **options)


def links(page: str) -> set[str]:
    return {unescape(link) for link in re.findall(r'(?:href|src)="([^"]*)"', page)}


def test_every_page_is_reached_by_links_and_lets_nothing_run(site: LocalHub) -> None:
    seen: dict[str, requests.Response] = {}
    left = ["/"]
    while left:
        path = left.pop()
        if path in seen or path == "/login" or "/resolve/" in path:
            continue
        answer = seen[path] = get(site, path)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.headers["Content-Type"].startswith("text/html")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert "<script" not in answer.text
        assert "<img src=x" not in answer.text
        assert not re.search(r"<[^>]+\s(?:on\w+|style)=", answer.text)
        assert all(link.startswith("/") for link in links(answer.text))
        left += links(answer.text)
    kinds = {re.sub(r"[^/]*$", "", path) for path in seen}
    for part in ("/tree/main/", "/blob/main/", "/commits/", "/commit/", "/discussions/"):
        assert any(part in kind for kind in kinds), part
    assert not any("secret" in path for path in seen)


def test_the_first_rows_of_tables_are_shown(site: LocalHub) -> None:
    page = get(site, "/datasets/ada/rows/blob/main/data/rows.jsonl").text
    assert page.count("<tr>") == 21
    assert unescape(page).count(EVIL) >= 20
    page = get(site, "/datasets/ada/rows/blob/main/data/table.parquet").text
    assert page.count("5 bytes") == 20
    assert "<td>&lt;b&gt;2</td>" in get(site, "/datasets/ada/rows/blob/main/data/cells.csv").text
    assert "no json" in get(site, "/datasets/ada/rows/blob/main/broken.jsonl").text
    assert get(site, "/datasets/ada/rows/blob/main/broken.parquet").status_code == 200


def test_images_are_shown_and_other_raw_content_only_saved(site: LocalHub) -> None:
    base = "/datasets/ada/rows/resolve/main"
    assert f'<img src="{base}/picture.png"' in get(site, "/datasets/ada/rows/blob/main/picture.png").text
    picture = get(site, f"{base}/picture.png")
    assert (picture.headers["Content-Type"], "Content-Disposition" in picture.headers) == ("image/png", False)
    for name in ("page.html", "drawing.svg", "data/table.parquet"):
        answer = get(site, f"{base}/{name}")
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Type"].split(";")[0] != "text/html"
    for answer in (picture, get(site, f"{base}/page.html"), get(site, "/datasets/ada/rows/raw/main/page.html")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert get(site, f"{base}/README.md?download=true").headers["Content-Disposition"].startswith("attachment")


def test_who_logs_in_sees_private_repositories_and_other_sites_pages_do_not(site: LocalHub) -> None:
    for wrong in (None, ("any", "hf_wrong")):
        refused = get(site, "/login", auth=wrong)
        assert (refused.status_code, refused.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    assert get(site, "/login", auth=("any", "hf_ada"), allow_redirects=False).status_code == 303
    assert "secret" not in get(site, "/").text
    assert "secret" in get(site, "/", auth=("any", "hf_ada")).text
    assert "secret" not in get(site, "/", auth=("any", "hf_bob")).text
    assert get(site, "/ada/secret").status_code == 401
    assert get(site, "/ada/secret", auth=("any", "hf_ada")).status_code == 200
    forged = {"Sec-Fetch-Site": "cross-site"}
    assert get(site, "/ada/secret", auth=("any", "hf_ada"), headers=forged).status_code == 401
    create = requests.post(
        f"{site.endpoint}/api/repos/create", auth=("any", "hf_ada"), headers=forged, json={"name": "x"}, timeout=TIMEOUT
    )
    assert create.status_code == 401
