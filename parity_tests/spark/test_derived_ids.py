"""Ids that are derived of the content: equal for what is the same event, different for all others."""

from collections.abc import Callable
from typing import Any

from pyspark.sql import SparkSession

from dualpath.schema import EventSource
from parity_tests.spark.admitted import FIELDS, Bare, judged, payload

DERIVED = EventSource("clicks", FIELDS, event_id=None)
LINES = EventSource("clicks", FIELDS, event_id=None, occurrence="line")
SAME: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("an exact repetition", {}, {}),
    ("a later arrival", {}, {"arrival_time": "2026-03-03T00:00:00Z"}),
    ("null and missing", {"amount": None}, {}),
    ("one instant, two spellings", {}, {"event_time": "2026-03-01T11:00:00.000000+01:00"}),
    ("one amount, two spellings", {"amount": Bare("12.5")}, {"amount": "1.25e1"}),
    ("a member nobody declared", {}, {"extra": 1}),
    ("another id in the payload", {}, {"event_id": "e2"}),
]
DIFFERENT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("another user", {}, {"user": "bob"}),
    ("a microsecond later", {}, {"event_time": "2026-03-01T10:00:00.000001Z"}),
    ("a cent more", {"amount": "0.01"}, {"amount": "0.02"}),
    ("null and the word null", {"plan": None}, {"user": "null"}),
    ("a microsecond in a field", {"seen": "2026-03-01T10:00:00Z"}, {"seen": "2026-03-01T10:00:00.000001Z"}),
    ("one value in two fields", {"quantity": 1}, {"score": 1}),
    ("true and missing", {"flag": True}, {}),
]


def ids(spark: SparkSession, source: EventSource, *groups: list[dict[str, Any]]) -> list[list[str]]:
    """The derived ids of groups of payloads, in one job."""
    rows = judged(spark, [payload(**changes) for group in groups for changes in group], source)
    assert [row["reason"] for row in rows] == [None] * len(rows)
    found = iter(row["event_id"] for row in rows)
    return [[next(found) for _ in group] for group in groups]


def told(cases: list, found: list[list[str]], verdict: Callable[[str, str], bool]) -> list[str]:
    return [name for (name, *_), (a, b) in zip(cases, found, strict=True) if verdict(a, b)]


def test_a_derived_id_is_of_the_content_and_not_of_the_arrival(spark: SparkSession) -> None:
    found = ids(spark, DERIVED, *([a, b] for _, a, b in SAME + DIFFERENT))
    assert told(SAME, found[: len(SAME)], lambda a, b: a != b) == []
    assert told(DIFFERENT, found[len(SAME) :], lambda a, b: a == b) == []
    assert {len(i) for pair in found for i in pair} == {32}


def test_an_occurrence_tells_identical_rows_apart_and_is_required(spark: SparkSession) -> None:
    [[first, again, second, spelled]] = ids(spark, LINES, [{"line": 1}, {"line": 1}, {"line": 2}, {"line": "1"}])
    assert first == again == spelled != second
    [row] = judged(spark, [payload()], LINES)
    assert row["reason"] == "line is missing"
