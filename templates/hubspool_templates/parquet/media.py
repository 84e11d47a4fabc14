"""Rows with media as lines of JSON: a value that JSON lacks is written with a tag, and read back unchanged."""

from __future__ import annotations

import io
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import orjson

from hubspool.extending import HFValidationError
from hubspool_templates.media_types import MEDIA, media_of_path
from hubspool_templates.schema import FieldType, Given, ListOf, Schema
from hubspool_templates.value_kinds import BYTES, TIME, are_plain, is_pil_image
from hubspool_templates.values import RowEncoder, cannot_store

#: The first key of a line with tagged values, and the first key of each tagged value.
TAG = "$hubspool"
_TAG = f'{{"{TAG}"'.encode()
_OPTIONS = orjson.OPT_APPEND_NEWLINE
#: Modes of an image that PNG holds without loss; images of other modes are stored as TIFF.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@dataclass(frozen=True)
class Media:
    """An image, audio or video file: its media, its bytes, and its name if it had one."""

    media: str
    bytes: bytes
    path: str | None = None


class MediaEncoder(RowEncoder):
    """Converts rows to JSON lines that `read_line` converts back.

    Not promised: that an image object keeps the bytes of the file that it was opened from; pass the path for that.

    Beside the values of `RowEncoder` it stores bytes; PIL images (without loss); a `Path` of an image, audio or video
    file; NaN and ±inf; datetimes (naive: read as UTC, with one warning). A column that is declared as media also takes
    a path as text, a file's bytes, an array of pixels, and ``(rate, samples)`` for audio. A file is read while the row
    is appended, and stored with its name, without its folder.

    Thread-safety: may be used by several threads; a warning may then appear twice.

    Args:
        declared: the columns, if the caller gave a schema.
    """

    def __init__(self, declared: Schema | None = None) -> None:
        super().__init__()
        self.declared = declared

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """Return `row` as one line.

        Raises:
            HFValidationError: a value cannot be stored; the message names its key. Also a ValueError.
        """
        if self.declared is None and type(row) is dict and row and TAG not in row and are_plain(row.values()):
            try:
                return orjson.dumps(row, None, _OPTIONS)
            except TypeError:
                pass  # a key that is no str; the error comes from `_refusal` below
        if not isinstance(row, Mapping) or not row or TAG in row:
            raise cannot_store("row", row, "it must be a dict with at least one column", "Pass {'column': value, …}.")
        given: Mapping[str, Any] = row
        if self.declared is not None:
            given = {name: _declared_column(value, self.declared, name) for name, value in row.items()}
        tagged = self.plain(given)
        try:
            return orjson.dumps({TAG: True, **tagged}, None, _OPTIONS)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._refusal(given, error) from None

    def _plain_mapping(self, value: Mapping[Any, Any], key: str) -> dict[str, Any]:
        if TAG in value:
            raise cannot_store(key, value, f"hubspool reserves the key {TAG!r}", "Use another key.")
        return super()._plain_mapping(value, key)

    def _plain_object(self, value: Any, key: str) -> Any:
        if isinstance(value, Path) and (media := media_of_path(value)) and value.is_file():
            value = Media(media, value.read_bytes(), value.name)
        elif is_pil_image(value):
            value = _image(value)
        if isinstance(value, Media):
            return {TAG: value.media, "bytes": b64encode(value.bytes).decode(), "path": value.path}
        if isinstance(value, BYTES):
            return {TAG: "binary", "bytes": b64encode(value).decode()}
        return super()._plain_object(value, key)

    def _odd_float(self, value: float, key: str) -> Any:  # noqa: ARG002  one tag for all keys
        return {TAG: "float", "is": repr(value)}

    def _time(self, value: datetime, key: str) -> Any:
        return {TAG: "time", "at": super()._time(value, key)}


def read_line(line: bytes) -> dict[str, Any]:
    """Return the row of a line, with its `Media`, bytes, datetimes, NaN and infinite floats."""
    row: dict[str, Any] = orjson.loads(line)
    if row.pop(TAG, None) is None:
        return row
    return {name: _untag(value) for name, value in row.items()}


def is_tagged(lines: bytes) -> bool:
    """Whether a line begins with a tag. True for plain text that looks like one, which only costs time."""
    return lines.startswith(_TAG) or b"\n" + _TAG in lines


def dtype_of(value: Any) -> FieldType:
    """Return the dtype of a tagged value, as `read_line` returns it."""
    if isinstance(value, Media):
        return value.media
    return "binary" if isinstance(value, bytes) else TIME


def media_of_column(kind: FieldType) -> str | None:
    """Return which media a column holds, with options (an image of a given mode) or without; None for other columns."""
    dtype = kind.feature.get("dtype") if isinstance(kind, Given) else kind
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


def _declared_column(value: Any, declared: Schema, name: Any) -> Any:
    if name not in declared.fields:
        raise cannot_store(str(name), value, "the schema has no such column", "Add it to schema=…")
    return _declared(value, declared.fields[name], str(name))


def _declared(value: Any, kind: FieldType, key: str) -> Any:
    """Return a value in which the media of declared columns are read from their files, bytes or arrays."""
    if isinstance(kind, ListOf) and isinstance(value, (list, tuple)):
        return [_declared(inner, kind.item, key) for inner in value]
    if isinstance(kind, Schema) and isinstance(value, Mapping):
        return {name: _declared(inner, kind.fields.get(name, "null"), f"{key}.{name}") for name, inner in value.items()}
    media = media_of_column(kind)
    if media is None or value is None or isinstance(value, Media):
        return value
    return _read_media(value, media, key)


def _read_media(value: Any, media: str, key: str) -> Media:
    if isinstance(value, (str, Path)):
        path = Path(value)
        if not path.is_file():
            raise cannot_store(key, value, f"the column holds {media}, and no such file exists", "Pass a file's path.")
        return Media(media, path.read_bytes(), path.name)
    if isinstance(value, BYTES):
        return Media(media, bytes(value))
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return Media(media, value["bytes"], value.get("path"))
    if media == "image" and is_pil_image(value):
        return _image(value)
    if media == "image" and hasattr(value, "__array_interface__"):
        from PIL import Image

        return _image(Image.fromarray(value))
    if media == "audio" and isinstance(value, tuple) and len(value) == 2:
        return _wave(*value)
    raise cannot_store(key, value, f"the column holds {media}", "Pass a path, or the bytes of a file.")


def _image(image: Any) -> Media:
    out = io.BytesIO()
    image.save(out, format="PNG" if image.mode in _PNG_MODES else "TIFF")
    return Media("image", out.getvalue())


def _wave(rate: int, samples: Any) -> Media:
    """Return samples as a WAV file of their own dtype; `samples` has the shape (frames,) or (frames, channels)."""
    import numpy as np

    array = np.asarray(samples)
    if array.dtype.name not in ("uint8", "int16", "int32", "float32", "float64") or array.ndim not in (1, 2):
        raise HFValidationError(
            f"Cannot store audio samples of {array.dtype} and shape {array.shape}.", hint="Pass int16 or float32."
        )
    channels, width = array.shape[1] if array.ndim == 2 else 1, array.dtype.itemsize
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    code = 3 if array.dtype.kind == "f" else 1
    frame = struct.pack("<HHIIHH", code, channels, rate, rate * channels * width, channels * width, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(frame)) + frame + b"data" + struct.pack("<I", len(data)) + data
    return Media("audio", b"RIFF" + struct.pack("<I", len(body)) + body)
