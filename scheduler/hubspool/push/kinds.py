"""What the columns of JSON rows hold: a reader gives a column of a file one type, so it must hold one kind of values.

A column with numbers in one file and text in another loads; in one file it does not, or its values change. A missing
column, null and an empty list go with everything, whole numbers go with fractions as far as these hold them exactly,
and dicts with dicts whose common keys go together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import orjson

#: One of `_NAMES`; "large", a whole number that no fraction holds exactly; "many", dicts whose keys are data; "mixed";
#: the kind of the items of lists, in a tuple; or the kinds in dicts, by key.
Kind: TypeAlias = "str | tuple[Kind] | Columns"
Columns: TypeAlias = "dict[str, Kind]"

_NAMES = {type(None): "null", bool: "bool", int: "int", float: "float", str: "text"}
_EXACT = 2**53
_WIDER = {
    frozenset(("int", "float")): "float",
    frozenset(("int", "large")): "large",
    frozenset(("dict", "many")): "many",
}
#: The card says of dicts with more keys that they are JSON, and `datasets` reads each of them by itself.
_MOST_KEYS = 1000


class _DifferentKindsError(ValueError):
    """No file may hold both kinds."""


def columns_of(lines: Iterable[bytes]) -> Columns | None:
    """Return the kinds of all columns of a file; None if it has no line, or one that is cut or is no JSON object."""
    columns: Columns | None = None
    for line in lines:
        columns = {} if columns is None else columns
        try:
            _add_row(columns, orjson.loads(line))
        except (ValueError, AttributeError, RecursionError):
            return None
        if not line.endswith(b"\n"):
            return None
    return columns


def together(key: object, other: object) -> object:
    """Return the key of a file that is joined of files with these keys, which may be `Columns`; None: it may not be."""
    if not isinstance(key, dict) or not isinstance(other, dict):
        return key if key == other else None
    try:
        return _merged_values(key, other)
    except (_DifferentKindsError, RecursionError):
        return None


def _add_row(kinds: Columns, row: Mapping[str, Any]) -> None:
    """Add the values of a row to the kinds of the columns of its file."""
    for key, value in row.items():
        known, name = kinds.get(key, "null"), _NAMES.get(type(value))
        if name == known and (name != "int" or -_EXACT <= value <= _EXACT):
            continue
        if isinstance(known, dict) and isinstance(value, dict):
            _add_row(known, value)
            if len(known) > _MOST_KEYS:
                kinds[key] = "many"
        else:
            kinds[key] = _merged(known, _kind_of(value), in_one_file=True)


def _kind_of(value: Any) -> Kind:
    if (name := _NAMES.get(type(value))) is not None:
        return "large" if name == "int" and not -_EXACT <= value <= _EXACT else name
    if isinstance(value, dict):
        kinds: Columns = {}
        _add_row(kinds, value)
        return kinds if len(kinds) <= _MOST_KEYS else "many"
    if (types := {*map(type, value)}) == {float}:  # an embedding has a thousand
        return (_NAMES[types.pop()],)
    item: Kind = "null"
    for each in value:
        item = _merged(item, _kind_of(each), in_one_file=True)
    return (item,)


def _merged(a: Kind, b: Kind, *, in_one_file: bool = False) -> Kind:
    """Return the kind of a column that holds both.

    Args:
        a, b: the kinds, which stay as they are.
        in_one_file: a file has both already. Where they differ, the column is "mixed", and goes with such ones only.

    Raises:
        _DifferentKindsError: they are of two files, and differ.
    """
    if a == b or "null" in (a, b):
        return b if a == "null" else a
    if isinstance(a, dict) and isinstance(b, dict):
        both = _merged_values(a, b, in_one_file=in_one_file)
        return both if len(both) <= _MOST_KEYS else "many"
    if isinstance(a, tuple) and isinstance(b, tuple):
        return (_merged(a[0], b[0], in_one_file=in_one_file),)
    wider = _WIDER.get(frozenset(each if isinstance(each, str) else type(each).__name__ for each in (a, b)))
    if wider is None and not in_one_file:
        raise _DifferentKindsError(f"{a} and {b}")
    return wider or "mixed"


def _merged_values(a: Columns, b: Columns, *, in_one_file: bool = False) -> Columns:
    return {**a, **{key: _merged(a.get(key, "null"), kind, in_one_file=in_one_file) for key, kind in b.items()}}
