"""The columns of a dataset: types of rows, merged over writers, to and from the `features` of a dataset card."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, TypeAlias

#: A type: a dtype by its name in the card ("int64", "image", …), or one of the three classes below.
FieldType: TypeAlias = "str | ListOf | Schema | Given"

#: What `Schema.of_row` finds in JSON; `merge` may widen these, and takes any other dtype for somebody's decision.
JSON_DTYPES = frozenset({"null", "bool", "int64", "float64", "string", "json"})
#: An int64 column with values that a float64 cannot hold; in the card a plain int64 with this as its `id`.
WIDE_INT = "int64 beyond 2**53"
EXACT_INT = 2**53
#: Shapes that are remembered: rows whose keys are data (a user's id) must not fill the memory.
MAX_SHAPES = 4096

_SCALARS: dict[type, str] = {type(None): "null", bool: "bool", int: "int64", float: "float64", str: "string"}
_HARMLESS = frozenset({str, bool, type(None)})
_NUMBERS = {frozenset({"int64", "float64"}): "float64", frozenset({"int64", WIDE_INT}): WIDE_INT}
_MARK = "beyond 2**53"


@dataclass(frozen=True)
class ListOf:
    """A list; `item` is "null" while only empty ones were seen."""

    item: FieldType


@dataclass(frozen=True)
class Given:
    """A feature in the card's own form that rows do not change: a class label, an array with a shape, a translation."""

    form: Mapping[str, Any]


@dataclass(frozen=True)
class Schema:
    """Ordered columns, or the keys of a nested struct: name → type. Every column may be missing or null.

    How two types merge was decided by what `datasets` 5 loads; each rule that looks simpler fails there:

    - null gives way to any type (a column that is null in the card refuses ints), int64 to float64.
    - An int beyond 2**53 and a float make a string: a file of such ints cannot be cast to float64 ("not in range"), and
      then nothing of the dataset loads.
    - Other scalars that differ, bool and int too, make a string: files with ints load as "1" there, also those that are
      on the Hub already. Within one file the mix must not occur: its strings would come back with JSON's quotes around
      them, and before datasets 4.7 the file did not load. So the writer stores such values as text, in a new file.
    - A list or struct and anything else make json: no list is ever cast to string, nor a struct inside a struct, so
      that one list on the Hub keeps a dataset with a string column from loading. The json feature takes any mix.
    - Structs merge key by key: a key that the card lacks fails, one that a file lacks is null.

    Not promised: text that looks like a date (``2026-01-02``) in all rows of a file is read by `datasets` as a
    timestamp and comes back as ``2026-01-02 00:00:00``, whatever the card says; the file keeps the text as it was.
    """

    fields: Mapping[str, FieldType] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: Mapping[str, Any], other: Callable[[Any], FieldType] | None = None) -> Schema:
        """Return the types of one row.

        Args:
            row: column → value.
            other: told of each value that is not null, bool, int, float, str, list, tuple or mapping; returns its type.

        Raises:
            TypeError: there is such a value, and no `other`.
        """
        return cls({name: _type_of(value, other) for name, value in row.items()})

    @classmethod
    def of_features(cls, features: Iterable[Mapping[str, Any]]) -> Schema:
        """Return the schema of a `features` list as it stands in a card."""
        return cls({str(each["name"]): _of_form(each) for each in features})

    def to_features(self) -> list[dict[str, Any]]:
        """Return the `features` list for a card."""
        return [{"name": name, **_form(kind)} for name, kind in self.fields.items()]

    def merge(self, new: Schema, widened: list[str] | None = None, inferred: frozenset[str] = JSON_DTYPES) -> Schema:
        """Return the schema that holds rows of both; this one's order first.

        Args:
            new: what is to be added. Merging is the same in any order but for that of the columns, and for two
                decisions that differ, of which the first stays.
            widened: gets the name of each column that held something else than text and is a string now.
            inferred: dtypes that may be widened; any other one is somebody's decision and stays.
        """
        merged = dict(self.fields)
        for name, kind in new.fields.items():
            mine = merged.get(name, "null")
            changes: list[str] = []
            merged[name] = _merge(mine, kind, changes, inferred)
            if changes and widened is not None:
                widened.append(name)
        return Schema(merged)


class Learner:
    """Learns the schema of rows; one of a shape that was seen costs little more than a look into a set.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self.schema = Schema()
        self._seen: set[object] = set()

    def add(self, row: dict[str, Any]) -> None:
        """Merge the types of a row of JSON values into `schema`."""
        shape = shape_of(row)
        if shape is None or shape not in self._seen:
            self.schema = self.schema.merge(Schema.of_row(row))
            if len(self._seen) >= MAX_SHAPES:
                self._seen.clear()
            self._seen.add(shape)


def shape_of(row: dict[str, Any]) -> tuple[object, ...] | None:
    """Return what rows of equal types have in common, or None where a value is not what JSON and a column hold.

    Cheap on purpose: each appended row goes through it.
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
            elif -(2**63) <= value < 2**63:
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
    if kinds <= _HARMLESS or (kinds == {float} and all(map(isfinite, values))):  # text, an embedding
        return kinds
    shape = shape_of({str(number): value for number, value in enumerate(values)})
    return None if shape is None else frozenset(shape[len(values) :])


def as_text(value: Any, kind: FieldType, text: Callable[[Any], str]) -> Any:
    """Return a JSON value with every number and bool as text where its type is string; `text` makes it.

    Also what stands there in two kinds within one row, such as ``[1, "x"]``.
    """
    if kind == "string":
        return value if value is None or isinstance(value, str) else text(value)
    if isinstance(kind, ListOf) and isinstance(value, list):
        return [as_text(item, kind.item, text) for item in value]
    if isinstance(kind, Schema) and isinstance(value, dict):
        return {name: as_text(item, kind.fields.get(name, "null"), text) for name, item in value.items()}
    return value


def _type_of(value: Any, other: Callable[[Any], FieldType] | None) -> FieldType:
    dtype = _SCALARS.get(type(value))
    if dtype == "int64":
        return dtype if -EXACT_INT <= value <= EXACT_INT else WIDE_INT
    if dtype is not None:
        return dtype
    if isinstance(value, Mapping):
        return Schema.of_row(value, other)
    if isinstance(value, list | tuple):
        item: FieldType = "null"
        for each in value:
            item = _merge(item, _type_of(each, other), [], JSON_DTYPES)
        return ListOf(item)
    if other is None:
        raise TypeError(f"a {type(value).__name__} has no column type")
    return other(value)


def _merge(a: FieldType, b: FieldType, widened: list[str], inferred: frozenset[str]) -> FieldType:
    if "null" in (a, b) or a == b:
        return b if a == "null" else a
    for decided in (a, b):
        if isinstance(decided, Given) or (isinstance(decided, str) and decided not in inferred | {WIDE_INT}):
            return decided
    if isinstance(a, ListOf) and isinstance(b, ListOf):
        return ListOf(_merge(a.item, b.item, widened, inferred))
    if isinstance(a, Schema) and isinstance(b, Schema):
        return a.merge(b, widened, inferred)
    if isinstance(a, str) and isinstance(b, str) and "json" not in (a, b):
        wider = _NUMBERS.get(frozenset([a, b]), "string")
        if wider == "string" != a:
            widened.append(a)
        return wider
    return "json"


def _form(kind: FieldType) -> dict[str, Any]:
    """Return a type in the card's form; the short ones that `datasets` writes."""
    if isinstance(kind, Given):
        return dict(kind.form)
    if isinstance(kind, Schema):
        return {"struct": kind.to_features()}
    if isinstance(kind, ListOf):
        inner = _form(kind.item)
        short = inner.get("dtype", inner.get("struct")) if len(inner) == 1 else None
        return {"list": short if isinstance(short, str | list) else inner}
    return {"dtype": "int64", "id": _MARK} if kind == WIDE_INT else {"dtype": kind}


def _of_form(form: Any) -> FieldType:
    if isinstance(form, list):
        return Schema.of_features(form)
    if isinstance(form, str):
        form = {"dtype": form}
    match {key: value for key, value in form.items() if key != "name"}:
        case {"dtype": "int64", "id": "beyond 2**53", **rest} if not rest:
            return WIDE_INT
        case {"dtype": str(dtype), **rest} if not rest:
            return dtype
        case {"struct": inner, **rest} if not rest:
            return _of_form(inner)
        case {"list": inner, **rest} if not rest:
            return ListOf(_of_form(inner))
        case other:
            return Given(other)
