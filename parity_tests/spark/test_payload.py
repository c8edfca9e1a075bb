"""Spark reads at every path of a payload what `dualpath.paths.walk` says, whatever stands there."""

import json
from functools import partial
from random import Random
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.field import Field
from dualpath.paths import FirstOf, Steps, first_value, walk
from dualpath.schema import EventSource
from dualpath.spark.places import Places

NAMES = (
    *("a", "A", "b", "\u017f", "S", "\u212a", "k", "straße", "a.b", "items[0]", "$", "$amount", "0", "-", "", " ", "`"),
    *("``a`", '"', "'", "\\", "\\n", "\n", "\0", "\u2028", "null", "{}", "😀", "\ufeff", "e\u0301", "é"),
)
SCALARS = (
    None,
    True,
    False,
    0,
    -7,
    2**63 - 1,
    -(2**70),
    1.5,
    -0.0,
    1e300,
    "",
    " ",
    "text",
    '{"a": 1}',
    "[1]",
    "😀\0\\",
)

DIGITS = {
    "0": "0",
    "-0": "0",
    "1.50": "1.5",
    "-0.0": "-0.0",
    "1e3": "1000.0",
    "1.5e-7": "1.5E-7",
    "19.990000000000002": "19.990000000000002",
    "9223372036854775807": "9223372036854775807",
    "123456789012345678901234567890": "123456789012345678901234567890",
    "1234567890.123456789": "1.2345678901234567E9",
    "1e400": '"Infinity"',
    "10000000.0": "1.0E7",
}
"""Numbers as JSON writes them, and their texts: one with a point or an exponent is a double for Spark."""


def place(random: Random, names: tuple[str, ...]) -> Steps:
    steps = [
        random.choice(names if random.random() < 0.6 else (0, 1)) for _ in range(random.choice((0, 0, 1, 2, 3, 4)))
    ]
    return (random.choice(names), *steps)


def value(random: Random, places: list[Steps], depth: int = 0) -> Any:
    """A value at which the rest of some places begins: mostly what they need, and anything else."""
    here = [each for each in places if each]
    kind = random.random()
    if depth and (kind < 0.15 or not here or depth > 6):
        return random.choice(SCALARS)
    if kind > 0.9:
        here = [(random.choice((*NAMES, 0)), *place(random, NAMES)) for _ in range(2)]
    step = random.choice(here)[0] if depth else ""
    if isinstance(step, int):
        of_list = [each[1:] for each in here if isinstance(each[0], int)]
        return [value(random, of_list, depth + 1) for _ in range(random.choice((1, 2, 2, 3)))]
    members = dict.fromkeys(each[0] for each in here if isinstance(each[0], str) and random.random() < 0.9)
    names = random.sample(list(members), len(members))
    return {name: value(random, [each[1:] for each in here if each[0] == name], depth + 1) for name in names}


def says(text: str | None, found: Any) -> bool:
    """Whether a text of Spark's is the value."""
    if text is None or isinstance(found, str) or found is None:
        return text == found
    read = json.loads(text)
    return type(read) is type(found) and repr(read) == repr(found)


def read(spark: SparkSession, texts: list[str], places: list[Steps]) -> list[list[str | None]]:
    """What Spark reads at each place of each payload."""
    return read_first(spark, texts, [[each] for each in places])


def read_first(spark: SparkSession, texts: list[str], fields: list[list[Steps]]) -> list[list[str | None]]:
    """What Spark reads at the first place of each field that has a value."""
    declared = tuple(Field(f"c{n}", "text", path=FirstOf(tuple(each))) for n, each in enumerate(fields))
    places = Places(EventSource("s", declared, event_id=None, arrival_time=None), messages=False)
    frame = spark.createDataFrame([(text,) for text in texts], "value string")
    parsed = places.rows(frame.select(*places.columns(frame["value"])))
    columns = parsed.select(*(places.text(each.places).alias(each.name) for each in declared)).toArrow()
    return [columns[each.name].to_pylist() for each in declared]


@pytest.mark.parametrize("seed", range(6))
def test_spark_reads_at_every_path_what_the_walk_says(spark: SparkSession, seed: int) -> None:
    random = Random(seed)
    names = NAMES if seed % 2 else ("a", "A", "b", "a.b")
    places = [*dict.fromkeys(place(random, names) for _ in range(16))]
    payloads = [value(random, places) for _ in range(700)]
    texts = [json.dumps(each, ensure_ascii=random.random() < 0.5) for each in payloads]
    wrong, there = [], 0
    for at, column in zip(places, read(spark, texts, places), strict=True):
        for text, payload, found in zip(texts, payloads, column, strict=True):
            there += found is not None
            if not says(found, walk(payload, at)):
                wrong.append((text, at, found, walk(payload, at)))
    assert wrong == []
    assert there > 700, "the payloads have what is asked for"


def test_of_several_paths_the_first_that_has_a_value_counts(spark: SparkSession) -> None:
    random = Random(7)
    names = ("a", "A", "b", "a.b")
    fields = [[*dict.fromkeys(place(random, names) for _ in range(random.choice((2, 3))))] for _ in range(8)]
    payloads = [value(random, [each for places in fields for each in places]) for _ in range(500)]
    later = 0
    for places, column in zip(fields, read_first(spark, [*map(json.dumps, payloads)], fields), strict=True):
        for payload, found in zip(payloads, column, strict=True):
            assert says(found, first_value(places, partial(walk, payload)))
            later += found is not None and walk(payload, places[0]) is None
    assert later > 50, "some have a value only at a later path"


def test_of_a_member_that_is_written_twice_the_last_that_fits_counts(spark: SparkSession) -> None:
    pairs = {
        '{"a": {"b": 1}, "a": {"b": 2}}': "2",
        '{"a": {"b": 1}, "a": {"c": 2}}': None,
        '{"a": {"b": 1}, "a": null}': None,
        '{"a": {"b": 1}, "a": 5}': "1",
        '{"a": 5, "a": {"b": 1}}': "1",
        '{"a": {"b": 1, "b": {"c": 2}}}': '{"c":2}',
    }
    assert read(spark, [*pairs], [("a", "b")]) == [[*pairs.values()]]


def test_a_number_has_the_digits_at_a_path_that_it_has_as_a_member(spark: SparkSession) -> None:
    texts = [f'{{"n": {n}, "a": {{"b": {{"n": {n}}}}}, "l": [[{n}], [0, {n}]]}}' for n in DIGITS]
    places: list[Steps] = [("n",), ("a", "b", "n"), ("l", 1, 1)]
    assert read(spark, texts, places) == [[*DIGITS.values()]] * 3
