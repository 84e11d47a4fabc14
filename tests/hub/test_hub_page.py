"""The pages: readable without a script, and nothing that was uploaded runs in them."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from functools import partial
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


CARD = f"""---
license: mit
---
# Votes

{EVIL}

[cells](data/cells.csv) [run](javascript:alert(1)) <a href="javascript:alert(1)">run</a> ![picture](./picture.png)

| number |
|---|
| 1 |
"""


def _pictures() -> bytes:
    out = io.BytesIO()
    pictures = [{"bytes": PNG, "path": "a.png"}, {"bytes": PNG, "path": "b.png"}]
    pyarrow.parquet.write_table(pyarrow.table({"image": pictures}), out)
    return out.getvalue()


def _archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", PNG)
        archive.writestr("bomb.png", b"\0" * 1_000_000)
        archive.writestr(f"{EVIL.replace('/', '')}.txt", b"x")
    return out.getvalue()


def _events() -> bytes:
    """Scalars as TensorBoard writes them: step = 10 n, value = n / 2."""
    content = b""
    for number in range(50):
        value = b"\x0a\x04loss\x15" + struct.pack("<f", number / 2)
        step = number * 10
        varint = bytes([step]) if step < 128 else bytes([step & 127 | 128, step >> 7])
        event = b"\x10" + varint + b"\x2a" + bytes([len(value) + 2]) + b"\x0a" + bytes([len(value)]) + value
        content += struct.pack("<QI", len(event), 0) + event + b"\0" * 4
    return content + b"half a record"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("site") / "root", users=["ada:hf_ada", "bob:hf_bob"]) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        api.create_repo("ada/rows", repo_type="dataset")
        api.create_repo("ada/secret", private=True)
        lines = [json.dumps({"text": EVIL, "number": number, EVIL: 1}) for number in range(30)]
        parquet = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"id": list(range(40)), "blob": [b"12345"] * 40}), parquet)
        files = (
            ("data/rows.jsonl", "\n".join(lines).encode() + b"\n"),
            ("data/table.parquet", parquet.getvalue()),
            ("data/cells.csv", b"a,b\n1,<b>2\n"),
            ("broken.jsonl", b'{"a": 1}\nno json\n'),
            ("broken.parquet", b"PAR1 and more"),
            (f"{EVIL.replace('/', '')}.txt", EVIL.encode()),
            ("page.html", EVIL.encode()),
            ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
            ("README.md", CARD.encode()),
            ("data/pictures.parquet", _pictures()),
            ("data/pictures.zip", _archive()),
            ("broken.zip", b"PK\5\6" + b"\xff" * 30),
            ("events.out.tfevents.1", _events()),
            ("picture.png", PNG),
        )
        api.create_bucket("ada/votes")
        api.create_bucket("ada/secret-votes", private=True)
        api.batch_bucket_files("ada/votes", add=[(content, path) for path, content in files])
        for path, content in files:
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
    """Addresses on a page, but for images within it."""
    return {unescape(link) for link in re.findall(r'(?:href|src)="(?!data:image/)([^"]*)"', page)}


@pytest.mark.timeout(300)  # some hundred pages
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
    for part in (
        "/tree/main/",
        "/blob/main/",
        "/commits/",
        "/commit/",
        "/discussions/",
        "/votes/tree/",
        "/votes/blob/data/",
    ):
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


def test_a_browser_gets_errors_as_pages_and_other_programs_as_json(site: LocalHub) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path, status in (
        ("/ada/secret", 401), ("/nobody/none", 401), ("/no/such/page/at/all", 404), ("/api/models/ada/secret", 401),
        ("/datasets/ada/rows/blob/main/none", 404), ("/datasets/ada/rows/resolve/main/none", 404),
    ):  # fmt: skip
        page = get(site, path, headers=browser)
        assert (page.status_code, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8"), path
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert 'href="/login' in page.text
        plain = get(site, path)
        assert (plain.status_code, plain.headers["Content-Type"]) == (status, "application/json")
        assert plain.headers.get("X-Error-Code") == page.headers.get("X-Error-Code")
    wrong = get(site, "/ada/secret", headers=browser, auth=("any", "hf_wrong"))
    assert (wrong.status_code, "Invalid credentials" in wrong.text) == (401, True)


def test_the_front_page_says_how_to_see_private_repositories(site: LocalHub) -> None:
    assert "Private repositories are not shown" in get(site, "/").text
    assert "Private repositories are not shown" not in get(site, "/", auth=("any", "hf_ada")).text


def test_a_card_is_shown_as_text_with_a_table_of_its_metadata(site: LocalHub) -> None:
    for path in ("/datasets/ada/rows", "/datasets/ada/rows/blob/main/README.md"):
        page = get(site, path).text
        assert '<th scope="row">license</th><td>mit</td>' in page
        assert "<h1>Votes</h1>" in page
        assert "<td>1</td>" in page
        assert 'href="/datasets/ada/rows/blob/main/data/cells.csv"' in page
        assert 'src="/datasets/ada/rows/resolve/main/picture.png"' in page
        assert 'href="javascript' not in page


def test_small_images_members_and_curves_are_shown(site: LocalHub) -> None:
    base = "/datasets/ada/rows/blob/main"
    pictures = get(site, f"{base}/data/pictures.parquet").text
    assert "2 rows" in pictures
    assert pictures.count('<img src="data:image/png;base64,') == 2
    members = get(site, f"{base}/data/pictures.zip").text
    assert "3 members" in members
    assert members.count('<img src="data:image/png;base64,') == 1
    assert "1,000,000 bytes" in members
    curve = get(site, f"{base}/events.out.tfevents.1").text
    assert "50 values over steps 0 to 490; the last is 24.5" in curve
    for label in ("0", "5", "10", "20", "100", "400"):
        assert f">{label}</text>" in curve
    broken = get(site, f"{base}/broken.zip")
    assert (broken.status_code, "members" in broken.text) == (200, False)


def test_captions_say_how_many_rows_there_are(site: LocalHub) -> None:
    base = "/datasets/ada/rows/blob/main/data"
    assert "The first 20 of 30 rows" in get(site, f"{base}/rows.jsonl").text
    assert "The first 20 of 40 rows" in get(site, f"{base}/table.parquet").text


def test_a_commit_of_rows_shows_the_new_rows_and_no_pointer(site: LocalHub) -> None:
    api = HfApi(endpoint=site.endpoint, token="hf_ada")
    api.create_repo("ada/growing", repo_type="dataset")
    rule = b"*.jsonl filter=lfs diff=lfs merge=lfs -text\n"
    commit = partial(api.upload_file, repo_id="ada/growing", repo_type="dataset")
    commit(path_or_fileobj=rule, path_in_repo=".gitattributes")
    lines = [b'{"number": %d}\n' % number for number in range(100, 140)]
    commit(path_or_fileobj=b"".join(lines[:30]), path_in_repo="rows.jsonl")
    grown = commit(path_or_fileobj=b"".join(lines[:33]), path_in_repo="rows.jsonl")
    page = get(site, f"/datasets/ada/growing/commit/{grown.oid}").text
    assert "3 new rows" in page
    assert re.findall(r"<td>(\d+)</td>", page) == ["130", "131", "132"]
    assert "git-lfs" not in page
    rewritten = commit(path_or_fileobj=b"".join(lines[30:]) * 9, path_in_repo="rows.jsonl")
    assert "<td>130</td>" in get(site, f"/datasets/ada/growing/commit/{rewritten.oid}").text
    other = commit(path_or_fileobj=b"a\nb\n", path_in_repo="notes.txt")
    assert "+b" in get(site, f"/datasets/ada/growing/commit/{other.oid}").text


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


def test_a_bucket_has_the_pages_of_a_repository_without_commits(site: LocalHub) -> None:
    assert re.search(r'href="/buckets/ada/votes">ada/votes</a>\s*</td>\s*<td class="wide">14, \d', get(site, "/").text)
    page = get(site, "/buckets/ada/votes").text
    assert "<h1>Votes</h1>" in page
    assert 'href="/buckets/ada/votes/blob/data/cells.csv"' in page  # of its card
    assert 'href="/buckets/ada/votes/tree/data"' in page
    assert "commits" not in page
    rows = get(site, "/buckets/ada/votes/blob/data/rows.jsonl").text
    assert rows.count("<tr>") == 21
    assert 'href="/buckets/ada/votes/resolve/data/rows.jsonl?download=true"' in rows
    assert get(site, "/buckets/ada/votes/blob/data/table.parquet").text.count("5 bytes") == 20
    run = get(site, "/buckets/ada/votes/resolve/page.html")
    assert run.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in run.headers["Content-Security-Policy"]
    assert get(site, "/buckets/ada/votes/blob/none").status_code == 404
    assert get(site, "/buckets/ada/secret-votes").status_code == 401
    assert get(site, "/buckets/ada/secret-votes", auth=("any", "hf_ada")).status_code == 200
