"""The one table of value kinds: which Python values a row may hold, and the dtype that each has in the dataset card."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set, ValuesView
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isnan
from pathlib import PurePath
from typing import Any
from uuid import UUID

#: Python type → dtype in the card, of the values that JSON holds as they are.
DTYPES: dict[type, str] = {type(None): "null", bool: "bool", int: "int64", float: "float64", str: "string"}
#: Columns of these dtypes are read by Arrow's JSON reader as they are.
PLAIN_DTYPES = frozenset(DTYPES.values())
#: What rows of JSON have; later rows may widen such a column. Any other dtype in a card is a person's decision.
JSON_DTYPES = PLAIN_DTYPES | {"json"}
#: The dtype of a datetime in a Parquet file.
TIME = "timestamp[us, tz=UTC]"
#: What rows of a `ParquetScheduler` have, and later rows may widen; media and bytes are never widened.
PARQUET_DTYPES = JSON_DTYPES | {TIME}
#: An int64 column with values that a float64 cannot hold; in the card a plain int64 with `WIDE_INT_ID` as its `id`.
WIDE_INT = "int64 beyond 2**53"
WIDE_INT_ID = "beyond 2**53"
#: float64 holds every integer up to this one.
EXACT_INT = 2**53
#: numpy's times that are finer than Python's.
_FINER = re.compile(r"\[(\d*)([npfa]s)\]")
#: Types whose every value JSON and a column hold.
ALWAYS_PLAIN = frozenset({str, bool, type(None)})
#: Types of a file's bytes.
BYTES = (bytes, bytearray, memoryview)


def dtype_of_int(value: int) -> str:
    """Return the dtype of a 64-bit integer."""
    return "int64" if -EXACT_INT <= value <= EXACT_INT else WIDE_INT


def fits_int64(value: int) -> bool:
    """Whether a 64-bit column holds this integer."""
    return -(2**63) <= value < 2**63


def are_plain(values: Iterable[Any]) -> bool:
    """Whether JSON and a 64-bit column hold all values, and all values in them, as they are.

    Every appended row goes through this function, so it must stay cheap: numbers are compared in line.
    """
    for value in values:
        kind = type(value)
        if kind in ALWAYS_PLAIN:
            continue
        if kind is float:
            if value - value != 0:  # NaN or infinite
                return False
        elif kind is int:
            if not -(2**63) <= value < 2**63:
                return False
        elif kind not in (list, dict) or not are_plain(value if kind is list else value.values()):
            return False
    return True


def is_pil_image(value: Any) -> bool:
    """Whether a value is an image of PIL's. PIL itself is not imported."""
    return type(value).__module__.startswith("PIL.")


def simpler(value: Any) -> Any:
    """Return a value of another class as a simpler one: a str, number, list, dict or None, or a step towards these.

    Lists and dicts keep their items as they are. numpy, pandas, pydantic and torch are not imported.

    Raises:
        TypeError: rows cannot hold such a value.
    """
    if not isinstance(value, type):
        for kinds, convert in _CONVERSIONS:
            if isinstance(value, kinds):
                return convert(value)
        if is_dataclass(value):
            return {each.name: getattr(value, each.name) for each in fields(value)}
        if type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "dtype"):
            return _of_numpy(value)
        method = next((name for name in _METHODS if callable(getattr(value, name, None))), None)
        if method is not None:
            found = getattr(value, method)()
            # In a Series of texts or objects NaN stands for what is missing; elsewhere it is a number.
            is_text = hasattr(value, "isna") and getattr(value.dtype, "kind", "f") == "O"
            return [None if isinstance(item, float) and isnan(item) else item for item in found] if is_text else found
    raise TypeError(f"a row cannot hold a {type(value).__name__}")


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: ``pandas.NA`` or ``pandas.NaT``, which is also an instance of datetime."""
    return type(value).__name__ in ("NAType", "NaTType")


def _items(values: Set[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _of_tuple(value: tuple[Any, ...]) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else list(value)


def _of_numpy(value: Any) -> Any:
    """Return a numpy scalar or array as Python values; its times in microseconds, as `datetime` has them."""
    if value.dtype.kind not in "mM":
        found = value.tolist()
        if type(found) is type(value):
            raise TypeError(f"Python has no {type(value).__name__}")
        return found
    if _FINER.search(value.dtype.str):
        value = value.astype(f"{value.dtype.kind}8[us]")
    if any(type(each) is int for each in value.ravel().tolist()):
        raise TypeError("Python has no such date or duration")
    return value.tolist()


def _of_iterator(value: Iterator[Any]) -> list[Any]:
    if hasattr(value, "read"):
        raise TypeError("a row cannot hold a file object")
    return list(value)


#: Classes → what a row holds in place of their values; the first line that fits counts.
_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (Enum, lambda value: value.value),
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    ((Decimal, PurePath, UUID), str),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    (Mapping, dict),
    (tuple, _of_tuple),
    (Set, _items),
    ((list, range, deque, ValuesView), list),
    (Iterator, _of_iterator),
)
#: Methods by which values become simpler: of pydantic; of arrays, Series and tensors.
_METHODS = ("model_dump", "tolist", "to_list", "to_pylist", "as_py", "numpy")
