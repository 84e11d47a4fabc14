"""Rows as JSON: which Python values a row may hold, and how each is stored."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timezone
from typing import Any

import orjson

from hubspool.extending import HFValidationError
from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.schema import Schema, as_text, shape_of
from hubspool_templates.value_kinds import BYTES, fits_int64, is_missing, is_pil_image, simpler

logger = logging.getLogger(__name__)

_OPTIONS = orjson.OPT_APPEND_NEWLINE
_MEDIA_HINT = (
    "Use ParquetScheduler, which stores bytes, images, audio and video in rows; or write a file into the folder of a"
    " CommitScheduler, and store its name here."
)
_CONVERT_HINT = "Convert it to a str, number, list or dict first."
_SURROGATE_HINT = (
    "Half of an emoji, for example, is no character; text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
    " joins halves and replaces the rest."
)
_INDEX = re.compile(r"\[\d+\]")
#: A string whose first character is escaped although it is one that JSON of a number, a bool or text begins with.
_STORED_AS_TEXT = re.compile(rb'"\\u00(?:22|2d|3[0-9]|5b|66|74|7b)(?:[^"\\]|\\.)*"')


class RowEncoder:
    """Converts rows to JSON lines in which no column holds both text and numbers.

    Once a column had both, its numbers and bools are stored as text (see `Schema`). Lines before this change and lines
    after it must go to different files. Once a column had text and also lists or dicts, its text is stored as JSON,
    ``"12"`` with its quotes: `datasets` reads all text of such a column as JSON. `appended` reads both back.

    None stays null; bool, 64-bit int, float, str, dict and list stay what they are; NaN and ±inf → null, with one
    warning per key; datetime → ISO 8601 (naive: read as UTC, with one warning); ``pandas.NA`` and ``NaT`` → null; other
    classes as `value_kinds.simpler` says: dataclass, named tuple and pydantic model → dict; tuple, set, range, deque,
    iterator, array, tensor and Series → list; timedelta → seconds; Decimal, UUID, Path → str; Enum → its value. Any
    other value is an error, and so is text that is not Unicode.

    Thread-safety: one thread at a time.

    Args:
        on_widened: called before the first line in which a column changed to text.

    Attributes:
        schema: the columns of all rows so far.
        widenings: how often a column changed to text.
        told: columns of rows of other writers, or from before the start; set by any thread, merged before the next row.
    """

    def __init__(self, on_widened: Callable[[], None] | None = None) -> None:
        self.schema = Schema()
        self.widenings = 0
        self.told: Schema | None = None
        self._on_widened = on_widened
        self._warned: set[str] = set()
        self._has_text: dict[object, bool] = {}  # shape → whether such a row needs `as_text`

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """Return `row` as one line of JSON, with its newline.

        Raises:
            HFValidationError: JSON cannot hold a value; the message names its key. Also a ValueError.
        """
        if self.told is not None:
            columns, self.told = self.told, None
            if self._add(columns):
                self._has_text.clear()
        plain = row if type(row) is dict else self.plain(row)
        try:
            shape = shape_of(plain)
            line = None if shape is None else orjson.dumps(plain, None, _OPTIONS)
        except (TypeError, ValueError, RecursionError):
            line = None
        if line is None:  # there is a value or a key that is to be converted
            plain = self.plain(plain)
            shape, line = shape_of(plain), dumped(plain)
        needs_text = self._has_text.get(shape)
        if needs_text is None:
            needs_text = self._learn(shape, plain)
        return orjson.dumps(as_text(plain, self.schema, _text), None, _OPTIONS) if needs_text else line

    def plain(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return `row` with values that JSON holds; iterators in it are read to their end.

        Raises:
            HFValidationError: a value cannot be stored; the message names its key.
        """
        if not isinstance(row, Mapping):
            raise HFValidationError(
                f"A row is a dict of columns, not a {type(row).__name__}: {_short(row)}.",
                hint="Pass {'column': value, …}.",
            )
        try:
            return self._plain_mapping(row, "")
        except RecursionError as error:
            raise _nested(error) from None

    def _learn(self, shape: object, row: dict[str, Any]) -> bool:
        """Merge a row of a new shape into the schema; return whether a text column of the row holds numbers."""
        if self._add(Schema.of_row(row)) or len(self._has_text) >= DEFAULTS.remembered_shapes:
            self._has_text.clear()
        self._has_text[shape] = as_text(row, self.schema, _text) != row
        return self._has_text[shape]

    def _add(self, columns: Schema) -> bool:
        """Merge columns into the schema; return whether one was no text and is text, or JSON, from now on."""
        widened: list[str] = []
        before, self.schema = self.schema, self.schema.merge(columns, widened)
        if widened:
            self.widenings += 1
            if self._on_widened is not None:
                self._on_widened()
            logger.warning("%s: the column has numbers and text; it is stored as text from now on", ", ".join(widened))
        return self.schema != before

    def _plain(self, value: Any, key: str) -> Any:  # noqa: PLR0911  one kind of value after the other
        """Return a value as one that JSON holds, and all values in it."""
        kind = type(value)
        if kind is str:
            return _checked_text(value, key)
        if kind is bool or value is None or is_missing(value):
            return None if kind is not bool else value
        if kind is int:
            return _checked_int(value, key)
        if kind is float:
            return value if math.isfinite(value) else self._odd_float(value, key)
        if isinstance(value, Mapping):
            return self._plain_mapping(value, key)
        if kind is list:
            return [self._plain(inner, f"{key}[{index}]") for index, inner in enumerate(value)]
        if isinstance(value, datetime):
            return self._time(value, key)
        return self._plain_object(value, key)

    def _plain_mapping(self, value: Mapping[Any, Any], key: str) -> dict[str, Any]:
        for name in value:
            if not isinstance(name, str):
                raise cannot_store(key or "row", name, f"as a key it is a {type(name).__name__}", "Use str keys.")
            _checked_text(name, key or "row")
        return {
            str.__str__(name): self._plain(inner, f"{key}.{name}" if key else name) for name, inner in value.items()
        }

    def _plain_object(self, value: Any, key: str) -> Any:
        if isinstance(value, BYTES) or is_pil_image(value):
            raise cannot_store(key, value, f"JSON has no {type(value).__name__}", _MEDIA_HINT)
        try:
            inner = simpler(value)
        except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise cannot_store(key, value, str(error), _CONVERT_HINT) from None
        return self._plain(inner, key)

    def _odd_float(self, value: float, key: str) -> Any:
        self._warn(key, f"{value} in {key!r} is stored as null: JSON has no such number")

    def _time(self, value: datetime, key: str) -> Any:
        if value.tzinfo is None:
            self._warn("naive", "a datetime without a time zone is stored as UTC; pass an aware one")
            value = value.replace(tzinfo=timezone.utc)
        try:
            value.astimezone(timezone.utc)
        except (OverflowError, ValueError):
            raise cannot_store(key, value, "in UTC its year is none of 1 to 9999", "Store it as a str.") from None
        # Always with the fraction: readers turn text that is a date in whole seconds into timestamps.
        return value.isoformat(timespec="microseconds")

    def _warn(self, key: str, message: str) -> None:
        key = _INDEX.sub("[]", key)
        if key not in self._warned:
            self._warned.add(key)
            logger.warning("%s", message)


def dumped(row: dict[str, Any]) -> bytes:
    """Return a row of plain values as one line.

    Raises:
        HFValidationError: it nests too deeply.
    """
    try:
        return orjson.dumps(row, None, _OPTIONS)
    except (TypeError, ValueError, RecursionError) as error:
        raise _nested(error) from None


def _nested(cause: Exception) -> HFValidationError:
    return HFValidationError(
        f"The row cannot be written as JSON: {cause}.", hint="It may contain itself, or nest too deeply."
    )


def _text(value: Any) -> orjson.Fragment:
    """Return a value as text that is its JSON, written so that `appended` can tell it from text that was appended.

    The first character is escaped, which every reader of JSON understands and orjson never does.
    """
    source = orjson.dumps(value)
    return orjson.Fragment(b'"\\u%04x' % source[0] + orjson.dumps(source[1:].decode())[1:])


def appended(line: bytes) -> Any:
    """Return the row of a line as it was appended: numbers that are stored as text, and text as JSON, are read back."""
    return orjson.loads(_STORED_AS_TEXT.sub(lambda found: orjson.loads(found[0]).encode(), line))


def stored_again(row: Mapping[str, Any], plain: Mapping[str, Any], as_json: Collection[str] = ()) -> dict[str, Any]:
    """Return the row of a line, to be written again so that `appended` gives the same.

    Args:
        row: as JSON reads the line.
        plain: as `appended` reads it.
        as_json: columns of which all values are to be text that is JSON.
    """
    return {
        name: _text(plain[name]) if name in as_json and plain[name] is not None else _again(value, plain[name])
        for name, value in row.items()
    }


def _again(value: Any, plain: Any) -> Any:
    if isinstance(value, dict):
        return {name: _again(inner, plain[name]) for name, inner in value.items()}
    if isinstance(value, list):
        return [_again(*pair) for pair in zip(value, plain, strict=True)]
    return value if type(value) is type(plain) and value == plain else _text(plain)


def cannot_store(key: str, value: object, problem: str, hint: str) -> HFValidationError:
    """Return the error for a value that cannot be stored."""
    return HFValidationError(f"Cannot store {_short(value)} in {_short(key)}: {problem}.", hint=hint)


def _checked_int(value: int, key: str) -> int:
    if not fits_int64(value):
        raise cannot_store(key, value, "it does not fit in 64 bits", "Store it as a str.")
    return value


def _checked_text(value: str, key: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise cannot_store(key, value, f"it has the lone surrogate {value[error.start]!a}", _SURROGATE_HINT) from None
    return str.__str__(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
