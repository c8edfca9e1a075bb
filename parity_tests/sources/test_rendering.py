"""Rows of Arrow become JSON exactly, or are refused by name: no digit is lost and none is invented."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dualpath.errors import InputError
from dualpath.sources.rendering import json_lines

NOON = 1_772_366_400
"""2026-03-01 12:00:00 UTC."""
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
BITS = (8, 16, 32, 64)
LIMITS = {pa.type_for_alias(f"int{n}"): (-(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in BITS}
LIMITS |= {pa.type_for_alias(f"uint{n}"): (0, 2**n - 1) for n in BITS}


def rendered(column: pa.Array, name: str = "x") -> list[str]:
    """The value's text in each line; the empty text where it is left out."""
    lines = [line.decode() for line in json_lines(pa.table({name: column}).to_batches(), "rows")]
    assert all(line.endswith("\n") and json.loads(line) is not None for line in lines)
    return [line.removeprefix('{"x":').removesuffix("}\n") if line != "{}\n" else "" for line in lines]


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        *((pa.array([*limits, None], kind), [*map(str, limits), ""]) for kind, limits in LIMITS.items()),
        (pa.array(["é", None], pa.string_view()), ['"é"', ""]),
        (pa.array(["a", "b", None]).dictionary_encode(), ['"a"', '"b"', ""]),
        (pa.array([7, None], pa.timestamp("ns")).dictionary_encode(), ['"1970-01-01T00:00:00.000000007"', ""]),
        (pa.array([5, 5, None]).dictionary_encode(), ["5", "5", ""]),
        (pa.nulls(2), ["", ""]),
        (pa.array([date(1, 1, 1), None]), ['"0001-01-01"', ""]),
        (pa.array([86_400_000], pa.date64()), ['"1970-01-02"']),
        (pa.array([3_661], pa.time32("s")), ['"01:01:01"']),
        (pa.array([1], pa.time64("ns")), ['"00:00:00.000000001"']),
        (pa.array([time(23, 59, 59, 7)]), ['"23:59:59.000007"']),
        (pa.array([UUID(int=1).bytes, None], pa.uuid()), [f'"{UUID(int=1)}"', ""]),
        (pa.array(['{"a": 1.10}'], pa.json_()), [json.dumps('{"a": 1.10}')]),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else "",
)
def test_a_value_lands_as_it_is(column: pa.Array, texts: list[str]) -> None:
    assert rendered(column) == texts


@pytest.mark.parametrize(
    ("unit", "count", "text"),
    [
        ("s", NOON, "12:00:00.000000"),
        ("ms", NOON * 10**3 + 7, "12:00:00.007000"),
        ("us", NOON * 10**6 + 7, "12:00:00.000007"),
        ("ns", NOON * 10**9 + 7_000, "12:00:00.000007"),
        ("ns", NOON * 10**9 + 7, "12:00:00.000000007"),
    ],
)
@pytest.mark.parametrize(("zone", "ending"), [(None, ""), ("UTC", "Z"), ("Asia/Tokyo", "Z"), ("-05:00", "Z")])
def test_an_instant_keeps_its_digits_and_says_whether_it_had_a_zone(
    unit: str, count: int, text: str, zone: str | None, ending: str
) -> None:
    column = pa.array([count, None], pa.timestamp(unit, zone))
    assert rendered(column) == [f'"2026-03-01T{text}{ending}"', ""]


def test_instants_far_away_and_before_1970_are_exact() -> None:
    assert rendered(pa.array([-1], pa.timestamp("ns"))) == ['"1969-12-31T23:59:59.999999999"']
    assert rendered(pa.array([-1], pa.timestamp("us", "UTC"))) == ['"1969-12-31T23:59:59.999999Z"']
    assert rendered(pa.array([datetime(9999, 12, 31, 23, 59, 59, 999_999)])) == ['"9999-12-31T23:59:59.999999"']


def test_a_float_is_the_shortest_number_that_is_the_same_float() -> None:
    values = np.float32([0.1, 16_777_217, 3.4e38, 1e-45, -0.0, 1 / 3])
    texts = rendered(pa.array(values))
    assert texts[0] == "0.1"
    assert texts[2] == "3.4e+38"
    assert [np.float32(text).tobytes() for text in texts] == [value.tobytes() for value in values]
    assert rendered(pa.array([np.nan, np.inf, -np.inf], pa.float32())) == ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("kind", [pa.decimal32(5, 2), pa.decimal64(15, 2), pa.decimal128(38, 2), pa.decimal256(38, 2)])
def test_a_decimal_is_its_digits(kind: pa.DataType) -> None:
    assert rendered(pa.array([Decimal("-12.50"), None], kind)) == ['"-12.50"', ""]


def test_a_decimal_of_more_digits_than_duckdb_has_keeps_them() -> None:
    value = Decimal("1" * 40 + "." + "2" * 20)
    [text] = rendered(pa.array([value], pa.decimal256(60, 20)))
    assert Decimal(json.loads(text)) == value


def test_nested_values_follow_the_rules_of_their_parts() -> None:
    part = pa.struct(
        [
            ("at", pa.timestamp("ns", "UTC")),
            ("price", pa.decimal128(9, 2)),
            ("share", pa.float32()),
            ("code", pa.dictionary(pa.int8(), pa.string())),
            ("it's", pa.list_(pa.date32())),
        ]
    )
    value: dict[str, Any] = {
        "at": AT,
        "price": Decimal("1.10"),
        "share": 0.1,
        "code": "a",
        "it's": [date(2026, 3, 1), None],
    }
    values = [None, [], [value, None, {}], None]
    members = '"at":"2026-03-01T12:00:00.000000Z","price":"1.10","share":0.1,"code":"a","it\'s":["2026-03-01",null]'
    expected = f"[{{{members}}},null,{{}}]"
    for kind in (pa.list_(part), pa.large_list(part)):
        assert rendered(pa.array(values, kind)) == ["", "[]", expected, ""]
        assert rendered(pa.array(values, kind).slice(2, 1)) == [expected]
    assert rendered(pa.array([[[1], None, [2, 3]]])) == ["[[1],null,[2,3]]"]
    assert rendered(pa.array([[0.1, None], None], pa.list_(pa.float32(), 2))) == ["[0.1,null]", ""]


def test_a_map_becomes_an_object_with_all_its_entries() -> None:
    kind = pa.map_(pa.string(), pa.decimal128(5, 1))
    assert rendered(pa.array([[('a"', Decimal("1.5")), ("b", None)], [], None], kind)) == [
        '{"a\\"":"1.5","b":null}',
        "{}",
        "",
    ]
    assert rendered(pa.array([[(7, [1.5])]], pa.map_(pa.int32(), pa.list_(pa.float64())))) == ['{"7":[1.5]}']


def test_columns_whose_names_differ_by_case_stay_apart() -> None:
    [line] = json_lines(pa.table({"id": [1], "ID": [2]}).to_batches(), "rows")
    assert json.loads(line) == {"id": 1, "ID": 2}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"a"]),
        pa.array([b"a"], pa.large_binary()),
        pa.array([b"a"], pa.binary(1)),
        pa.array([timedelta(1)]),
        pa.array([1.5], pa.float16()),
        pa.array([[1]], pa.list_view(pa.int64())),
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        pa.array([[(1.5, "a")]], pa.map_(pa.float64(), pa.string())),
        pc.run_end_encode(pa.array([1, 1])),
        pa.array([[{"b": b"a"}]]),
        pa.array([b"a"]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_a_type_without_an_exact_form_is_refused_by_its_column(column: pa.Array) -> None:
    with pytest.raises(InputError, match=r"^rows: column 'odd' is .*cast it to text, or to a number"):
        rendered(column, "odd")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"\xff"]).view(pa.string()),
        pa.array([2**62], pa.timestamp("s")),
        pa.array([-(2**63)], pa.timestamp("us")),
        pa.array([1], pa.date64()),
    ],
    ids=["not UTF-8", "no microseconds", "no year", "a part of a day"],
)
def test_a_value_that_cannot_be_written_is_refused_by_its_column(column: pa.Array) -> None:
    with pytest.raises(InputError, match=r"^rows: .*odd.* cannot be written"):
        rendered(column, "odd")
