"""Columns as Arrow types, and as the features that `datasets` reads from a Parquet file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import pyarrow as pa

from hubspool.extending import HFValidationError
from hubspool_templates.media_types import MEDIA
from hubspool_templates.schema import FieldType, Given, ListOf, Schema, feature_of, type_of_feature
from hubspool_templates.value_kinds import WIDE_INT

_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]")
#: Arrow's names of types that `datasets` calls otherwise.
_NAMES = {
    "double": "float64",
    "float": "float32",
    "halffloat": "float16",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}
_DECIMAL = re.compile(r"decimal(128|256)\((\d+), (-?\d+)\)")


def schema_of(given: Any) -> Schema:
    """Return the columns that a caller declared.

    Args:
        given: a pyarrow schema, a `datasets.Features`, a mapping of names to types, or the list of a dataset card. A
            type is a dtype ("int64", "image", …), a dict with ``_type`` as `datasets` writes it, a list of one type,
            or a mapping again.

    Raises:
        HFValidationError: a type is unknown.
    """
    if hasattr(given, "pandas_metadata"):  # a pyarrow schema
        schema = Schema({field.name: _of_arrow(field.type) for field in given})
    elif isinstance(given, Mapping):
        # `Features.to_dict` leaves out how media are decoded.
        features = given.to_dict() if hasattr(given, "to_dict") else given
        schema = Schema({name: _of_datasets(feature) for name, feature in features.items()})
    else:
        schema = Schema.of_features(given)
    for kind in schema.fields.values():
        arrow_type(kind)
    return schema


def arrow_type(kind: FieldType) -> pa.DataType:  # noqa: PLR0911  one kind of column after the other
    """Return the Arrow type that a column is stored as.

    Raises:
        HFValidationError: Arrow has no such type.
    """
    if isinstance(kind, ListOf):
        return pa.list_(arrow_type(kind.item))
    if isinstance(kind, Schema):  # Parquet has no struct without fields
        fields = [pa.field(name, arrow_type(inner)) for name, inner in kind.fields.items()]
        return pa.struct(fields) if fields else pa.null()
    if isinstance(kind, Given):
        return _arrow_of_given(kind.feature)
    if kind in MEDIA:
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if match := _TIMESTAMP.fullmatch(kind):
        return pa.timestamp(match[1], match[2])
    if match := _DECIMAL.fullmatch(kind):
        return (pa.decimal128 if match[1] == "128" else pa.decimal256)(int(match[2]), int(match[3]))
    try:
        return pa.type_for_alias({"json": "string", WIDE_INT: "int64"}.get(kind, kind))
    except ValueError:
        raise HFValidationError(f"{kind!r} is not a column type.", hint="Use a dtype such as 'int64'.") from None


def is_storable(kind: FieldType) -> bool:
    """Whether Arrow can store a column; a person may have written any type into the card."""
    try:
        arrow_type(kind)
    except (HFValidationError, AttributeError, KeyError, TypeError):
        return False
    return True


def datasets_features(schema: Schema) -> dict[str, Any]:
    """Return the columns as `datasets` keeps them in a file's metadata."""
    return {name: _datasets_feature(kind) for name, kind in schema.fields.items()}


def leaves(kind: pa.DataType, path: str) -> Iterable[str]:
    """Yield the names of the Parquet columns that store an Arrow column."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from leaves(field.type, f"{path}.{field.name}")
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from leaves(kind.value_type, f"{path}.list.element")
    else:
        yield path


def _arrow_of_given(feature: Mapping[str, Any]) -> pa.DataType:
    if isinstance(feature.get("dtype"), str):  # with an `id`, or other options that do not change the file
        return arrow_type(feature["dtype"])
    if "list" in feature:  # of a fixed length
        return arrow_type(type_of_feature({"list": feature["list"]}))
    ((name, options),) = feature["dtype"].items() if isinstance(feature.get("dtype"), Mapping) else [("", {})]
    if name == "class_label":
        return pa.int64()
    if name in MEDIA:
        return arrow_type(name)
    if re.fullmatch(r"array[2-5]_d", name):
        kind = arrow_type(options["dtype"])
        for _ in options["shape"]:
            kind = pa.list_(kind)
        return kind
    raise HFValidationError(
        f"Columns of the type {dict(feature)} cannot be stored.", hint="Declare the column as a struct."
    )


def _datasets_feature(kind: FieldType) -> Any:
    if isinstance(kind, ListOf):
        return {"feature": _datasets_feature(kind.item), "_type": "List"}
    if isinstance(kind, Schema):
        return datasets_features(kind)
    if isinstance(kind, Given):
        return _datasets_given(kind.feature)
    if kind in MEDIA or kind == "json":
        return {"_type": kind.capitalize()}
    return {"dtype": "int64" if kind == WIDE_INT else kind, "_type": "Value"}


def _datasets_given(feature: Mapping[str, Any]) -> Any:
    if isinstance(feature.get("dtype"), str):
        return {**feature, "_type": "Value"}
    if "list" in feature:
        return {**_datasets_feature(type_of_feature({"list": feature["list"]})), "length": feature.get("length", -1)}
    ((name, options),) = feature["dtype"].items()
    options = dict(options)
    if isinstance(options.get("names"), Mapping):
        options["names"] = [options["names"][number] for number in sorted(options["names"], key=int)]
    return {**options, "_type": "".join(word.capitalize() for word in name.split("_"))}


def _of_datasets(feature: Any) -> FieldType:
    """Return the type of a feature as `datasets` writes it in Python."""
    if isinstance(feature, str):
        return feature
    if isinstance(feature, (list, tuple)):
        return ListOf(_of_datasets(feature[0]))
    if is_dataclass(feature):
        feature = {option.name: getattr(feature, option.name) for option in fields(feature)}
    kind = feature.get("_type")
    if not isinstance(kind, str):
        return Schema({name: _of_datasets(inner) for name, inner in feature.items()})
    return _of_options(kind, {key: value for key, value in feature.items() if key != "_type" and value is not None})


def _of_options(kind: str, options: dict[str, Any]) -> FieldType:
    """Return the type of a feature class of `datasets` ("Value", "ClassLabel", …) with these options."""
    if kind == "Value":
        return str(options["dtype"])
    if kind in ("List", "Sequence", "LargeList"):
        items, length = ListOf(_of_datasets(options["feature"])), options.get("length", -1)
        return items if length < 0 else Given({**feature_of(items), "length": length})
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    if isinstance(options.get("names"), (list, tuple)):
        options = {"names": {str(number): label for number, label in enumerate(options["names"])}}
    options.pop("decode", None)
    options.pop("num_classes", None)
    return Given({"dtype": {name: options}}) if options else name


def _of_arrow(kind: pa.DataType) -> FieldType:
    if pa.types.is_struct(kind):
        return Schema({field.name: _of_arrow(field.type) for field in kind})
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return ListOf(_of_arrow(kind.value_type))
    return _NAMES.get(str(kind), str(kind))
