"""Any payload of any declared shape is an event with the right values, skipped, or refused with its reason."""

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.instants import parse
from dualpath.schema import EventSource
from dualpath.spark.admit import admit
from parity_tests.boundary import Row, rows
from parity_tests.shapes import declared_source, tree, written
from parity_tests.spark.test_admit import NOW, ROW

SEEDS = range(8)


def judged(spark: SparkSession, lines: Iterable[bytes], source: EventSource) -> list[list[Row]]:
    """What Spark's admission makes of each line."""
    schema = ROW.replace("value string", "raw binary")
    raw = spark.createDataFrame([(line, None, None, "a file", n, None) for n, line in enumerate(lines)], schema)
    raw = raw.coalesce(1).withColumn("value", F.col("raw").cast("string")).withColumn("admitted_at", F.lit(NOW))
    found: list[list[Row]] = []
    for row in admit(raw, source).toArrow().to_pylist():
        while len(found) <= row["__position"]:
            found.append([])
        assert row.get("__further", False) == bool(found[-1])
        found[row["__position"]].append(_row(row, source))
    return found


def _row(row: dict[str, Any], source: EventSource) -> Row:
    event = ("event_time", "arrival_time", *(f.column for f in source.fields))
    if row["reason"] is not None or row.get("__skipped"):
        assert all(row[name] is None for name in event)
        assert (row["payload"] is None) == (row["reason"] is None)
        return Row("skipped") if row["reason"] is None else Row("dead", reason=row["reason"])
    assert row["payload"] is None
    instants = {"event_time", "arrival_time", *(f.column for f in source.fields if f.kind == "timestamp")}
    values = [row[name] for name in event]
    exact = [int(parse([v])[0]) if n in instants and v else v for n, v in zip(event, values, strict=True)]
    return Row("accepted", row["event_id"], tuple(exact))


def same(expected: Row, found: Row) -> bool:
    if expected.event_id is None and expected.outcome == "accepted":
        assert found.event_id is None or len(found.event_id.partition("/")[0]) == 32
        found = Row(found.outcome, None, found.values, found.reason)
    return repr(expected) == repr(found)  # which tells -0.0 from 0.0


def drawn(seed: int) -> tuple[EventSource, list[bytes], list[list[Row]]]:
    """A source, messages, and the rows that each must be."""
    random = Random(seed)
    source = declared_source(random)
    lines = [written(random, tree(random, source)) for _ in range(400)]
    return source, lines, [rows(source, line, int(NOW.timestamp()) * 1_000_000) for line in lines]


def test_what_is_drawn_is_often_an_event_and_often_none() -> None:
    outcomes = Counter(row.outcome for seed in SEEDS for each in drawn(seed)[2] for row in each)
    assert {*outcomes} == {"accepted", "dead", "skipped"} and min(outcomes.values()) > 500


@pytest.mark.parametrize("seed", SEEDS)
def test_every_payload_has_the_outcome_of_a_naive_reading(spark: SparkSession, seed: int) -> None:
    source, lines, expected = drawn(seed)
    found = judged(spark, lines, source)
    wrong = [
        (line, a, b)
        for line, a, b in zip(lines, expected, found, strict=True)
        if len(a) != len(b) or not all(map(same, a, b))
    ]
    assert wrong == [], source
