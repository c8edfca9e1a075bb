"""Spark reads at every path of a payload what `dualpath.paths.walk` says, whatever stands there."""

import json
from random import Random
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.paths import Steps, walk
from dualpath.spark.payload import Parses

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
    parses = Parses(places)
    frame = spark.createDataFrame([(text,) for text in texts], "value string")
    parsed = frame.select(*parses.columns(frame["value"]))
    columns = parsed.select(*(parses.text(each).alias(f"c{n}") for n, each in enumerate(places))).toArrow()
    return [columns[f"c{n}"].to_pylist() for n in range(len(places))]


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
