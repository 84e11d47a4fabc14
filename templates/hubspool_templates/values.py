"""Rows as JSON: which Python values a row may hold, and what becomes of them."""

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

from hubspool.errors import HFValidationError
from hubspool_templates.schema import MAX_SHAPES, Schema, as_text, shape_of

logger = logging.getLogger(__name__)

_OPTIONS = (
    orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_SERIALIZE_NUMPY
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
_INT64 = range(-(2**63), 2**63)
_MEDIA_HINT = (
    "ParquetScheduler stores bytes, images, audio and video in their rows; or write it as a file into the folder of a"
    " CommitScheduler, and store its name here."
)
_INDEX = re.compile(r"\[\d+\]")


class RowEncoder:
    """Turns rows into JSON lines, and keeps each column in them readable: never text beside numbers.

    Once a column has met both, its numbers and bools are stored as text (see `Schema`). The lines before belong into
    another file than the ones after: `on_widened` is called in between, and `widenings` grows.

    None stays null; bool, 64-bit int, float, str, dict and list stay what they are; tuple → list; NaN and ±inf → null,
    with one warning per key; datetime → ISO 8601 (naive: read as UTC, with one warning); Decimal, UUID, Path → str;
    Enum → its value; numpy scalar → Python value, array → list. Everything else is refused.

    Thread-safety: one thread at a time.
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
            HFValidationError: a ValueError that names the key and the value that JSON cannot hold.
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
            self._look_closer(row)
            shape = shape_of(orjson.loads(line))
        needs_text = self._has_text.get(shape)
        if needs_text is None:
            needs_text = self._meet(shape, orjson.loads(line))
        return orjson.dumps(as_text(orjson.loads(line), self.schema, _text), None, _OPTIONS) if needs_text else line

    def _meet(self, shape: object, row: dict[str, Any]) -> bool:
        """Merge a row of a new shape into the schema; returns whether it holds numbers in a column of text."""
        widened: list[str] = []
        self.schema = self.schema.merge(Schema.of_row(row), widened)
        if widened:
            self.widenings += 1
            if self._on_widened is not None:
                self._on_widened()
            logger.warning("%s: numbers and text in one column; from now on it is text", ", ".join(widened))
        if widened or len(self._has_text) >= MAX_SHAPES:
            self._has_text.clear()
        self._has_text[shape] = as_text(row, self.schema, _text) != row
        return self._has_text[shape]

    def _convert(self, value: Any) -> object:
        """Called by orjson for what it does not know."""
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
        if _is_numpy(value):  # in a form that orjson does not take as it lies in memory
            converted: object = value.tolist()
            if type(converted) is not type(value):
                return converted
        raise TypeError(type(value).__name__)

    def _look_closer(self, row: Mapping[str, Any]) -> None:
        """Warn of numbers that became null, refuse integers that no 64-bit column holds."""
        for key, value in _walk(row):
            if isinstance(value, float) and not math.isfinite(value):
                self._warn(key, f"{value} in {key!r} is stored as null: JSON has no such number")
            elif isinstance(value, int) and not _INT64[0] <= value <= _INT64[-1]:
                raise _bad(key, value, "it does not fit in 64 bits", "Store it as a str.")

    def _refusal(self, row: Mapping[str, Any], error: Exception) -> HFValidationError:
        for key, value in _walk(row):
            if isinstance(value, Mapping) and (bad := [k for k in value if not isinstance(k, str)]):
                return _bad(key, bad[0], f"as a key it is a {type(bad[0]).__name__}", "Use str keys.")
            if isinstance(value, (bytes, bytearray, memoryview)) or type(value).__module__.startswith("PIL."):
                kind = type(value).__name__
                return _bad(key, value, f"a {kind} is no JSON", _MEDIA_HINT)
            if isinstance(value, (dict, list, tuple)):
                continue
            try:
                orjson.dumps(value, self._convert, _OPTIONS)
            except (TypeError, ValueError) as reason:
                what = "it does not fit in 64 bits" if isinstance(value, int) else str(reason)
                return _bad(key, value, what, "Convert it to a str, number, list or dict first.")
        return HFValidationError(f"The row is no JSON: {error}.", hint="Look for a loop, or very deep nesting, in it.")

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
    elif _is_numpy(value):
        yield from _walk(value.tolist(), key, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{key}[{index}]", depth + 1)


def _is_numpy(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "tolist")


def _bad(key: str, value: object, problem: str, hint: str) -> HFValidationError:
    return HFValidationError(f"Cannot store {_short(value)} in {key!r}: {problem}.", hint=hint)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
