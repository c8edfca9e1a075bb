"""The quality gate on a real Spark session: a sound day passes, and each kind of defect alone is named."""

import math
import socket
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import lit

from dualpath.clock import Future
from dualpath.jobs.gate import check
from dualpath.jobs.gate_report import Failure, GateError, GateReport
from dualpath.jobs.gate_suite import suite
from dualpath.schema import EventSource, boolean, decimal, double, integer, text, timestamp
from dualpath.spark.admit import spark_type

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

orders = EventSource(
    name="orders",
    fields=(
        text("user_id", required=True),
        text("channel", choices=("web", "shop")),
        integer("quantity"),
        decimal("amount", scale=2),
        double("weight"),
        boolean("gift"),
        timestamp("promised"),
    ),
)
sensors = EventSource(
    name="sensors",
    fields=(text("device", required=True), decimal("celsius", scale=9, required=True)),
    event_id=None,
    event_time="measured_at",
    arrival_time=None,
)


def a_day(spark: SparkSession, source: EventSource, *changes: dict[str, Any]) -> DataFrame:
    """One sound event per change, each with that change made to it."""
    sound = {
        "event_time": NOON - timedelta(minutes=5),
        "arrival_time": NOON,
        "user_id": "ann",
        "channel": "web",
        "quantity": 2,
        "amount": Decimal("19.90"),
        "weight": 0.5,
        "gift": False,
        "promised": None,
        "device": "d1",
        "celsius": Decimal("21.5"),
        "late": False,
    }
    fields = ", ".join(f"{field.name} {spark_type(field)}" for field in source.fields)
    schema = f"event_id string, event_time timestamp, arrival_time timestamp, {fields}, late boolean"
    names = ["event_id", "event_time", "arrival_time", *source.by_name, "late"]
    rows = [{"event_id": f"e{i}"} | sound | change for i, change in enumerate(changes)]
    # One partition needs no shuffle, which is most of the time a handful of rows takes.
    return spark.createDataFrame([tuple(row[name] for name in names) for row in rows], schema).coalesce(1)


def refusal(report: GateReport, source: EventSource = orders) -> str:
    assert not report.passed
    return GateError(source, [f"{DAY}"], report).message


def test_how_far_an_event_may_happen_after_its_arrival_is_as_declared(spark: SparkSession) -> None:
    source = replace(orders, future=Future(timedelta(hours=2)))
    edge = NOON + timedelta(hours=2)
    report = check(
        a_day(spark, source, {"event_time": edge}, {"event_time": edge + timedelta(microseconds=1)}), source, DAY
    )
    (failure,) = report.failures
    assert failure.expectation == "expect_column_pair_not_far_ahead"
    assert failure.unexpected_count == 1
    assert "no event_time is more than 2 hours after its arrival_time" in refusal(report, source)


def test_the_days_that_were_checked_together_are_all_named() -> None:
    failure = Failure("expect_column_values_to_be_unique", "event_id", 2, "no event is stored twice", ())
    said = GateError(orders, ["2026-03-01", "2026-03-02"], GateReport(False, 9, (failure,))).message
    assert f"{orders.name}, arrival days 2026-03-01, 2026-03-02: the quality gate refuses the 9 stored events" in said
    assert "repair those days of the event log" in said


def test_a_sound_day_passes_with_every_value_at_its_bound(spark: SparkSession) -> None:
    events = a_day(
        spark,
        orders,
        {},
        {"channel": None, "quantity": None, "amount": None, "weight": None, "gift": None},
        {"quantity": 10**15, "amount": Decimal("10000000000000.00"), "weight": 1.7976931348623157e308},
        {"quantity": -(10**15), "amount": Decimal("-10000000000000.00"), "weight": -1.7976931348623157e308},
        {"event_time": NOON + timedelta(days=1)},
    )
    assert check(events, orders, DAY) == GateReport(passed=True, checked=5, failures=())


@pytest.mark.parametrize(
    ("column", "values", "expectation", "shown"),
    [
        ("event_id", [None], "expect_column_values_to_not_be_null", "event_id None"),
        ("event_time", [None], "expect_column_values_to_not_be_null", "event_time None of event e1"),
        ("arrival_time", [None], "expect_column_values_to_not_be_null", "arrival_time None of event e1"),
        ("user_id", [None], "expect_column_values_to_not_be_null", "user_id None of event e1"),
        ("channel", ["fax"], "expect_column_values_to_be_in_set", "channel fax of event e1"),
        ("quantity", [10**15 + 1, -(10**15) - 1], "expect_column_values_to_be_between", "1000000000000001"),
        (
            "amount",
            [Decimal("10000000000000.01"), Decimal("-10000000000000.01")],
            "expect_column_values_to_be_between",
            "10000000000000.01 of event e1",
        ),
        ("weight", [math.nan, math.inf, -math.inf], "expect_column_values_to_be_between", "weight nan"),
        (
            "event_time",
            [NOON + timedelta(days=1, microseconds=1)],
            "expect_column_pair_not_far_ahead",
            "event_time 2026-03-02T12:00:00.000001+00:00 of event e1",
        ),
    ],
)
def test_one_kind_of_defect_alone_fails_the_gate_and_is_named(
    spark: SparkSession, column: str, values: list[Any], expectation: str, shown: str
) -> None:
    report = check(a_day(spark, orders, {}, *({column: value} for value in values)), orders, DAY)
    (failure,) = report.failures
    assert (failure.expectation, failure.column) == (expectation, column)
    assert failure.unexpected_count == len(failure.examples) == len(values)
    message = refusal(report)
    for part in (
        "orders",
        "2026-03-01",
        expectation,
        column,
        failure.sentence,
        f"{len(values)} events",
        shown,
    ):
        assert part in message


def test_an_event_stored_twice_is_named_by_its_id(spark: SparkSession) -> None:
    report = check(a_day(spark, orders, {}, {"event_id": "e0"}, {}), orders, DAY)
    assert [(f.column, f.unexpected_count) for f in report.failures] == [("event_id", 2)]
    assert "expect_column_values_to_be_unique" in refusal(report)
    assert "event_id e0" in refusal(report)


def test_several_defects_are_all_named_with_at_most_three_examples_each(spark: SparkSession) -> None:
    report = check(a_day(spark, orders, *[{"user_id": None, "channel": "fax"}] * 5), orders, DAY)
    assert {f.column: (f.unexpected_count, len(f.examples)) for f in report.failures} == {
        "user_id": (5, 3),
        "channel": (5, 3),
    }


def test_an_empty_day_says_so_and_nothing_else(spark: SparkSession) -> None:
    report = check(a_day(spark, orders, {}).limit(0), orders, DAY)
    assert report.checked == 0
    assert [f.expectation for f in report.failures] == ["expect_table_row_count_to_be_between"]
    assert "orders has at least one event on 2026-03-01" in refusal(report)


def test_missing_and_unknown_columns_are_named_without_their_echoes(spark: SparkSession) -> None:
    report = check(a_day(spark, orders, {}).withColumnRenamed("user_id", "client"), orders, DAY)
    assert [f.expectation for f in report.failures] == ["expect_table_columns_to_match_set"]
    assert set(report.failures[0].examples) == {"unexpected client", "missing user_id"}


def test_a_column_of_the_wrong_type_fails_for_every_row(spark: SparkSession) -> None:
    wrong = a_day(spark, orders, {}, {}).withColumn("amount", lit("much"))
    report = check(wrong, orders, DAY)
    assert [(f.column, f.unexpected_count) for f in report.failures] == [("amount", 2)]
    assert "not evaluated" in refusal(report)


def test_another_source_with_other_names_has_its_own_suite(spark: SparkSession) -> None:
    assert check(a_day(spark, sensors, {}, {"celsius": Decimal("1000000")}), sensors, DAY).passed
    report = check(a_day(spark, sensors, {}, {"celsius": Decimal("1000000.000000001")}), sensors, DAY)
    assert "every celsius is within +-1000000" in refusal(report, sensors)


def test_every_expectation_explains_itself() -> None:
    sentences = [each.notes for each in suite(orders, DAY).expectations]
    assert all(isinstance(each, str) and " " in each for each in sentences)
    assert len(set(sentences)) == len(sentences)


def test_a_field_without_bounds_adds_no_expectation() -> None:
    bare = replace(orders, fields=(text("user_id"), boolean("gift"), timestamp("promised")))
    columns = {getattr(each, "column", None) for each in suite(bare, DAY).expectations}
    assert columns == {None, "event_id", "event_time", "arrival_time"}


@pytest.mark.parametrize("held", [True, False])
def test_a_frame_stays_cached_exactly_if_it_was(spark: SparkSession, held: bool) -> None:
    events = a_day(spark, orders, {})
    if held:
        events.persist()
    check(events, orders, DAY)
    assert events.storageLevel.useMemory is held
    events.unpersist()


def test_the_gate_is_silent_and_reaches_no_other_machine(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reached = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def watched_connect(self: socket.socket, address: Any) -> None:
        reached.append(address[0] if isinstance(address, tuple) else "local")
        connect(self, address)

    def watched_resolve(host: Any, *rest: Any, **named: Any) -> Any:
        reached.append(host)
        return resolve(host, *rest, **named)

    events = a_day(spark, orders, {}, {"channel": "fax"})
    monkeypatch.setattr(socket.socket, "connect", watched_connect)
    monkeypatch.setattr(socket, "getaddrinfo", watched_resolve)
    assert not check(events, orders, DAY).passed
    assert set(reached) <= {"127.0.0.1", "localhost", "::1", "local"}
    assert capfd.readouterr() == ("", "")
