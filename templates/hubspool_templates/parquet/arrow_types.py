"""Columns as Arrow types and as the features that `datasets` reads from a Parquet file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hubspool.errors import HFValidationError
from hubspool_templates.parquet.media import MEDIA
from hubspool_templates.schema import WIDE_INT, FieldType, Given, ListOf, Schema

if TYPE_CHECKING:
    import pyarrow as pa

_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]")
_DECIMAL = re.compile(r"decimal(128|256)\((\d+), (-?\d+)\)")


def schema_of(given: Any) -> Schema:
    """Return the columns that a caller gave.

    Args:
        given: a pyarrow schema, a `datasets.Features`, a mapping of names to types, or the list of a dataset card. A
            type is a dtype ("int64", "image", …), a dict with ``_type`` as `datasets` writes it, a list of one type,
            or a mapping again.

    Raises:
        HFValidationError: a type is not known.
    """
    if hasattr(given, "pandas_metadata"):  # a pyarrow schema; a module that is not loaded cannot have made one
        schema = Schema({field.name: _of_arrow(field.type) for field in given})
    elif hasattr(given, "to_dict"):
        schema = Schema({name: _of_feature(feature) for name, feature in given.to_dict().items()})
    elif isinstance(given, Mapping):
        schema = Schema({name: _of_feature(feature) for name, feature in given.items()})
    else:
        schema = Schema.of_features(given)
    for kind in schema.fields.values():
        arrow_type(kind)
    return schema


def arrow_type(kind: FieldType) -> pa.DataType:  # noqa: PLR0911  one kind of column after the other
    """Return the Arrow type that a column is stored as.

    Raises:
        HFValidationError: there is none.
    """
    import pyarrow as pa

    if isinstance(kind, ListOf):
        return pa.list_(arrow_type(kind.item))
    if isinstance(kind, Schema):  # Parquet has no struct without fields
        fields = [pa.field(name, arrow_type(inner)) for name, inner in kind.fields.items()]
        return pa.struct(fields) if fields else pa.null()
    if isinstance(kind, Given):
        return _arrow_of_form(kind.form)
    if kind in MEDIA:
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if match := _TIMESTAMP.fullmatch(kind):
        return pa.timestamp(match[1], match[2])
    if match := _DECIMAL.fullmatch(kind):
        return (pa.decimal128 if match[1] == "128" else pa.decimal256)(int(match[2]), int(match[3]))
    try:
        return pa.type_for_alias({"json": "string", WIDE_INT: "int64"}.get(kind, kind))
    except ValueError:
        raise HFValidationError(f"{kind!r} is no type of a column.", hint="Use a dtype such as 'int64'.") from None


def is_storable(kind: FieldType) -> bool:
    """Whether there is an Arrow type for a column, which a person may have written into the card."""
    try:
        arrow_type(kind)
    except (HFValidationError, AttributeError, KeyError, TypeError):
        return False
    return True


def features(schema: Schema) -> dict[str, Any]:
    """Return the columns in the form in which `datasets` keeps them in a file's metadata."""
    return {name: _feature(kind) for name, kind in schema.fields.items()}


def leaves(kind: pa.DataType, path: str) -> Iterable[str]:
    """Yield the names that Parquet has for the columns below one of Arrow's."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        for field in kind:
            yield from leaves(field.type, f"{path}.{field.name}")
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from leaves(kind.value_type, f"{path}.list.element")
    else:
        yield path


def _arrow_of_form(form: Mapping[str, Any]) -> pa.DataType:
    import pyarrow as pa

    if isinstance(form.get("dtype"), str):  # with an `id`, or other things that change nothing in the file
        return arrow_type(form["dtype"])
    if "list" in form:  # of a fixed length
        return arrow_type(_list_of(form))
    ((name, options),) = form["dtype"].items() if isinstance(form.get("dtype"), Mapping) else [("", {})]
    if name == "class_label":
        return pa.int64()
    if name in MEDIA:
        return arrow_type(name)
    if re.fullmatch(r"array[2-5]_d", name):
        kind = arrow_type(options["dtype"])
        for _ in options["shape"]:
            kind = pa.list_(kind)
        return kind
    raise HFValidationError(f"Columns of the type {dict(form)} cannot be stored.", hint="Give it as a struct.")


def _list_of(form: Mapping[str, Any]) -> FieldType:
    return Schema.of_features([{"name": "", "list": form["list"]}]).fields[""]


def _feature(kind: FieldType) -> Any:
    if isinstance(kind, ListOf):
        return {"feature": _feature(kind.item), "_type": "List"}
    if isinstance(kind, Schema):
        return features(kind)
    if isinstance(kind, Given):
        return _feature_of_form(kind.form)
    if kind in MEDIA or kind == "json":
        return {"_type": kind.capitalize()}
    return {"dtype": "int64" if kind == WIDE_INT else kind, "_type": "Value"}


def _feature_of_form(form: Mapping[str, Any]) -> Any:
    if isinstance(form.get("dtype"), str):
        return {**form, "_type": "Value"}
    if "list" in form:
        return {**_feature(_list_of(form)), "length": form.get("length", -1)}
    ((name, options),) = form["dtype"].items()
    options = dict(options)
    if isinstance(options.get("names"), Mapping):
        options["names"] = [options["names"][number] for number in sorted(options["names"], key=int)]
    return {**options, "_type": "".join(word.capitalize() for word in name.split("_"))}


def _of_feature(feature: Any) -> FieldType:  # noqa: PLR0911  one form after the other
    if isinstance(feature, str):
        return feature
    if isinstance(feature, (list, tuple)):
        return ListOf(_of_feature(feature[0]))
    if hasattr(feature, "to_dict") or hasattr(feature, "__dataclass_fields__"):
        from dataclasses import asdict

        feature = {key: value for key, value in asdict(feature).items() if key != "pa_type"}
    kind = feature.get("_type")
    if not isinstance(kind, str):
        return Schema({name: _of_feature(inner) for name, inner in feature.items()})
    rest = {key: value for key, value in feature.items() if key != "_type" and value is not None}
    if kind == "Value":
        return str(rest["dtype"])
    if kind in ("List", "Sequence", "LargeList"):
        inner, length = _of_feature(rest["feature"]), rest.get("length", -1)
        if length < 0:
            return ListOf(inner)
        ((_, *form),) = [each.items() for each in Schema({"x": ListOf(inner)}).to_features()]
        return Given({**dict(form), "length": length})
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
    if isinstance(rest.get("names"), (list, tuple)):
        rest = {"names": {str(number): label for number, label in enumerate(rest["names"])}}
    rest.pop("decode", None)
    rest.pop("num_classes", None)
    return Given({"dtype": {name: rest}}) if rest else name


def _of_arrow(kind: pa.DataType) -> FieldType:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return Schema({field.name: _of_arrow(field.type) for field in kind})
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return ListOf(_of_arrow(kind.value_type))
    return {"double": "float64", "float": "float32", "halffloat": "float16"}.get(str(kind), str(kind))
