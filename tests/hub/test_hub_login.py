"""Logging in with a browser: what the form gives, and what its cookie does not."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub
from hubspool.local_hub.storage import signing

TIMEOUT = 30
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub"), users=["ada:hf_ada", "bob:hf_bob"]) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_ada")
        api.create_repo("ada/secret", private=True)
        api.upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="ada/secret")
        yield hub


def log_in(hub: LocalHub, token: str, *, wanted: str = "/", headers: dict[str, str] | None = None) -> requests.Response:
    own = {"Origin": hub.endpoint, "Sec-Fetch-Site": "same-origin", **BROWSER}
    form = {"token": token, "next": wanted}
    return requests.post(
        f"{hub.endpoint}/login", data=form, headers=headers or own, allow_redirects=False, timeout=TIMEOUT
    )


def cookie_of(answer: requests.Response) -> dict[str, str]:
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


def get(hub: LocalHub, path: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(hub.endpoint + path, headers=headers, allow_redirects=False, timeout=TIMEOUT)


@pytest.mark.parametrize("path", ["/login", "/ada/secret", "/nobody/none"])
def test_a_browser_gets_a_form_and_not_its_own_dialog(hub: LocalHub, path: str) -> None:
    page = get(hub, path, BROWSER)
    assert page.status_code == (200 if path == "/login" else 401)
    assert re.search(r'<form method="post" action="/login"[ >]', page.text)
    assert '<input type="password" name="token"' in page.text
    assert "Basic" not in page.headers.get("WWW-Authenticate", "")
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]
    # with `no-referrer` a browser sends the form with `Origin: null`
    assert page.headers["Referrer-Policy"] == "same-origin"


def test_the_form_returns_to_the_page_that_needed_it(hub: LocalHub) -> None:
    page = get(hub, "/ada/secret/blob/main/notes.txt?a=1&b=2", BROWSER).text
    found = re.search(r'name="next" value="([^"]*)"', page)
    assert found is not None
    answer = log_in(hub, "hf_ada", wanted=unescape(found[1]))
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/ada/secret/blob/main/notes.txt?a=1&b=2"
    assert "mine" in get(hub, answer.headers["Location"], {**BROWSER, **cookie_of(answer)}).text


@pytest.mark.parametrize(
    "foreign", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX-Evil: 1", ""]
)
def test_the_form_leads_to_no_other_site(hub: LocalHub, foreign: str) -> None:
    answer = log_in(hub, "hf_ada", wanted=foreign)
    assert (answer.headers["Location"], "X-Evil" in answer.headers) == ("/", False)


def test_the_cookie_is_bound_and_holds_no_token(hub: LocalHub) -> None:
    name, *attributes = log_in(hub, "hf_ada").headers["Set-Cookie"].split("; ")
    port = hub.endpoint.rpartition(":")[2]
    assert name.startswith(f"hubspool-{port}=")
    assert "hf_ada" not in name
    assert {"httponly", "samesite=strict", "path=/"} <= {text.lower() for text in attributes}
    assert any(text.lower().startswith("max-age=") for text in attributes)


def test_who_logs_in_sees_private_repositories_until_the_log_out(hub: LocalHub) -> None:
    headers = {**BROWSER, **cookie_of(log_in(hub, "hf_ada"))}
    page = get(hub, "/", headers).text
    assert "ada/secret" in page
    assert '<form method="post" action="/logout">' in page
    assert "ada/secret" not in get(hub, "/", {**BROWSER, **cookie_of(log_in(hub, "hf_bob"))}).text
    own = {**headers, "Origin": hub.endpoint, "Sec-Fetch-Site": "same-origin"}
    out = requests.post(f"{hub.endpoint}/logout", headers=own, allow_redirects=False, timeout=TIMEOUT)
    assert (out.status_code, out.headers["Location"]) == (303, "/")
    assert "max-age=0" in out.headers["Set-Cookie"].lower()
    assert get(hub, "/ada/secret", headers).status_code == 401  # also for who kept the cookie


def test_a_cookie_only_reads_pages(hub: LocalHub) -> None:
    """Programs at other ports of this machine get the cookie: it opens neither the API nor any write."""
    cookie = {**cookie_of(log_in(hub, "hf_ada")), "Origin": hub.endpoint, "Sec-Fetch-Site": "same-origin"}
    for path in ("/api/whoami-v2", "/api/models/ada/secret", "/api/models/ada/secret/xet-write-token/main"):
        assert get(hub, path, cookie).status_code == 401, path
    for method, path in (
        ("POST", "/api/repos/create"), ("POST", "/api/models/ada/secret/commit/main"),
        ("DELETE", "/api/repos/delete"), ("POST", "/ada/secret.git/info/lfs/objects/batch"),
        ("POST", "/ada/secret.git/git-receive-pack"),
    ):  # fmt: skip
        answer = requests.request(method, hub.endpoint + path, json={"name": "x"}, headers=cookie, timeout=TIMEOUT)
        assert answer.status_code == 401, path


def test_a_forged_or_old_cookie_opens_nothing(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = cookie_of(log_in(hub, "hf_ada"))
    assert get(hub, "/ada/secret", cookie).status_code == 200
    name, _, value = cookie["Cookie"].partition("=")
    session, expiry, mac = value.split(".")
    for wrong in (
        "", "x", "..", "9" * 5000, f"x{session}.{expiry}.{mac}", f"{session}.{int(expiry) + 1}.{mac}",
        f"{session}.{expiry}.{mac[:-1]}", f"{session}.{expiry}.\xff{mac}",
    ):  # fmt: skip
        assert get(hub, "/ada/secret", {"Cookie": f"{name}={wrong}"}).status_code == 401, wrong
    other = name[:-1] + str((int(name[-1]) + 1) % 10)
    assert get(hub, "/ada/secret", {"Cookie": f"{other}={value}"}).status_code == 401
    monkeypatch.setattr(signing.time, "time", lambda: int(expiry) + 1.0)
    assert get(hub, "/ada/secret", cookie).status_code == 401


def test_another_store_or_token_ends_the_log_in(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "one", users=["ada:hf_ada"]) as first:
        cookie = cookie_of(log_in(first, "hf_ada"))
        HfApi(endpoint=first.endpoint, token="hf_ada").create_repo("ada/secret", private=True)
        assert get(first, "/ada/secret", cookie).status_code == 200
    port = int(first.endpoint.rpartition(":")[2])
    with LocalHub(tmp_path / "one", port=port, users=["ada:hf_ada"]) as same:
        assert get(same, "/ada/secret", cookie).status_code == 200
    with LocalHub(tmp_path / "one", port=port, users=["ada:hf_changed"]) as changed:
        assert get(changed, "/ada/secret", cookie).status_code == 401
    with LocalHub(tmp_path / "two", port=port, users=["ada:hf_ada"]) as other:
        HfApi(endpoint=other.endpoint, token="hf_ada").create_repo("ada/secret", private=True)
        assert get(other, "/ada/secret", cookie).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:7860"},
        {"Origin": "null"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_page_logs_nobody_in_or_out_and_reads_nothing(hub: LocalHub, headers: dict[str, str]) -> None:
    refused = log_in(hub, "hf_bob", headers=headers)
    assert (refused.status_code, "Set-Cookie" in refused.headers) == (403, False)
    cookie = cookie_of(log_in(hub, "hf_ada"))
    out = requests.post(f"{hub.endpoint}/logout", headers={**headers, **cookie}, timeout=TIMEOUT)
    assert (out.status_code, "Set-Cookie" in out.headers) == (403, False)
    assert (
        requests.post(f"{hub.endpoint}/logout", headers={**headers, **BROWSER}, timeout=TIMEOUT).text[:9] == "<!doctype"
    )
    assert get(hub, "/ada/secret", cookie).status_code == 200
    if "Sec-Fetch-Site" in headers:
        assert get(hub, "/ada/secret", {**headers, **cookie}).status_code == 401


def test_failed_log_ins_are_limited_and_leave_no_token_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with LocalHub(tmp_path, users=["ada:hf_ada"]) as hub:
        answers = [log_in(hub, f"hf_guess{number}") for number in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert all('name="token"' in answer.text and "hf_guess" not in answer.text for answer in answers)
        assert log_in(hub, "hf_ada").status_code == 429
        assert int(answers[-1].headers["Retry-After"]) <= 60
        assert HfApi(endpoint=hub.endpoint, token="hf_ada").whoami()["name"] == "ada"  # programs are not locked out
    assert "hf_guess" not in caplog.text


def test_a_proxy_with_tls_may_stand_before_the_form(hub: LocalHub) -> None:
    headers = {"Origin": "https://hub.example", "Sec-Fetch-Site": "same-origin"}
    assert log_in(hub, "hf_ada", headers=headers).status_code == 303
