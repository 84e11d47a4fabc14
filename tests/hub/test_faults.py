"""A test can make the Hub misbehave in every way that matters, and sees that it did."""

from __future__ import annotations

import math
import threading

import pytest
import requests

from hubspool.local_hub import Fault, LocalHub, RateLimit

TIMEOUT = 20


@pytest.fixture
def url(local_hub: LocalHub, dataset: str) -> str:
    local_hub.requests.clear()
    return f"{local_hub.endpoint}/api/datasets/{dataset}"


def commit(http: requests.Session, url: str, text: str = "x", path: str = "a.txt") -> requests.Response:
    lines = (
        f'{{"key": "header", "value": {{"summary": "{text}"}}}}\n'
        f'{{"key": "file", "value": {{"path": "{path}", "content": "{text}", "encoding": "utf-8"}}}}'
    )
    return http.post(f"{url}/commit/main", data=lines, timeout=TIMEOUT)


def titles(http: requests.Session, url: str) -> list[str]:
    return [entry["title"] for entry in http.get(f"{url}/commits/main", timeout=TIMEOUT).json()]


def test_a_status_is_answered_and_nothing_applied(http: requests.Session, url: str, local_hub: LocalHub) -> None:
    fault = local_hub.faults.add(Fault(route="commit", after=1, times=2, status=503, headers={"Retry-After": "7"}))
    answers = [commit(http, url, f"c{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
    assert answers[1].headers["Retry-After"] == "7"
    assert titles(http, url) == ["c3", "c0", "initial commit"]
    assert [hit.fault for hit in local_hub.faults.hits] == [fault, fault]
    assert [(record.status, record.route) for record in local_hub.requests.of("commit")] == [
        (200, "commit"), (503, "commit"), (503, "commit"), (200, "commit"),
    ]  # fmt: skip


def test_a_connection_is_dropped_before_the_commit(http: requests.Session, url: str, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", drop=True))
    with pytest.raises(requests.ConnectionError):
        commit(http, url)
    assert titles(http, url) == ["initial commit"]
    assert local_hub.requests.of("commit")[0].status == 0


def test_a_commit_lands_and_its_answer_is_lost(http: requests.Session, url: str, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", drop=True, applied=True))
    with pytest.raises(requests.ConnectionError):
        commit(http, url, "lost answer")
    assert titles(http, url) == ["lost answer", "initial commit"]


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", '{"success": tr', b"\xff\xfe", ""])
def test_a_commit_lands_and_the_answer_is_garbage(
    body: str | bytes, http: requests.Session, url: str, local_hub: LocalHub
) -> None:
    local_hub.faults.add(Fault(route="commit", status=200, body=body, applied=True))
    answer = commit(http, url, "landed")
    assert (answer.status_code, answer.content) == (200, body if isinstance(body, bytes) else body.encode())
    assert titles(http, url) == ["landed", "initial commit"]


def test_an_answer_is_cut_short(http: requests.Session, url: str, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", keep_bytes=10))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        commit(http, url, "landed")
    assert titles(http, url) == ["landed", "initial commit"]
    assert local_hub.requests.of("commit")[0].bytes_out == 10


@pytest.mark.parametrize("status", [None, 504])
def test_a_commit_that_seemed_lost_lands_later(
    status: int | None, http: requests.Session, url: str, local_hub: LocalHub
) -> None:
    local_hub.faults.add(Fault(route="commit", late=math.inf, status=status))
    if status is None:
        with pytest.raises(requests.ConnectionError):
            commit(http, url, "late")
    else:
        assert commit(http, url, "late").status_code == status
    assert commit(http, url, "in between", path="b.txt").ok
    assert titles(http, url) == ["in between", "initial commit"]
    assert local_hub.faults.release()
    assert titles(http, url) == ["late", "in between", "initial commit"]
    local_hub.faults.add(Fault(route="commit", late=0.001, status=504))
    assert commit(http, url, "soon").status_code == 504
    assert local_hub.faults.release()  # at the latest now
    assert titles(http, url)[0] == "soon"


def test_reads_are_answered_from_the_past(http: requests.Session, url: str, local_hub: LocalHub, dataset: str) -> None:
    for number in range(3):
        commit(http, url, f"c{number}", path=f"{number}.txt")
    reads = ("commits", "tree", "paths-info", "refs", "resolve")
    now = [entry["id"] for entry in http.get(f"{url}/commits/main", timeout=TIMEOUT).json()]
    local_hub.faults.add(Fault(route=reads, stale=2, times=5))
    assert [entry["id"] for entry in http.get(f"{url}/commits/main", timeout=TIMEOUT).json()] == now[2:]
    paths = [entry["path"] for entry in http.get(f"{url}/tree/main", timeout=TIMEOUT).json()]
    assert paths == [".gitattributes", "0.txt"]
    info = http.post(f"{url}/paths-info/main", data={"paths": ["0.txt", "2.txt"]}, timeout=TIMEOUT).json()
    assert [entry["path"] for entry in info] == ["0.txt"]
    assert http.get(f"{url}/refs", timeout=TIMEOUT).json()["branches"][0]["targetCommit"] == now[2]
    assert http.get(f"{local_hub.endpoint}/datasets/{dataset}/resolve/main/2.txt", timeout=TIMEOUT).status_code == 404
    assert len(titles(http, url)) == 4  # five reads later the present is back
    assert len(local_hub.faults.hits) == 5


def test_more_commits_than_an_hour_allows(http: requests.Session, url: str, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(route="commit", limit=RateLimit(2, 3600)))
    answers = [commit(http, url, f"c{number}") for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert answers[2].headers["RateLimit-Policy"] == '"fixed window";"api";q=2;w=3600'
    assert len(local_hub.faults.hits) == 1
    assert titles(http, url)[0] == "c1"
    local_hub.faults.clear()
    assert commit(http, url).ok


def test_a_silent_hub_answers_others_and_forgets_who_left(
    http: requests.Session, url: str, local_hub: LocalHub
) -> None:
    local_hub.faults.add(Fault(route="commit", times=None, delay=math.inf))
    for _ in range(3):
        with pytest.raises(requests.ReadTimeout):
            http.post(f"{url}/commit/main", data="x", timeout=0.1)
    assert titles(http, url) == ["initial commit"]
    local_hub.faults.clear()
    assert local_hub.wait_idle()
    assert titles(http, url) == ["initial commit"]
    assert commit(http, url, "again").ok


def test_stopping_ends_what_a_fault_holds(hub_environment: object, http: requests.Session) -> None:
    hub = LocalHub().start()
    hub.faults.add(Fault(route="whoami", times=None, delay=math.inf))
    failed = threading.Event()

    def ask() -> None:
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{hub.endpoint}/api/whoami-v2", timeout=TIMEOUT)
        failed.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert hub.faults.wait_for_hits()
    hub.stop()
    assert failed.wait(TIMEOUT)
    thread.join()


def test_a_hub_that_comes_back_is_found_at_the_same_address(
    hub_environment: object, tmp_path: object, http: requests.Session
) -> None:
    hub = LocalHub(f"{tmp_path}/root").start()
    endpoint = hub.endpoint
    assert http.post(f"{endpoint}/api/repos/create", json={"name": "m"}, timeout=TIMEOUT).ok
    hub.stop()
    with pytest.raises(requests.ConnectionError):
        http.get(f"{endpoint}/api/models/local/m", timeout=TIMEOUT)
    with hub:
        assert hub.endpoint == endpoint
        assert http.get(f"{endpoint}/api/models/local/m", timeout=TIMEOUT).ok


def test_faults_are_chosen_by_path_and_method(http: requests.Session, url: str, local_hub: LocalHub) -> None:
    local_hub.faults.add(Fault(path=r"/refs$", method="GET", status=418, times=None))
    assert http.get(f"{url}/refs", timeout=TIMEOUT).status_code == 418
    assert http.get(url, timeout=TIMEOUT).ok


def test_a_fault_on_a_route_that_does_not_exist_is_refused(local_hub: LocalHub) -> None:
    with pytest.raises(ValueError, match=r"comit.*commit"):
        local_hub.faults.add(Fault(route=("comit", "refs"), status=500))
