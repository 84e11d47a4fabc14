"""The columns of a dataset: types of rows, merged over writers, to and from the `features` of a dataset card."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from math import inf, isfinite
from typing import Any, TypeAlias

from hubspool_templates.defaults import DEFAULTS
from hubspool_templates.value_kinds import (
    ALWAYS_PLAIN,
    DTYPES,
    EXACT_INT,
    JSON_DTYPES,
    PARQUET_DTYPES,
    TIME,
    WIDE_INT,
    WIDE_INT_ID,
    dtype_of_int,
    fits_int64,
)

#: A type: a dtype by its name in the card ("int64", "image", …), or one of the three classes below.
FieldType: TypeAlias = "str | ListOf | Schema | Given"

logger = logging.getLogger(__name__)

#: Column type in a file → types in the card as which `datasets` reads it.
_READABLE_AS = {
    "bool": ("string",),
    "int64": ("float64", WIDE_INT, "string"),
    "float64": ("string",),
    WIDE_INT: ("string",),
    TIME: ("string",),
}
_EXACT_IN_JSON = frozenset({"null", "bool", "int64", WIDE_INT, "string"})
_WIDER_NUMBER = {frozenset({"int64", "float64"}): "float64", frozenset({"int64", WIDE_INT}): WIDE_INT}


@dataclass(frozen=True)
class ListOf:
    """A list; `item` is "null" while all lists were empty."""

    item: FieldType


@dataclass(frozen=True)
class Given:
    """A feature that rows do not change, as the card writes it: a class label, an array with a shape, a translation."""

    feature: Mapping[str, Any]


@dataclass(frozen=True)
class Schema:
    """Ordered columns, or the keys of a nested struct: name → type. Every column may be missing or null.

    How two types merge was decided by what `datasets` 5 loads; each rule that looks simpler fails there:

    - null gives way to any type (a column that is null in the card refuses ints), int64 to float64.
    - An int beyond 2**53 and a float make a string: a file of such ints cannot be cast to float64 ("not in range"), and
      then nothing of the dataset loads.
    - Other scalars that differ, bool and int too, make a string: `datasets` loads the ints of older files as "1". One
      file must not hold both: `datasets` would return its strings with JSON's quotes around them, and before version
      4.7 it could not load the file. So the writer stores such values as text, in a new file.
    - A list or struct and anything else make json: `datasets` casts no list to string, nor a struct inside a struct, so
      one list on the Hub keeps a dataset with a string column from loading. The json feature takes any mix.
    - Structs merge key by key: a key that the card lacks fails, a key that a file lacks is null. A column with more
      than `DEFAULTS.dict_keys` keys becomes json: its keys are data, and the card would hold all of them. So does one
      that is nested too deeply to be written into a card.
    - Media and bytes become no other type, and no other type becomes one of them: the first one stays.

    Not promised: `datasets` reads a text column as timestamps if all rows of a file look like dates (``2026-01-02``),
    and returns ``2026-01-02 00:00:00``, whatever the card says. The file keeps the text.
    """

    fields: Mapping[str, FieldType] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any], other: Callable[[Any], FieldType] | None = None) -> Schema:
        """Return the types of one row.

        Args:
            row: column → value.
            other: returns the type of a value that is not null, bool, int, float, str, list, tuple or mapping.

        Raises:
            TypeError: the row has such a value, and `other` is None.
        """
        return cls({name: _type_of(value, other) for name, value in row.items()})

    @classmethod
    def of_features(cls, features: Iterable[Mapping[str, Any]]) -> Schema:
        """Return the schema of the `features` list of a card."""
        return cls({str(each["name"]): type_of_feature(each) for each in features})

    def to_features(self) -> list[dict[str, Any]]:
        """Return the `features` list for a card."""
        return [{"name": name, **feature_of(kind)} for name, kind in self.fields.items()]

    def merge(self, new: Schema, widened: list[str] | None = None, widenable: frozenset[str] = JSON_DTYPES) -> Schema:
        """Return the schema that holds rows of both; columns of this schema come first.

        The order of merges changes only the order of the columns, except that the first one stays of two types of
        which a person has decided on one, or one is media.

        Args:
            new: the schema to add.
            widened: receives the name of each column that was no text and is a string now.
            widenable: dtypes that may be widened; any other dtype is a person's decision and stays.
        """
        merged = dict(self.fields)
        for name, kind in new.fields.items():
            mine = merged.get(name, "null")
            changes: list[str] = []
            merged[name] = _merge(mine, kind, changes, widenable)
            if merged[name] != mine and _count_keys(merged[name]) > DEFAULTS.dict_keys:
                merged[name] = "json"
                _warn_of_keys(name)
            if changes and widened is not None:
                widened.append(name)
        return Schema(merged)

    def extend(self, new: Schema, widenable: frozenset[str] = PARQUET_DTYPES) -> Schema:
        """Return the merged schema where files of this one can be read with it; elsewhere this schema's types stay.

        For files that have types of their own (Parquet), which `datasets` casts to those of the card. If json would be
        inside a column, the whole column is json: `datasets` cannot add a column with json inside to an earlier file.
        So is one with an empty struct, which Parquet lacks.
        """
        fields: dict[str, FieldType] = {}
        for name, kind in self.merge(new, widenable=widenable).fields.items():
            mine, whole = self.fields.get(name, "null"), "json" if _has_no_columns(kind) else kind
            fields[name] = whole if _can_read(mine, whole) else mine
        return Schema(fields)

    def can_read(self, other: Schema) -> bool:
        """Whether `datasets` reads files with the columns of `other` as columns of this schema, without a change."""
        return all(_can_read(kind, self.fields.get(name, "null")) for name, kind in other.fields.items())


class Learner:
    """Learns the schema of rows; a row whose shape is known costs one look into a set.

    Not thread-safe.

    Args:
        schema: the columns to start with; the attribute `schema` has those of the added rows too.
        other: as in `Schema.of_row`.
        widenable: as in `Schema.merge`.
    """

    def __init__(
        self,
        schema: Schema | None = None,
        other: Callable[[Any], FieldType] | None = None,
        widenable: frozenset[str] = JSON_DTYPES,
    ) -> None:
        self.schema = schema or Schema()
        self._other = other
        self._widenable = widenable
        self._seen: set[object] = set()

    def add(self, row: dict[str, Any]) -> None:
        """Merge the types of a row into `schema`."""
        shape = shape_of(row)
        if shape is None or shape not in self._seen:
            self.schema = self.schema.merge(Schema.of_row(row, self._other), widenable=self._widenable)
            if len(self._seen) >= DEFAULTS.remembered_shapes:
                self._seen.clear()
            self._seen.add(shape)


def shape_of(row: dict[str, Any]) -> tuple[object, ...] | None:
    """Return a key that rows of equal types share; None if JSON or a 64-bit column cannot hold one of the values.

    Every appended row goes through this function, so it must stay cheap.
    """
    shape: list[object] = [*row]
    add = shape.append
    for value in row.values():
        kind = type(value)
        if kind is str or kind is bool or value is None:
            add(kind)
        elif kind is int:
            if -EXACT_INT <= value <= EXACT_INT:
                add(kind)
            elif fits_int64(value):
                add(WIDE_INT)
            else:
                return None
        elif kind is float and value - value == 0:  # neither NaN nor infinite
            add(kind)
        else:
            inner = shape_of(value) if kind is dict else _shape_of_items(value) if kind is list else None
            if inner is None:
                return None
            add(inner)
    return tuple(shape)


def _shape_of_items(values: list[Any]) -> frozenset[object] | None:
    kinds = frozenset(map(type, values))
    if kinds <= ALWAYS_PLAIN or (kinds == {float} and all(map(isfinite, values))):  # text, an embedding
        return kinds
    shape = shape_of({str(number): value for number, value in enumerate(values)})
    return None if shape is None else frozenset(shape[len(values) :])


def as_text(value: Any, kind: FieldType, text: Callable[[Any], Any]) -> Any:
    """Return a JSON value in which numbers and bools of string columns are text, and text of json columns is JSON.

    `text` converts one value. This includes lists of two kinds within one row, such as ``[1, "x"]``.
    """
    if kind == "json":
        return text(value) if isinstance(value, str) else value
    if kind == "string":
        return value if value is None or isinstance(value, str) else text(value)
    if isinstance(kind, ListOf) and isinstance(value, list):
        return [as_text(item, kind.item, text) for item in value]
    if isinstance(kind, Schema) and isinstance(value, dict):
        return {name: as_text(item, kind.fields.get(name, "null"), text) for name, item in value.items()}
    return value


def _type_of(value: Any, other: Callable[[Any], FieldType] | None) -> FieldType:
    dtype = DTYPES.get(type(value))
    if dtype is not None:
        return dtype_of_int(value) if dtype == "int64" else dtype
    if isinstance(value, Mapping):
        return Schema.of_row(value, other)
    if isinstance(value, list | tuple):
        item: FieldType = "null"
        for each in value:
            item = _merge(item, _type_of(each, other), [], PARQUET_DTYPES)
        return ListOf(item)
    if other is None:
        raise TypeError(f"a {type(value).__name__} has no column type")
    return other(value)


def _merge(a: FieldType, b: FieldType, widened: list[str], widenable: frozenset[str]) -> FieldType:
    if "null" in (a, b) or a == b:
        return b if a == "null" else a
    for each in (a, b):
        if isinstance(each, Given) or (isinstance(each, str) and each not in widenable | {WIDE_INT}):
            return a  # decided by a person, or media
    if isinstance(a, ListOf) and isinstance(b, ListOf):
        return ListOf(_merge(a.item, b.item, widened, widenable))
    if isinstance(a, Schema) and isinstance(b, Schema):
        return a.merge(b, widened, widenable)
    if isinstance(a, str) and isinstance(b, str) and "json" not in (a, b):
        wider = _WIDER_NUMBER.get(frozenset([a, b]), "string")
        if wider == "string" != a:
            widened.append(a)
        return wider
    return "json"


@cache
def _warn_of_keys(column: str) -> None:
    logger.warning(
        "%s: its dicts have more than %d keys, or more than %d are inside each other, so the column is stored as JSON"
        " from now on; for keys that are data store a list of pairs: [{'key': …, 'value': …}]",
        column,
        DEFAULTS.dict_keys,
        DEFAULTS.column_depth,
    )


def _count_keys(kind: FieldType, depth: int = 0) -> float:
    """Return the number of keys in a column, those inside its dicts too; inf if it is nested too deeply for a card."""
    if depth > DEFAULTS.column_depth:
        return inf
    if isinstance(kind, Schema):
        return sum(1 + _count_keys(inner, depth + 1) for inner in kind.fields.values())
    return _count_keys(kind.item, depth + 1) if isinstance(kind, ListOf) else 0


def innermost(kind: FieldType) -> Iterator[FieldType]:
    """Yield the types of the values inside a column's lists and structs, or its own; an empty struct is one."""
    if isinstance(kind, ListOf):
        yield from innermost(kind.item)
    elif isinstance(kind, Schema) and kind.fields:
        yield from chain.from_iterable(map(innermost, kind.fields.values()))
    else:
        yield kind


def _has_no_columns(kind: FieldType) -> bool:
    """Whether a column is json or an empty struct, or has one inside."""
    return any(isinstance(each, Schema) or each == "json" for each in innermost(kind))


def _can_read(a: FieldType, b: FieldType, *, is_inside: bool = False) -> bool:
    """Whether `datasets` reads a file's column of type `a` as `b`, and as what `b` may become, without a change."""
    if a in (b, "null"):
        return True
    if b == "json":  # text would be read as JSON, floats lose digits, and times become numbers
        return a != "string" and _is_exact_in_json(a)
    if isinstance(a, ListOf) and isinstance(b, ListOf):
        return _can_read(a.item, b.item, is_inside=True)
    if isinstance(a, Schema) and isinstance(b, Schema):
        return all(_can_read(kind, b.fields.get(name, "null"), is_inside=True) for name, kind in a.fields.items())
    # A list or struct with strings inside may become json, and then so do the values of earlier files.
    is_last = is_inside and b == "string" and not _is_exact_in_json(a)
    return isinstance(a, str) and b in _READABLE_AS.get(a, ()) and not is_last


def _is_exact_in_json(kind: FieldType) -> bool:
    return all(
        not isinstance(each, Given) and (isinstance(each, Schema) or each in _EXACT_IN_JSON) for each in innermost(kind)
    )


def feature_of(kind: FieldType) -> dict[str, Any]:
    """Return a type as the card writes it, in the short notation of `datasets`."""
    if isinstance(kind, Given):
        return dict(kind.feature)
    if isinstance(kind, Schema):
        return {"struct": kind.to_features()}
    if isinstance(kind, ListOf):
        inner = feature_of(kind.item)
        short = inner.get("dtype", inner.get("struct")) if len(inner) == 1 else None
        return {"list": short if isinstance(short, str | list) else inner}
    return {"dtype": "int64", "id": WIDE_INT_ID} if kind == WIDE_INT else {"dtype": kind}


def type_of_feature(feature: Any) -> FieldType:
    """Return the type that the card writes so."""
    if isinstance(feature, list):
        return Schema.of_features(feature)
    if isinstance(feature, str):
        feature = {"dtype": feature}
    match {key: value for key, value in feature.items() if key != "name"}:
        case {"dtype": "int64", "id": mark, **rest} if mark == WIDE_INT_ID and not rest:
            return WIDE_INT
        case {"dtype": str(dtype), **rest} if not rest:
            return dtype
        case {"struct": inner, **rest} if not rest:
            return type_of_feature(inner)
        case {"list": inner, **rest} if not rest:
            return ListOf(type_of_feature(inner))
        case other:
            return Given(other)
