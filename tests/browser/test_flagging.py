"""HubFlaggingCallback behind a running `gr.Interface`: every kind of component, options, privacy, bad visitors."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from gradio_client import Client, handle_file

from tests.support.gradio_space import RunningSpace, loaded, space
from tests.support.paths import PROGRAMS, ROOT

if TYPE_CHECKING:
    from hubspool.local_hub import LocalHub

PROGRAM = PROGRAMS / "flagging_space.py"
PICTURE = ROOT / "docs" / "demo-phone.png"
TABLE = {"headers": ["x", "y"], "data": [[1, "one"], [2, "two"]], "metadata": None}
TEXT = "γειά ✓"


@pytest.fixture
def flagging(local_hub: LocalHub, tmp_path: Path) -> Callable[..., Any]:
    """Gives the Space and the event behind its flag button."""

    @contextmanager
    def run(**environment: str) -> Iterator[tuple[RunningSpace, Callable[..., str]]]:
        with space(PROGRAM, tmp_path, local_hub, **environment) as running:
            client = Client(running.address, verbose=False, analytics_enabled=False)
            yield running, lambda *values, option=0: str(client.predict(*values, fn_index=_flags(client)[option]))
            client.close()

    return run


def _flags(client: Client) -> list[int]:
    found = [event["id"] for event in client.config["dependencies"] if str(event["api_name"]).startswith("Flag")]
    assert len(found) == 2, client.config["dependencies"]
    return found


def test_plain_components_are_a_row_of_json(local_hub: LocalHub, tmp_path: Path, flagging: Callable[..., Any]) -> None:
    with flagging() as (running, flag):
        assert "Error" not in flag(TEXT, 1.5, True, ["a"], TABLE, TEXT.upper(), option=1)
        assert "Error" not in flag("none", None, False, [], TABLE, "NONE")
        assert "Error" not in running.leave()
    features, rows = loaded(local_hub, tmp_path)
    assert set(features) == {"text", "number", "sure", "choices", "table", "text 2", "length", "flag", "timestamp"}
    first, second = sorted(rows, key=lambda row: str(row["timestamp"]))
    expected = {"text": TEXT, "number": 1.5, "sure": True, "choices": ["a"], "text 2": TEXT.upper(), "flag": "bad"}
    assert {name: first[name] for name in expected} == expected
    assert json.loads(str(first["table"])) == TABLE
    assert (second["number"], second["choices"], second["flag"]) == (None, [], "good")
    assert [path.name for path in (tmp_path / ".gradio" / "flagged").iterdir()] == ["local--kept"]


@pytest.mark.slow
def test_what_transform_returns_is_stored_and_none_is_not(
    local_hub: LocalHub, tmp_path: Path, flagging: Callable[..., Any]
) -> None:
    with flagging() as (running, flag):
        flag("secret", 1, True, [], TABLE, "SECRET")
        flag("said", 2, True, [], TABLE, "SAID")
        running.leave()
    _, rows = loaded(local_hub, tmp_path)
    assert [(row["text"], row["length"]) for row in rows] == [("said", 4)]


@pytest.mark.slow
def test_media_load_as_what_they_are(local_hub: LocalHub, tmp_path: Path, flagging: Callable[..., Any]) -> None:
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(1600))
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"\0\0\0\x18ftypisom" + bytes(12))  # one whole box, which is all that is looked at
    note = tmp_path / "note.txt"
    note.write_text("a note")
    with flagging(MEDIA="1") as (running, flag):
        files = [handle_file(path) for path in (PICTURE, sound)]
        video = {"path": handle_file(clip)["path"], "meta": {"_type": "gradio.FileData"}}
        assert "Error" not in flag(TEXT, 1, True, ["a"], TABLE, *files, video, handle_file(note), TEXT)
        assert "Error" not in flag("none", 1, True, [], TABLE, None, None, None, None, "NONE")
        assert "Error" not in running.leave()
    code_features, rows = loaded(local_hub, tmp_path, raw=True)
    kinds = {name: code_features[name].partition("(")[0] for name in ("image", "audio", "video")}
    assert kinds == {"image": "Image", "audio": "Audio", "video": "Video"}
    with_files, without = sorted(rows, key=lambda row: str(row["timestamp"]))
    assert with_files["image"] == PICTURE.read_bytes().hex()
    assert with_files["audio"] == sound.read_bytes().hex()
    assert with_files["video"] == clip.read_bytes().hex()
    assert with_files["file"] == {"name": "note.txt", "bytes": note.read_bytes().hex()}
    assert [without[name] for name in ("image", "audio", "video", "file")] == [None] * 4


def test_a_file_that_was_not_uploaded_is_not_stored(
    local_hub: LocalHub, tmp_path: Path, flagging: Callable[..., Any]
) -> None:
    private = tmp_path / "private.txt"
    private.write_text("a token")
    forged = {"path": str(private), "meta": {"_type": "gradio.FileData"}, "orig_name": "x.txt"}
    with flagging(MEDIA="1") as (running, _):
        client = Client(running.address, verbose=False, analytics_enabled=False)
        # As somebody with curl: the client would upload the file.
        address = f"{running.address}/gradio_api/run/predict"
        for files in ([None, None, None, forged], [None, None, forged, None], [forged, None, None, None]):
            body = {"data": ["forged", 1, True, [], TABLE, *files, "FORGED"], "fn_index": _flags(client)[0]}
            assert requests.post(address, json=body, timeout=60).status_code == 500
        body["data"] = ["fine", 1, True, [], TABLE, *[None] * 4, "FINE"]
        assert requests.post(address, json=body, timeout=60).status_code == 200
        client.close()
        assert "was not uploaded by a user" in running.leave()
    _, rows = loaded(local_hub, tmp_path)
    assert [row["text"] for row in rows] == ["fine"]
