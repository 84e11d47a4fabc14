"""The one table of value kinds: which Python values a row may hold, and the dtype that each has in the dataset card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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


def is_numpy(value: Any) -> bool:
    """Whether a value is numpy's: a scalar or an array. numpy itself is not imported."""
    return type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "tolist")


def is_pil_image(value: Any) -> bool:
    """Whether a value is an image of PIL's. PIL itself is not imported."""
    return type(value).__module__.startswith("PIL.")
