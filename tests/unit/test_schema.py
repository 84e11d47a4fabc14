"""Column types: found in rows, merged in any order, written to a card and read from it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from datasets import Features
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubspool_templates import schema as schema_module
from hubspool_templates.schema import Given, Learner, ListOf, Schema, as_text, shape_of
from hubspool_templates.value_kinds import TIME, WIDE_INT

BIG = 2**53 + 1
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


def merged(*values: Any) -> Any:
    schema = Schema()
    for value in values:
        schema = schema.merge(Schema.of_row({"v": value}))
    return schema.fields["v"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([None], "null"),
        ([None, 1], "int64"),
        ([1, None], "int64"),
        ([True], "bool"),
        ([1, 0.5], "float64"),
        ([BIG], WIDE_INT),
        ([1, BIG], WIDE_INT),
        ([BIG, 0.5], "string"),
        ([1, 0.5, BIG], "string"),
        ([True, 1], "string"),
        (["x", 1], "string"),
        ([[]], ListOf("null")),
        ([[], [1], [0.5]], ListOf("float64")),
        ([[1, "x"]], ListOf("string")),
        ([(1, 2)], ListOf("int64")),
        ([[[1]], [[]], [None]], ListOf(ListOf("int64"))),
        ([{"a": 1}, {"b": "x"}, {}], Schema({"a": "int64", "b": "string"})),
        ([{"a": 1}, {"a": "x"}], Schema({"a": "string"})),
        ([[{"a": 1}], [{"b": None}]], ListOf(Schema({"a": "int64", "b": "null"}))),
        ([[1], "x"], "json"),
        ([{"a": 1}, "x"], "json"),
        ([{"a": 1}, [1]], "json"),
        ([[1], {"a": 1}, 2], "json"),
        ([{"a": [1]}, {"a": {"b": 1}}], Schema({"a": "json"})),
    ],
    ids=str,
)
def test_types_merge_as_the_rules_say(values: list[Any], expected: Any) -> None:
    for order in itertools.permutations(values):
        assert merged(*order) == expected


@UNHURRIED
@given(st.lists(ROWS, max_size=4), st.randoms())
def test_replicas_agree_in_whatever_order_they_meet(rows: list[dict[str, Any]], random: Any) -> None:
    schemas = [Schema.of_row(row) for row in rows]
    expected = Schema()
    for schema in schemas:
        expected = expected.merge(schema)
    while len(schemas) > 1:  # pairs merge first, as replicas do
        random.shuffle(schemas)
        schemas.append(schemas.pop().merge(schemas.pop()))
    assert schemas == [expected] or (schemas == [] and expected == Schema())


@UNHURRIED
@given(ROWS)
def test_a_schema_comes_back_from_the_card_as_it_was(row: dict[str, Any]) -> None:
    schema = Schema.of_row(row)
    again = Schema.of_features(yaml.safe_load(yaml.safe_dump(schema.to_features())))
    assert again == schema
    assert list(again.fields) == list(schema.fields)


@UNHURRIED
@given(ROWS)
def test_the_card_is_what_datasets_writes(row: dict[str, Any]) -> None:
    features = Schema.of_row(row).to_features()
    if "id" not in str(features) and "[]" not in str(features):
        assert Features._from_yaml_list(features)._to_yaml_list() == features


@UNHURRIED
@given(st.lists(ROWS, max_size=5))
def test_rows_of_one_shape_have_one_schema(rows: list[dict[str, Any]]) -> None:
    learner, expected, by_shape = Learner(), Schema(), {}
    for row in map(json.loads, map(json.dumps, rows)):
        learner.add(row)
        expected = expected.merge(Schema.of_row(row))
        assert by_shape.setdefault(shape_of(row), Schema.of_row(row)) == Schema.of_row(row)
    assert learner.schema == expected


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, float("nan"), float("inf"), b"x", (1,), [float("nan")], {"a": [2**64]}], ids=str
)
def test_what_json_or_a_column_lacks_has_no_shape(value: Any) -> None:
    assert shape_of({"v": value}) is None


def test_rows_with_endless_keys_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_module, "DEFAULTS", replace(schema_module.DEFAULTS, remembered_shapes=10))
    learner = Learner()
    for number in range(100):
        learner.add({str(number): number})
    assert len(learner._seen) <= 10
    assert len(learner.schema.fields) == 100


@UNHURRIED
@given(ROWS)
def test_as_text_leaves_no_number_where_the_type_is_string(row: dict[str, Any]) -> None:
    schema = Schema.of_row(row).merge(Schema({name: "string" for name, value in row.items() if is_scalar(value)}))
    found = as_text(row, schema, json.dumps)
    assert all(value is None or isinstance(value, str) for value in found.values() if is_scalar(value))
    again = Schema.of_row(found)
    assert schema.merge(again) == schema


def is_scalar(value: object) -> bool:
    return not isinstance(value, list | dict)


LABELS = {"name": "v", "dtype": {"class_label": {"names": {"0": "no", "1": "yes"}}}}


@pytest.mark.parametrize(
    "decided",
    [
        LABELS,
        {"name": "v", "dtype": "int32"},
        {"name": "v", "dtype": "timestamp[us, tz=UTC]"},
        {"name": "v", "dtype": "image"},
        {"name": "v", "list": "int64", "length": 3},
        {"name": "v", "sequence": "int64"},
        {"name": "v", "dtype": {"array2_d": {"shape": [2, 2], "dtype": "int32"}}},
    ],
    ids=str,
)
@pytest.mark.parametrize("value", [None, 1, "x", [1], {"a": 1}], ids=str)
def test_a_type_that_rows_never_make_is_a_persons_and_stays(decided: dict[str, Any], value: Any) -> None:
    card = Schema.of_features([decided, {"name": "w", "dtype": "int64"}])
    found = card.merge(Schema.of_row({"v": value, "new": 1}))
    assert found.to_features() == [decided, {"name": "w", "dtype": "int64"}, {"name": "new", "dtype": "int64"}]


def test_the_order_of_the_card_stays_and_new_columns_follow() -> None:
    card = Schema.of_features([{"name": "b", "dtype": "int64"}, {"name": "a", "dtype": "null"}])
    assert list(card.merge(Schema.of_row({"c": 1, "a": 1, "b": 1})).fields) == ["b", "a", "c"]


def test_other_values_are_typed_by_who_knows_them() -> None:
    schema = Schema.of_row({"v": b"x", "l": [b"y"]}, lambda value: "binary")
    assert schema.fields == {"v": "binary", "l": ListOf("binary")}
    with pytest.raises(TypeError, match="bytes"):
        Schema.of_row({"v": b"x"})


def test_inferred_types_of_another_format_widen_too() -> None:
    times = Schema({"v": "timestamp[us, tz=UTC]"})
    widenable = frozenset({"null", "int64", "string", "timestamp[us, tz=UTC]"})
    assert times.merge(Schema({"v": "string"}), widenable=widenable).fields["v"] == "string"
    assert times.merge(Schema({"v": "string"})).fields["v"] == "timestamp[us, tz=UTC]"


def test_a_widened_column_is_named_once_and_only_where_numbers_were() -> None:
    widened: list[str] = []
    schema = Schema.of_row({"a": 1, "b": "x", "c": {"d": 1}, "e": [1]})
    schema.merge(Schema.of_row({"a": "x", "b": 1, "c": {"d": "x"}, "e": "x"}), widened)
    assert widened == ["a", "c"]


def test_a_column_with_more_than_200_keys_is_json() -> None:
    few, many = ({f"user {n}": n for n in range(count)} for count in (200, 201))
    assert merged(few) == Schema(dict.fromkeys(few, "int64"))
    assert merged(many) == merged(few, {"user 200": 0}) == merged({"users": many}) == "json"


@UNHURRIED
@given(ROWS, ROWS)
def test_an_extended_schema_reads_the_files_of_the_first_and_is_extended_once(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    base = Schema().extend(Schema.of_row(first))
    found = base.extend(Schema.of_row(second))
    assert found.can_read(base)
    assert found.extend(Schema.of_row(second)) == found == base.extend(found)
    assert list(found.fields)[: len(base.fields)] == list(base.fields)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("string", "image", "string"),
        ("image", "audio", "image"),
        ("int64", "binary", "int64"),
        ("int64", "float32", "int64"),
        (ListOf("null"), "image", ListOf("null")),
        (ListOf("null"), ListOf("image"), ListOf("image")),
        ("string", ListOf("int64"), "string"),
        ("float64", ListOf("int64"), "float64"),
        (ListOf("float64"), Schema({"a": "int64"}), ListOf("float64")),
        (ListOf("string"), Schema({"a": "int64"}), "json"),
        ("null", Schema({"a": "json"}), "json"),
        ("null", Schema({"a": Schema({})}), "json"),
        (Schema({"a": "int64"}), Schema({"a": ListOf("int64")}), "json"),
        (Schema({"i": "image", "x": "int64"}), Schema({"x": ListOf("int64")}), Schema({"i": "image", "x": "int64"})),
        (Schema({"a": "int64"}), Schema({"a": "string", "b": "image"}), Schema({"a": "string", "b": "image"})),
        (Schema({"a": TIME}), Schema({"a": "string"}), Schema({"a": TIME})),
        (ListOf(TIME), ListOf("string"), ListOf(TIME)),
        (ListOf(Schema({"a": "float64"})), ListOf(Schema({"a": "string"})), ListOf(Schema({"a": "float64"}))),
        (TIME, "string", "string"),
    ],
    ids=str,
)
def test_types_of_files_on_the_hub_become_only_what_datasets_reads_them_as(
    first: Any, second: Any, expected: Any
) -> None:
    assert Schema({"v": first}).extend(Schema({"v": second})).fields["v"] == expected


def test_given_keeps_its_form() -> None:
    assert Schema.of_features([LABELS]).fields["v"] == Given({"dtype": LABELS["dtype"]})
