"""Any payload of any declared shape is an event with the right values, skipped, or refused with its reason."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from random import Random
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.aggregates import Count
from dualpath.errors import InputError
from dualpath.instants import parse
from dualpath.payloads import events as previewed
from dualpath.schema import EventSource
from dualpath.spark.admit import admit
from dualpath.view import Feature, View
from dualpath.windows import lifetime
from parity_tests.boundary import Row, rows
from parity_tests.shapes import declared_source, message, tree, written
from parity_tests.spark.admitted import NOW, ROW
from parity_tests.spark.test_message import ROW as MESSAGES

SEEDS = (2, 6, 8, 10, 13, 15, 16, 17)
"""Sources with and without lists, conditions, changes and places around payloads, of files and of messages."""
AROUND = MESSAGES[MESSAGES.index("message struct") :]
Line = tuple[bytes | None, dict[str, Any]]
"""A payload, and the message that it came in; a row of a file has none."""


def around(message: dict[str, Any]) -> tuple[Any, ...]:
    """What is around a payload, as the source of Kafka gives it."""
    numbers = (int(message[name]) for name in ("partition", "offset"))
    return (*(message[name] for name in ("key", "headers", "topic")), *numbers, datetime.fromisoformat(message["time"]))


def judged(spark: SparkSession, lines: Iterable[Line], source: EventSource) -> list[list[Row]]:
    """What Spark's admission makes of each line."""
    schema = ROW.replace("value string", "raw binary")
    rows = [(line, None, None, "a file", n, None, *([around(of)] if of else [])) for n, (line, of) in enumerate(lines)]
    raw = spark.createDataFrame(rows, schema + (f", {AROUND}" if len(rows[0]) > 6 else ""))
    raw = raw.coalesce(1).withColumn("value", F.col("raw").cast("string")).withColumn("admitted_at", F.lit(NOW))
    found: list[list[Row]] = []
    for row in admit(raw, source).toArrow().to_pylist():
        while len(found) <= row["__position"]:
            found.append([])
        assert row.get("__further", False) == bool(found[-1])
        found[row["__position"]].append(_row(row, source))
    return found


def _row(row: dict[str, Any], source: EventSource) -> Row:
    event = ("event_time", "arrival_time", *(f.column for f in source.payload_fields))
    if row["reason"] is not None or row.get("__skipped"):
        assert all(row[name] is None for name in event)
        assert (row["payload"] is None) == (row["reason"] is None)
        return Row("skipped") if row["reason"] is None else Row("dead", reason=row["reason"])
    assert row["payload"] is None
    instants = {"event_time", "arrival_time", *(f.column for f in source.payload_fields if f.kind == "timestamp")}
    values = [row[name] for name in event]
    exact = [int(parse([v])[0]) if n in instants and v else v for n, v in zip(event, values, strict=True)]
    return Row("accepted", row["event_id"], tuple(exact))


def same(expected: Row, found: Row) -> bool:
    if expected.event_id is None and expected.outcome == "accepted":
        assert found.event_id is None or len(found.event_id.partition("/")[0]) == 32
        found = Row(found.outcome, None, found.values, found.reason)
    return repr(expected) == repr(found)  # which tells -0.0 from 0.0


@cache
def drawn(seed: int) -> tuple[EventSource, list[Line], list[list[Row]]]:
    """A source, payloads in messages or without, and the rows that each must be."""
    random = Random(seed)
    source = declared_source(random)
    in_messages, lines = random.random() < 0.7, list[Line]()
    for _ in range(400):
        payload = tree(random, source)
        of = {}
        if in_messages:
            # A member `$kafka` of a message's own means nothing.
            of = message(random, payload.get("$kafka") if random.random() < 0.1 else payload.pop("$kafka", None))
        lines.append((written(random, payload), of))
    if source.changes:
        lines[7] = (None, lines[7][1])
    return source, lines, [rows(source, line, int(NOW.timestamp()) * 1_000_000, of) for line, of in lines]


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


def test_a_preview_that_takes_a_good_payload_makes_the_same_events_of_it() -> None:
    same = 0
    for source, lines, expected in map(drawn, SEEDS):
        key = next(
            (field.name for field in source.fields if field.key and (field.required or not source.changes)), None
        )
        if key is None or lines[0][1]:
            continue
        view = View("v", (key,), source, (Feature("n", Count(), lifetime()),))
        for (line, _), found in zip(lines, expected, strict=True):
            if line is None or any(row.outcome == "dead" for row in found):
                continue
            try:
                events = [*previewed(view, 0, json.loads(line))]
            except InputError:  # it takes no value of another kind, such as a number as a text
                continue
            names = ("event_time", "arrival_time", *(field.column for field in source.payload_fields))
            good = [row.values for row in found if row.outcome == "accepted"]
            assert repr([tuple(event[name] for name in names) for event in events]) == repr(good), line
            same += 1
    assert same > 500
