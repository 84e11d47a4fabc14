"""Rows with media as lines of JSON: a value that JSON lacks is written with a tag, and read back unchanged."""

from __future__ import annotations

import math
import os
import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path, PurePath
from typing import Any, Literal

import orjson

from hubspool.extending import HFValidationError
from hubspool_templates.media_files import image_bytes, prepared
from hubspool_templates.media_types import MEDIA, media_of
from hubspool_templates.schema import FieldType, Given, ListOf, Schema, innermost
from hubspool_templates.value_kinds import BYTES, TIME, are_plain, is_pil_image, simpler
from hubspool_templates.values import RowEncoder, cannot_store, dumped

#: The first key of a line with tagged values, and the first key of each tagged value.
TAG = "$hubspool"
_TAG = f'{{"{TAG}"'.encode()
_OPTIONS = orjson.OPT_APPEND_NEWLINE
_MOST_CHANNELS = 32
#: A text in a line that may be the name of a media file.
_NAME = re.compile(rb'\.[0-9A-Za-z]{2,4}"')


@dataclass(frozen=True)
class Media:
    """An image, audio or video file: its media, its bytes, and its name if it had one."""

    media: str
    bytes: bytes
    path: str | None = None


#: Values that are no text and hold none, or whose text is no visitor's.
_NO_TEXT = (Media, PurePath, *BYTES, bool, int, float, date, time, timedelta, type(None))


class Text(str):
    """Text that is not taken for the path of a file."""

    __slots__ = ()


def as_texts(value: Any) -> Any:
    """Return a value in which every text is a `Text`: visitors wrote it, who could name a file of the app.

    That includes texts inside objects of other classes, and those of subclasses of str. A `Path` stays one: the app
    made it.
    """
    if isinstance(value, str):
        return Text(str.__str__(value))
    if isinstance(value, Mapping):
        return {name: as_texts(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_texts(inner) for inner in value]
    is_numeric = getattr(getattr(value, "dtype", None), "kind", "O") in "biufcmM"
    if isinstance(value, _NO_TEXT) or is_pil_image(value) or is_numeric:
        return value
    try:
        return as_texts(simpler(value))
    except TypeError:  # `append` refuses it, with its key
        return value


class MediaEncoder(RowEncoder):
    """Converts rows to JSON lines that `read_line` converts back.

    Not promised: that an image object keeps the bytes of the file that it was opened from; pass the path for that.

    Beside the values of `RowEncoder` it stores bytes; PIL images (without loss); an image, audio or video file by its
    path; NaN and ±inf; datetimes (naive: read as UTC, with one warning). A column that is declared as media also takes
    a file's bytes, an array of pixels, and ``(rate, samples)`` for audio. A file is read while the row is appended, and
    stored with its name, without its folder.

    Thread-safety: may be used by several threads; a warning may then appear twice.

    Args:
        declared: the columns, if the caller gave a schema.
        check_media: refuse media files that are empty, truncated or something else.
        strip_exif: remove metadata from pictures, as `media_files.without_exif` does.
        paths: "media" stores the file that a text or a `Path` names, unless the schema says that the column is text, or
            the text is a `Text`; "text" stores the name.
    """

    def __init__(
        self,
        declared: Schema | None = None,
        *,
        check_media: bool = True,
        strip_exif: bool = False,
        paths: Literal["media", "text"] = "media",
    ) -> None:
        super().__init__()
        if paths not in ("media", "text"):
            raise HFValidationError(f"paths is {paths!r}.", hint="Use 'media' or 'text'.")
        self.declared = declared
        self._check_media = check_media
        self._strip_exif = strip_exif
        self._reads_paths = paths == "media" and declared is None

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """Return `row` as one line.

        Raises:
            HFValidationError: a value cannot be stored; the message names its key. Also a ValueError.
        """
        try:
            if self.declared is None and type(row) is dict and row and TAG not in row and are_plain(row.values()):
                line = orjson.dumps(row, None, _OPTIONS)
                if not self._reads_paths or not _NAME.search(line):
                    return line
        except (TypeError, RecursionError):
            pass  # a key that is no str, or a loop; the error comes from `plain` below
        if not isinstance(row, Mapping) or not row or TAG in row:
            raise cannot_store("row", row, "it must be a dict with at least one column", "Pass {'column': value, …}.")
        given: Mapping[str, Any] = row
        if self.declared is not None:
            given = {name: _declared_column(value, self.declared, name) for name, value in row.items()}
        line = dumped(self.plain(given))
        return _TAG + b":true," + line[1:] if TAG.encode() in line else line

    def _plain_mapping(self, value: Mapping[Any, Any], key: str) -> dict[str, Any]:
        if TAG in value:
            raise cannot_store(key, value, f"hubspool reserves the key {TAG!r}", "Use another key.")
        return super()._plain_mapping(value, key)

    def _plain(self, value: Any, key: str) -> Any:
        if type(value) is Text:
            return super()._plain(str.__str__(value), key)
        if (
            self._reads_paths and type(value) is str and media_of(value) and os.path.isfile(value)  # noqa: PTH113  Path.is_file raises for a long text
        ):
            return self._plain_object(Path(value), key)
        return super()._plain(value, key)

    def _plain_object(self, value: Any, key: str) -> Any:
        if isinstance(value, PurePath) and self._reads_paths and (media := media_of(value.name)):
            value = self._checked(_file(Path(value), media, key), key)
        elif is_pil_image(value):
            value = Media("image", image_bytes(value, key))
        elif isinstance(value, Media):
            value = self._checked(value, key)
        if isinstance(value, Media):
            return {TAG: value.media, "bytes": b64encode(value.bytes).decode(), "path": value.path}
        if isinstance(value, BYTES):
            return {TAG: "binary", "bytes": b64encode(value).decode()}
        return super()._plain_object(value, key)

    def _checked(self, value: Media, key: str) -> Media:
        content = prepared(value.bytes, value.media, key, value.path, check=self._check_media, strip=self._strip_exif)
        return Media(value.media, content, value.path)

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


def is_stored_otherwise(kind: FieldType) -> bool:
    """Return True if a Parquet file has other values in such a column than the rows that were appended."""
    return any(each == "json" or media_of_column(each) is not None for each in innermost(kind))


def stored_value(value: Any, kind: FieldType, as_value: Callable[[Media], Any]) -> Any:
    """Return the value that was appended, from what a column of this type holds of it."""
    if value is None:
        return None
    if isinstance(kind, ListOf):
        return [stored_value(item, kind.item, as_value) for item in value]
    if isinstance(kind, Schema):
        return {name: stored_value(value.get(name), inner, as_value) for name, inner in kind.fields.items()}
    if media := media_of_column(kind):
        return value if value.get("bytes") is None else as_value(Media(media, value["bytes"], value.get("path")))
    return orjson.loads(value) if kind == "json" else value


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
    if isinstance(kind, ListOf | Schema) and not isinstance(value, (str, list, dict, *BYTES)):
        with suppress(TypeError):  # the error comes from `plain`
            value = None if value is None else simpler(value)
    if isinstance(kind, ListOf) and isinstance(value, list):
        return [_declared(inner, kind.item, key) for inner in value]
    if isinstance(kind, Schema) and isinstance(value, dict):
        return {name: _declared(inner, kind.fields.get(name, "null"), f"{key}.{name}") for name, inner in value.items()}
    if kind == "binary" and isinstance(value, Media):
        return value.bytes
    media = media_of_column(kind)
    if media is None or value is None or isinstance(value, Media):
        return value
    return _read_media(value, media, key)


def _read_media(value: Any, media: str, key: str) -> Any:
    if isinstance(value, (str, PurePath)):
        return _file(Path(value), media, key)
    if isinstance(value, BYTES):
        return Media(media, bytes(value))
    if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
        return Media(media, value["bytes"], value.get("path"))
    if media == "image" and is_pil_image(value):
        return value
    if media == "image" and hasattr(value, "__array_interface__"):
        from PIL import Image

        try:
            return Image.fromarray(value)
        except (TypeError, ValueError) as error:
            raise cannot_store(key, value, f"PIL makes no image of it ({error})", "Pass uint8 pixels.") from None
    if media == "audio" and isinstance(value, tuple) and len(value) == 2:
        return _wave(*value, key)
    raise cannot_store(key, value, f"the column holds {media}", "Pass a path, or the bytes of a file.")


def _file(path: Path, media: str, key: str) -> Media:
    try:
        return Media(media, path.read_bytes(), path.name)
    except OSError as error:
        hint = "Pass the path of a file; text that is no path as str, in a column that is not media."
        raise cannot_store(key, str(path), f"no such file can be read ({error.strerror})", hint) from None


def _wave(rate: Any, samples: Any, key: str) -> Media:
    """Return samples as a WAV file of their own dtype.

    `samples` has the shape (frames,) or (frames, channels), or (channels, frames) as torch has it: a file has at most
    32 channels.
    """
    import numpy as np

    array = np.asarray(samples)
    if array.dtype.name not in ("uint8", "int16", "int32", "float32", "float64") or array.ndim not in (1, 2):
        problem = f"audio samples of {array.dtype} and shape {array.shape}"
        raise cannot_store(key, samples, problem, "Pass int16 or float32, of the shape (frames, channels).")
    if array.ndim == 2 and array.shape[1] > _MOST_CHANNELS >= array.shape[0]:
        array = array.T
    channels, width = array.shape[1] if array.ndim == 2 else 1, array.dtype.itemsize
    hertz = int(rate) if isinstance(rate, (int, float, np.number)) and math.isfinite(rate) else 0
    if hertz != rate or not 0 < hertz < 2**31 or not 0 < channels <= _MOST_CHANNELS:
        problem = f"the rate is {rate!r} and the shape {array.shape}"
        raise cannot_store(key, samples, problem, "Pass (samples per second, samples), with at most 32 channels.")
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    code = 3 if array.dtype.kind == "f" else 1
    frame = struct.pack("<HHIIHH", code, channels, hertz, hertz * channels * width, channels * width, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(frame)) + frame + b"data" + struct.pack("<I", len(data)) + data
    return Media("audio", b"RIFF" + struct.pack("<I", len(body)) + body)
