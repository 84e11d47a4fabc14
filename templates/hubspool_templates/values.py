"""Rows as JSON: which Python values a row may hold, and how each is stored."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import orjson

from hubspool.extending import HFValidationError
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.schema import Schema, as_text, shape_of
from hubspool_templates.value_kinds import BYTES, fits_int64, is_numpy, is_pil_image

logger = logging.getLogger(__name__)

_OPTIONS = (
    orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_SERIALIZE_NUMPY
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
_MEDIA_HINT = (
    "Use ParquetScheduler, which stores bytes, images, audio and video in rows; or write a file into the folder of a"
    " CommitScheduler, and store its name here."
)
CONVERT_HINT = "Convert it to a str, number, list or dict first."
_INDEX = re.compile(r"\[\d+\]")


class RowEncoder:
    """Converts rows to JSON lines in which no column holds both text and numbers.

    Once a column had both, its numbers and bools are stored as text (see `Schema`). Lines before this change and lines
    after it must go to different files.

    None stays null; bool, 64-bit int, float, str, dict and list stay what they are; tuple → list; NaN and ±inf → null,
    with one warning per key; datetime → ISO 8601 (naive: read as UTC, with one warning); Decimal, UUID, Path → str;
    Enum → its value; numpy scalar → Python value, array → list. Any other value is an error.

    Thread-safety: one thread at a time.

    Args:
        on_widened: called before the first line in which a column changed to text.

    Attributes:
        schema: the columns of all rows so far.
        widenings: how often a column changed to text.
    """

    def __init__(self, on_widened: Callable[[], None] | None = None) -> None:
        self.schema = Schema()
        self.widenings = 0
        self._on_widened = on_widened
        self._warned: set[str] = set()
        self._has_text: dict[object, bool] = {}  # shape → whether such a row needs `as_text`

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """Return `row` as one line of JSON, with its newline.

        Raises:
            HFValidationError: JSON cannot hold a value; the message names its key. Also a ValueError.
        """
        if not isinstance(row, dict):
            if not isinstance(row, Mapping):
                raise HFValidationError(
                    f"A row is a dict of columns, not a {type(row).__name__}: {_short(row)}.",
                    hint="Pass {'column': value, …}.",
                )
            row = dict(row)
        try:
            line = orjson.dumps(row, self._convert, _OPTIONS)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._refusal(row, error) from None
        shape = shape_of(row)
        if shape is None:
            self._check_numbers(row)
            shape = shape_of(orjson.loads(line))
        needs_text = self._has_text.get(shape)
        if needs_text is None:
            needs_text = self._learn(shape, orjson.loads(line))
        return orjson.dumps(as_text(orjson.loads(line), self.schema, _text), None, _OPTIONS) if needs_text else line

    def _learn(self, shape: object, row: dict[str, Any]) -> bool:
        """Merge a row of a new shape into the schema; return whether a text column of the row holds numbers."""
        widened: list[str] = []
        self.schema = self.schema.merge(Schema.of_row(row), widened)
        if widened:
            self.widenings += 1
            if self._on_widened is not None:
                self._on_widened()
            logger.warning("%s: the column has numbers and text; it is stored as text from now on", ", ".join(widened))
        if widened or len(self._has_text) >= DEFAULTS.remembered_shapes:
            self._has_text.clear()
        self._has_text[shape] = as_text(row, self.schema, _text) != row
        return self._has_text[shape]

    def _convert(self, value: Any) -> object:
        """Convert a value that orjson does not know; orjson calls this method."""
        if isinstance(value, datetime):
            if value.tzinfo is None:
                self._warn("naive", "a datetime without a time zone is stored as UTC; pass an aware one")
                value = value.replace(tzinfo=timezone.utc)
            # Always with the fraction: readers turn text that is a date in whole seconds into timestamps.
            return value.isoformat(timespec="microseconds")
        if isinstance(value, (date, time)):
            return value.isoformat()
        if isinstance(value, Decimal | PurePath):
            return str(value)
        if isinstance(value, Mapping):
            return dict(value)
        if is_numpy(value):  # an array whose memory layout orjson does not support
            converted: object = value.tolist()
            if type(converted) is not type(value):
                return converted
        raise TypeError(type(value).__name__)

    def _check_numbers(self, row: Mapping[str, Any]) -> None:
        """Warn of numbers that became null; refuse integers that no 64-bit column holds."""
        for key, value in _walk(row):
            if isinstance(value, float) and not math.isfinite(value):
                self._warn(key, f"{value} in {key!r} is stored as null: JSON has no such number")
            elif isinstance(value, int):
                check_int(key, value)

    def _refusal(self, row: Mapping[str, Any], cause: Exception) -> HFValidationError:
        """Return the error that names the value which JSON cannot hold."""
        for key, value in _walk(row):
            if isinstance(value, Mapping) and (error := bad_key(key, value)):
                return error
            if isinstance(value, BYTES) or is_pil_image(value):
                return cannot_store(key, value, f"JSON has no {type(value).__name__}", _MEDIA_HINT)
            if isinstance(value, (dict, list, tuple)):
                continue
            try:
                orjson.dumps(value, self._convert, _OPTIONS)
            except (TypeError, ValueError) as reason:
                what = "it does not fit in 64 bits" if isinstance(value, int) else str(reason)
                return cannot_store(key, value, what, CONVERT_HINT)
        return HFValidationError(
            f"The row cannot be written as JSON: {cause}.", hint="It may contain itself, or nest too deeply."
        )

    def _warn(self, key: str, message: str) -> None:
        key = _INDEX.sub("[]", key)
        if key not in self._warned:
            self._warned.add(key)
            logger.warning("%s", message)


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _walk(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every value in a row with the key that leads to it, such as ``meta.tags[3]``."""
    yield key or "row", value
    if depth > 100:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _walk(inner, f"{key}.{name}" if key else str(name), depth + 1)
    elif is_numpy(value):
        yield from _walk(value.tolist(), key, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{key}[{index}]", depth + 1)


def cannot_store(key: str, value: object, problem: str, hint: str) -> HFValidationError:
    """Return the error for a value that cannot be stored."""
    return HFValidationError(f"Cannot store {_short(value)} in {key!r}: {problem}.", hint=hint)


def check_int(key: str, value: int) -> None:
    """Refuse an integer that no 64-bit column holds."""
    if not fits_int64(value):
        raise cannot_store(key, value, "it does not fit in 64 bits", "Store it as a str.")


def bad_key(key: str, value: Mapping[Any, Any]) -> HFValidationError | None:
    """Return the error for the first key of a mapping that is no str, or None."""
    wrong = [name for name in value if not isinstance(name, str)]
    if not wrong:
        return None
    return cannot_store(key, wrong[0], f"as a key it is a {type(wrong[0]).__name__}", "Use str keys.")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
