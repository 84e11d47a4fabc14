"""Rows with media in them as lines of JSON: what JSON lacks is tagged, and comes back as it was."""

from __future__ import annotations

import io
import math
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson

from hubspool.errors import HFValidationError
from hubspool_templates.schema import FieldType, Given, ListOf, Schema
from hubspool_templates.values import RowEncoder, _bad

#: The first key of a line with tagged values in it, and the key that tells such a value from the dict of a row.
TAG = "$hubspool"
_TAG = f'{{"{TAG}"'.encode()
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATETIME
TIME = "timestamp[us, tz=UTC]"
_KINDS = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a"), "audio"),
    **dict.fromkeys((".mp4", ".mkv", ".avi", ".mov", ".webm"), "video"),
}
MEDIA = frozenset(_KINDS.values())
_HARMLESS = frozenset({str, bool, type(None)})
#: Modes of an image that PNG holds exactly; TIFF holds the others.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@dataclass(frozen=True)
class Media:
    """An image, audio or video file: its dtype in the card, its bytes, and its name where it had one."""

    kind: str
    bytes: bytes
    path: str | None = None


class MediaEncoder(RowEncoder):
    """Turns rows into JSON lines that `read_line` turns back.

    Beside what `RowEncoder` takes: bytes; PIL images (stored without loss); a `Path` of an image, audio or video file;
    NaN and ±inf; datetimes (naive: read as UTC, with one warning). In a column that is declared as media also a path as
    text, a file's bytes, an array of pixels, and ``(rate, samples)`` for audio. A file is read while the row is
    appended, and stored under its name alone.

    Not promised: that an image which was opened from a file keeps that file's bytes; pass its path for that.

    Thread-safety: may be used by several threads; a warning may then come twice.

    Args:
        declared: the columns, where the caller gave them.
    """

    def __init__(self, declared: Schema | None = None) -> None:
        super().__init__()
        self.declared = declared

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """Return `row` as one line.

        Raises:
            HFValidationError: a ValueError that names the key and what cannot be stored.
        """
        if self.declared is None and type(row) is dict and row and TAG not in row and _is_plain(row.values()):
            try:
                return orjson.dumps(row, None, _OPTIONS)
            except TypeError:
                pass  # a key that is no str; said below
        if not isinstance(row, Mapping) or not row or TAG in row:
            raise _bad("row", row, "it must be a dict with one column at least", "Pass {'column': value, …}.")
        given = dict(row)
        if self.declared is not None:
            for name, value in given.items():
                if name not in self.declared.fields:
                    raise _bad(str(name), value, "the schema has no such column", "Add it to schema=…")
                given[name] = _declared(value, self.declared.fields[name], str(name))
        try:
            tagged = {name: self._tag(value, str(name)) for name, value in given.items()}
            return orjson.dumps({TAG: True, **tagged}, None, _OPTIONS)
        except (TypeError, ValueError, RecursionError) as error:
            if isinstance(error, HFValidationError):
                raise
            raise self._refusal(given, error) from None

    def _tag(self, value: Any, key: str) -> Any:  # noqa: PLR0911, PLR0912  one kind of value after the other
        if value is None or isinstance(value, (str, bool)) or type(value) is int:
            if type(value) is int and not -(2**63) <= value < 2**63:
                raise _bad(key, value, "it does not fit in 64 bits", "Store it as a str.")
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {TAG: "float", "is": repr(value)}
        if isinstance(value, Mapping):
            if wrong := [name for name in value if not isinstance(name, str)]:
                raise _bad(key, wrong[0], f"as a key it is a {type(wrong[0]).__name__}", "Use str keys.")
            if TAG in value:
                raise _bad(key, value, f"the key {TAG!r} is ours", "Use another key.")
            return {name: self._tag(inner, f"{key}.{name}") for name, inner in value.items()}
        if isinstance(value, Path) and value.suffix.lower() in _KINDS and value.is_file():
            value = Media(_KINDS[value.suffix.lower()], value.read_bytes(), value.name)
        elif type(value).__module__.startswith("PIL."):
            value = _image(value)
        if isinstance(value, Media):
            return {TAG: value.kind, "bytes": b64encode(value.bytes).decode(), "path": value.path}
        if isinstance(value, (bytes, bytearray, memoryview)):
            return {TAG: "binary", "bytes": b64encode(value).decode()}
        if isinstance(value, (list, tuple)):
            return [self._tag(inner, f"{key}[{index}]") for index, inner in enumerate(value)]
        if isinstance(value, datetime):
            return {TAG: "time", "at": self._convert(value)}
        if type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "tolist"):
            return self._tag(value.tolist(), key)
        try:
            return orjson.loads(orjson.dumps(value, self._convert, _OPTIONS | orjson.OPT_PASSTHROUGH_DATACLASS))
        except TypeError as error:
            raise _bad(key, value, str(error), "Convert it to a str, number, list or dict first.") from None


def read_line(line: bytes) -> dict[str, Any]:
    """Return the row of a line, with `Media`, bytes, datetimes and odd floats in it."""
    row: dict[str, Any] = orjson.loads(line)
    if row.pop(TAG, None) is None:
        return row
    return {name: _untag(value) for name, value in row.items()}


def is_tagged(lines: bytes) -> bool:
    """Whether there is a tag in these lines, or what looks like one."""
    return lines.startswith(_TAG) or b"\n" + _TAG in lines


def dtype_of(value: Any) -> FieldType:
    """Return the dtype of a value that JSON lacks, as `read_line` returns it."""
    if isinstance(value, Media):
        return value.kind
    return "binary" if isinstance(value, bytes) else TIME


def media_kind(kind: FieldType) -> str | None:
    """Return which media a column holds, also one with options such as an image of a given mode; None for others."""
    dtype = kind.form.get("dtype") if isinstance(kind, Given) else kind
    names = list(dtype) if isinstance(dtype, Mapping) else [dtype]
    return next((name for name in names if isinstance(name, str) and name in MEDIA), None)


def _untag(value: Any) -> Any:
    if isinstance(value, list):
        return [_untag(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(TAG)
    if kind is None:
        return {name: _untag(inner) for name, inner in value.items()}
    if kind == "float":
        return float(value["is"])
    if kind == "time":
        return datetime.fromisoformat(value["at"]).astimezone(timezone.utc)
    data = b64decode(value["bytes"])
    return data if kind == "binary" else Media(kind, data, value["path"])


def _is_plain(values: Iterable[Any]) -> bool:
    """Whether JSON and a 64-bit column hold all values as they are; each appended row goes through it."""
    for value in values:
        kind = type(value)
        if kind in _HARMLESS:
            continue
        if kind is int:
            if not -(2**63) <= value < 2**63:
                return False
        elif kind is float:
            if value - value != 0:  # NaN or infinite
                return False
        elif not _is_plain(value if kind is list else value.values() if kind is dict else (math.nan,)):
            return False
    return True


def _declared(value: Any, kind: FieldType, key: str) -> Any:
    """Return a value with the media of declared columns in it read from where they are."""
    if isinstance(kind, ListOf) and isinstance(value, (list, tuple)):
        return [_declared(inner, kind.item, key) for inner in value]
    if isinstance(kind, Schema) and isinstance(value, Mapping):
        return {name: _declared(inner, kind.fields.get(name, "null"), f"{key}.{name}") for name, inner in value.items()}
    media = media_kind(kind)
    if media is None or value is None or isinstance(value, Media):
        return value
    return _read_media(value, media, key)


def _read_media(value: Any, kind: str, key: str) -> Media:
    if isinstance(value, (str, Path)):
        path = Path(value)
        if not path.is_file():
            raise _bad(key, value, f"the column is {kind}, and there is no such file", "Pass the path of a file.")
        return Media(kind, path.read_bytes(), path.name)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Media(kind, bytes(value))
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return Media(kind, value["bytes"], value.get("path"))
    if kind == "image":
        if type(value).__module__.startswith("PIL."):
            return _image(value)
        if hasattr(value, "__array_interface__"):
            from PIL import Image

            return _image(Image.fromarray(value))
    if kind == "audio" and isinstance(value, tuple) and len(value) == 2:
        return _wave(*value)
    raise _bad(key, value, f"a {type(value).__name__} is no {kind}", "Pass a path, or the bytes of a file.")


def _image(image: Any) -> Media:
    out = io.BytesIO()
    image.save(out, format="PNG" if image.mode in _PNG_MODES else "TIFF")
    return Media("image", out.getvalue())


def _wave(rate: int, samples: Any) -> Media:
    """Return samples (an array of frames, or of frames by channels) as a WAV file of their own dtype."""
    import numpy as np

    array = np.asarray(samples)
    if array.dtype.name not in ("uint8", "int16", "int32", "float32", "float64") or array.ndim not in (1, 2):
        raise HFValidationError(f"Audio of {array.dtype} and shape {array.shape}.", hint="Pass int16 or float32.")
    channels, width = array.shape[1] if array.ndim == 2 else 1, array.dtype.itemsize
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    code = 3 if array.dtype.kind == "f" else 1
    frame = struct.pack("<HHIIHH", code, channels, rate, rate * channels * width, channels * width, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(frame)) + frame + b"data" + struct.pack("<I", len(data)) + data
    return Media("audio", b"RIFF" + struct.pack("<I", len(body)) + body)
