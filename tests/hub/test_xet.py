"""Large content: kept once as chunks, checked before anybody can name it, readable in every way."""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import hf_xet
import lz4.frame
import pytest
import requests
from huggingface_hub import HfApi

from hubspool.local_hub import LocalHub
from hubspool.local_hub.identifiers import hash_from_text, hash_to_text
from hubspool.local_hub.storage import xet_format
from hubspool.local_hub.storage.xet_format import parse_shard, scan_xorb

TEXT = b"".join(b'{"id": %d, "text": "a row of text"}\n' % number for number in range(100_000))
FLOATS = b"".join(struct.pack("<f", 1 + number / 7) for number in range(500_000))
NOISE = os.urandom(6_000_000)


@pytest.fixture
def token_url(local_hub: LocalHub, dataset: str) -> Callable[[str], str]:
    return lambda scope: f"{local_hub.endpoint}/api/datasets/{dataset}/xet-{scope}-token/main"


@pytest.fixture
def upload(token_url: Callable[[str], str], local_hub: LocalHub) -> Callable[..., hf_xet.XetFileInfo]:
    headers = {"Authorization": f"Bearer {local_hub.token}"}

    def send(content: bytes, sha256: object = hf_xet.COMPUTE_SHA256) -> hf_xet.XetFileInfo:
        commit = hf_xet.XetSession().new_upload_commit(
            token_refresh_url=token_url("write"), token_refresh_headers=headers
        )
        handle = commit.start_upload_bytes(content, sha256=sha256)
        commit.wait_to_finish()
        return handle.result().xet_info

    return send


@pytest.mark.parametrize(
    "content", [TEXT, FLOATS, NOISE, TEXT + NOISE + FLOATS], ids=["text", "floats", "noise", "all"]
)
def test_a_xet_client_reads_what_a_xet_client_wrote(
    content: bytes, upload: Callable[..., hf_xet.XetFileInfo], token_url: Callable[[str], str], local_hub:
        LocalHub, tmp_path: Path
) -> None:  # fmt: skip
    info = upload(content)
    headers = {"Authorization": f"Bearer {local_hub.token}"}
    access = {"token_refresh_url": token_url("read"), "token_refresh_headers": headers}
    group = hf_xet.XetSession().new_file_download_group(**access)
    group.start_download_file(hf_xet.XetFileInfo(info.hash, len(content)), str(tmp_path / "whole"))
    group.wait_to_finish()
    assert (tmp_path / "whole").read_bytes() == content
    middle = len(content) // 3
    stream = hf_xet.XetSession().new_download_stream_group(**access)
    part = b"".join(stream.download_stream(hf_xet.XetFileInfo(info.hash, len(content)), middle, middle + 99_999))
    assert part == content[middle : middle + 99_999]


@pytest.mark.parametrize("version", ["", "/v1", "/v2"])
def test_every_spelling_of_a_reconstruction_leads_to_the_content(
    version: str, upload: Callable[..., hf_xet.XetFileInfo], token_url: Callable[[str], str], http: requests.Session
) -> None:
    content = NOISE + TEXT
    info = upload(content)
    token = http.get(token_url("read"), timeout=10).json()
    headers = {"Authorization": f"Bearer {token['accessToken']}", "Range": "bytes=5000000-6100000"}
    name = "reconstructions" if version else "reconstruction"
    url = f"{token['casUrl']}{version}/{name}/{info.hash}"
    answer = requests.get(url, headers=headers, timeout=10).json()
    fetches = answer["xorbs"] if version == "/v2" else answer["fetch_info"]
    found = b""
    for term in answer["terms"]:
        (fetch,) = fetches[term["hash"]]
        span = fetch["ranges"][0]["bytes"] if version == "/v2" else fetch["url_range"]
        chunks = fetch["ranges"][0]["chunks"] if version == "/v2" else fetch["range"]
        packed = requests.get(fetch["url"], headers={"Range": f"bytes={span['start']}-{span['end']}"}, timeout=10)
        assert packed.status_code == 206
        file = BytesIO(packed.content)
        first, last = (term["range"][key] - chunks["start"] for key in ("start", "end"))
        found += b"".join(xet_format.read_chunks(file, scan_xorb(file), first, last))
    start = answer["offset_into_first_range"]
    assert found[start : start + 1_100_001] == content[5_000_000:6_100_001]
    past = requests.get(url, headers={**headers, "Range": f"bytes={len(content)}-"}, timeout=10)
    assert past.status_code == 416


def test_a_client_without_a_cache_learns_which_chunks_are_here(
    upload: Callable[..., hf_xet.XetFileInfo], local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload(NOISE)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "cold"))
    local_hub.requests.clear()
    upload(NOISE + b"more" * 1000)
    assert local_hub.requests.of("xet-chunk")
    assert sum(request.bytes_in for request in local_hub.requests.of("xet-xorb")) < 500_000


def test_a_sha256_that_is_not_that_of_the_content_is_refused(
    upload: Callable[..., hf_xet.XetFileInfo], http: requests.Session, local_hub: LocalHub, dataset: str
) -> None:
    claimed = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(Exception, match=r"sha256|400|Bad Request"):
        upload(NOISE, claimed)
    lines = (
        '{"key": "header", "value": {"summary": "s"}}\n'
        f'{{"key": "lfsFile", "value": {{"path": "a.bin", "algo": "sha256", "oid": "{claimed}"}}}}'
    )
    answer = http.post(f"{local_hub.endpoint}/api/datasets/{dataset}/commit/main", data=lines, timeout=10)
    assert answer.status_code == 400
    assert "not uploaded" in answer.json()["error"]


def test_broken_xorbs_and_shards_are_refused(token_url: Callable[[str], str], http: requests.Session) -> None:
    token = http.get(token_url("write"), timeout=10).json()
    headers = {"Authorization": f"Bearer {token['accessToken']}"}
    for path in (f"/v1/xorbs/default/{'a' * 64}", f"/xorb/default/{'a' * 64}", "/v2/shards", "/v1/shards", "/shards"):
        for body in (b"", b"junk" * 100):
            assert requests.post(token["casUrl"] + path, data=body, headers=headers, timeout=10).status_code == 400


def test_large_content_outlives_a_restart_and_is_kept_once(hub_environment: Path, tmp_path: Path) -> None:
    with LocalHub(tmp_path / "root") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        api.create_repo("local/m")
        for name in ("a.bin", "b.bin"):
            api.upload_file(path_or_fileobj=NOISE, path_in_repo=name, repo_id="local/m")
        sha = api.repo_info("local/m").sha
    stored = sum(path.stat().st_size for path in (tmp_path / "root").rglob("*") if path.is_file())
    assert stored < len(NOISE) * 1.1
    with LocalHub(tmp_path / "root") as hub:
        api = HfApi(endpoint=hub.endpoint, token=hub.token)
        assert api.repo_info("local/m").sha == sha
        found = api.hf_hub_download("local/m", "b.bin", local_dir=tmp_path / "down")
        assert Path(found).read_bytes() == NOISE
        hub.requests.clear()
        api.upload_file(path_or_fileobj=NOISE, path_in_repo="c.bin", repo_id="local/m")
        assert sum(request.bytes_in for request in hub.requests.of("xet-xorb")) < 1_000_000


@pytest.mark.parametrize("content", [TEXT, FLOATS], ids=["text", "floats"])
def test_compressed_content_is_readable_without_pyarrow(
    content: bytes, stock_api: HfApi, dataset: str, monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str], bytes]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    stock_api.upload_file(path_or_fileobj=content, path_in_repo="a.bin", repo_id=dataset, repo_type="dataset")
    assert fetch("a.bin") == content


def xorb(chunk: bytes, size: int) -> BytesIO:
    """A xorb of one LZ4 chunk whose header says `size`."""
    return BytesIO(b"\0" + len(chunk).to_bytes(3, "little") + b"\1" + size.to_bytes(3, "little") + chunk)


def test_broken_lz4_is_refused() -> None:
    content = TEXT[:10_000]
    whole = lz4.frame.compress(content)
    file = xorb(whole, len(content))
    assert list(xet_format.read_chunks(file, scan_xorb(file), 0, 1)) == [content]
    for broken in (b"", b"junk" * 10, whole[:-20], lz4.frame.compress(TEXT)):
        file = xorb(broken, len(content))
        with pytest.raises(ValueError, match="LZ4"):
            list(xet_format.read_chunks(file, scan_xorb(file), 0, 1))


def test_hashes_are_spelled_as_the_clients_do() -> None:
    raw = bytes(range(32))
    assert hash_to_text(raw) == "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
    assert hash_from_text(hash_to_text(raw)) == raw
    with pytest.raises(ValueError, match="shard"):
        parse_shard(b"")
