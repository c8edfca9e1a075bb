"""A row that changes its entity is refused, because a version replaces none of another entity."""

from datetime import UTC, datetime

import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import Count
from dualpath.changes import Changes
from dualpath.jobs.gate_rows import moved
from dualpath.paths import first_of
from dualpath.schema import EventSource, boolean, identifier, integer, text
from dualpath.spark.records import records
from dualpath.view import Feature, View
from dualpath.windows import days
from parity_tests.shrink import frame

FIELDS = (identifier("order_id", required=True), text("user_id", required=True), text("Batch", required=True))
ROWS = [(1, "ann", "a"), (1, "ann", "a"), (1, "bob", "a"), (2, "bob", "a"), (3, "eve", "a"), (3, "ann", "b")]


def by(source: EventSource, *keys: str) -> View:
    return View("of", keys, source, (Feature("orders", Count(), days(7)),))


@pytest.mark.parametrize(
    ("key", "keys", "count"),
    [
        (["order_id"], ["user_id"], 2),
        (["order_id"], ["Batch"], 1),
        (["order_id"], ["user_id", "Batch"], 2),
        (["order_id", "user_id"], ["user_id"], 0),
        (["order_id", "user_id"], ["user_id", "Batch"], 0),
        (["order_id", "Batch"], ["user_id"], 1),
        (["order_id"], ["order_id"], 0),
    ],
)
def test_rows_that_name_several_entities_are_counted(
    spark: SparkSession, key: list[str], keys: list[str], count: int
) -> None:
    source = EventSource("orders", FIELDS, changes=Changes(key))
    names = [f"`{field.column}`" for field in FIELDS]
    events = spark.createDataFrame(ROWS, f"{names[0]} bigint, {names[1]} string, {names[2]} string")
    found = moved(events, source, [by(source, *keys)])
    assert [failure.unexpected_count for failure in found] == ([count] if count else [])
    if count and len(key) == 1:
        assert found[0].examples == ("order_id 1",) if "user_id" in keys else ("order_id 3",)
        assert f"have several values of {', '.join(keys)}, by which view 'of' is" in found[0].sentence


NO_ONE, GONE = None, True
MOVES = {
    "a row that stays": [(1, "ann", NO_ONE), (2, "ann", NO_ONE)],
    "a move that is said": [(1, "ann", NO_ONE), (2, "bob", "ann"), (3, "ann", "bob")],
    "said of another": [(1, "ann", NO_ONE), (2, "bob", "eve")],
    "not said": [(2, "bob", NO_ONE), (1, "ann", NO_ONE)],
    "said too early": [(1, "ann", NO_ONE), (2, "bob", NO_ONE), (3, "ann", "bob")],
    "deleted before": [(1, "ann", NO_ONE, GONE), (2, "bob", NO_ONE)],
    "deleted after": [(1, "ann", NO_ONE), (2, "bob", NO_ONE, GONE)],
    "one is lacking": [(1, "ann", NO_ONE), (3, "eve", "bob")],
    "one event alone": [(2, "bob", "ann")],
}
WRONG = ("said of another", "not said", "said too early", "deleted after", "one is lacking")


def test_of_rows_that_move_only_those_are_refused_whose_former_values_do_not_say_so(spark: SparkSession) -> None:
    fields = (
        text("order", required=True),
        text("user_id", path=first_of("user_id", "was.user_id"), required=True),
        text("Batch", required=True),
        integer("lsn", required=True),
        boolean("gone"),
    )
    changes = Changes("order", version="lsn", deleted="gone", before="was")
    source = EventSource("orders", fields, changes=changes)
    rows = [
        {"event_id": f"{order}{lsn}", "event_time": 0, "order": order, "user_id": user, "before_user_id": was}
        | {"field-Batch": "a" if order == "one event alone" or lsn < 3 else "b", "lsn": lsn, "gone": bool(gone)}
        for order, versions in MOVES.items()
        for lsn, user, was, *gone in versions
    ]
    events = frame(spark, by(source, "user_id"), rows)
    found = moved(events, source, [by(source, "user_id"), by(source, "Batch"), by(source, "order")])
    assert [(each.unexpected_count, each.examples) for each in found] == [
        (len(WRONG), ("order deleted after",)),
        (3, ("order a move that is said",)),
    ]
    assert "by which view 'of' is, and 'was' does not say so" in found[0].sentence
    assert "full replica identity" in found[0].remedy
    for order in MOVES:
        alone = moved(events.where(events["order"] == order), source, [by(source, "user_id")])
        assert [each.unexpected_count for each in alone] == ([1] if order in WRONG else []), order


KEYS = {
    "used again": [("1", "ann", None, None), ("2", "ann", "1", None), ("1", "bob", None, None)],
    "used again after a move": [("1", "ann", None, None), ("2", "bob", "1", "ann"), ("1", "eve", None, None)],
    "used again, by another change": [("1", "ann", None, None), ("2", "ann", "1", None), ("1", "bob", "3", None)],
    "left by another": [("1", "ann", None, None), ("2", "bob", "1", "eve")],
    "left without a word": [("1", "ann", None, None), ("2", "ann", None, None), ("1", "bob", None, None)],
    "left and moved without a word": [("1", "ann", None, None), ("2", "bob", "1", None)],
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_its_row_has_left_may_be_used_again(spark: SparkSession, name: str) -> None:
    fields = (
        text("order", path=first_of("order", "was.order"), required=True),
        text("user_id", path=first_of("user_id", "was.user_id"), required=True),
        integer("lsn", required=True),
    )
    source = EventSource("orders", fields, changes=Changes("order", version="lsn", before="was"))
    rows = [
        {"event_id": f"e{lsn}", "event_time": 0, "order": order, "user_id": user, "lsn": lsn}
        | {"before_order": was_order, "before_user_id": was_user}
        for lsn, (order, user, was_order, was_user) in enumerate(KEYS[name])
    ]
    view = by(source, "user_id")
    found = moved(frame(spark, view, rows), source, [view])
    assert [each.examples for each in found] == ([] if name.startswith("used again") else [("order 1",)])


def test_other_sources_are_not_looked_at(spark: SparkSession) -> None:
    source = EventSource("orders", FIELDS)
    assert moved(spark.createDataFrame(ROWS, "a int, b string, c string"), source, [by(source, "user_id")]) == []


def test_a_version_that_adds_nothing_is_a_record_because_it_may_replace_one(spark: SparkSession) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [("e1", at, at, 1, "ann", "a", "2026-03-01"), ("e2", at, at, 1, "ann", "b", "2026-03-01")]
    names = ["event_id", "event_time", "arrival_time", *(field.column for field in FIELDS), "arrival_day"]
    kinds = ["string", "timestamp", "timestamp", "bigint", "string", "string", "string"]
    events = spark.createDataFrame(rows, ", ".join(f"`{n}` {k}" for n, k in zip(names, kinds, strict=True)))
    for changes, count in ((Changes("order_id"), 2), (None, 1)):
        source = EventSource("orders", FIELDS, changes=changes)
        view = View("of", ("user_id",), source, (Feature("orders", Count(where="Batch = 'a'"), days(7)),))
        assert records(events, [view]).count() == count
