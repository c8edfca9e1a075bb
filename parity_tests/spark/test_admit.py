"""Admission: every payload that must be refused, with its reason, and every odd one that must pass, exactly."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.changes import Changes
from dualpath.declare import event_source
from dualpath.schema import EventSource, text, timestamp
from dualpath.spark.admit import admit
from parity_tests.spark.admitted import CLICKS, FIELDS, NOW, ROW, Bare, at, frame, judged, payload

ISO = " is not an ISO-8601 instant: "
UNIT = " is a number; declare its unit, one of s, ms, us, ns: "
FINER = " is finer than a microsecond; declare truncate=True to cut it: "
UNBORN = "arrival_time is more than a day ahead"
FAR = "event_time is more than 1 day after the arrival"
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"event_id": v}, "event_id is missing") for v in (..., None, "", "  ")),
    *(({"user": v}, "user is missing") for v in (..., None, "")),
    *(({"event_time": v}, "event_time is missing") for v in (..., None)),
    *(({"arrival_time": v}, "arrival_time is missing") for v in (..., None)),
    *(
        ({"event_time": v}, f"event_time{ISO}{v}")
        for v in (
            "yesterday",
            "",
            "2026-02-30T10:00:00Z",
            "2026-03-01T25:00:00Z",
            "2026-03-01T10:00:60Z",
            "2026-03-01T10:00:00+25:00",
            "2026-03-01T10:00:00.1234567890Z",
            "20260301T100000Z",
            "01.03.2026 10:00",
            "٢٠٢٦-03-01T10:00:00Z",
            "+12026-03-01T10:00:00Z",
        )
    ),
    *(({"event_time": v}, f"event_time{UNIT}{v}") for v in (1772359200, "1772359200")),
    ({"event_time": "2026-03-01"}, "event_time is a date alone; declare format='yyyy-MM-dd' to read its midnight: "),
    *(
        ({"event_time": v}, f"event_time{FINER}{v}")
        for v in ("2026-03-01T10:00:00.123456789Z", "2026-03-01T10:00:00.1234567Z")
    ),
    ({"arrival_time": "noon"}, f"arrival_time{ISO}noon"),
    *(
        ({"event_time": v}, f"event_time is before 2000: {v}")
        for v in ("1999-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
    ),
    ({"arrival_time": "1999-12-31T00:00:00Z", "event_time": "2000-01-01T00:00:00Z"}, "arrival_time is before 2000"),
    ({"event_time": "2026-03-02T10:00:05.000001Z"}, FAR),
    ({"arrival_time": "2026-03-11T00:00:00.000001Z"}, UNBORN),
    ({"arrival_time": "9999-03-11T00:00:00Z"}, UNBORN),
    ({"event_time": "9999-12-31T00:00:00Z"}, FAR),
    *(
        ({"amount": v}, "amount is not finite")
        for v in ("NaN", "nan", "Infinity", "-Infinity", "inf", *map(Bare, ("NaN", "Infinity", "-Infinity")))
    ),
    *(({"score": v}, "score is not finite") for v in ("NaN", Bare("NaN"), Bare("-Infinity"))),
    *(
        ({"amount": v}, "amount has more than 2 decimals")
        for v in ("1.001", Bare("0.005"), "1e-3", "1.0000000000000000001", Bare("1e-20"), "0.4e-18", "-5e-30")
    ),
    *(
        ({"amount": v}, "amount is too large")
        for v in ("10000000000000.01", "-10000000000000.01", Bare("1e14"), "1e99", "1e400", "9" * 30)
    ),
    *(
        ({"amount": v}, "amount is not of kind decimal")
        for v in ("12,50", "12.50 EUR", "", ".", "0x1F", "1_000", "1e4000", "--1", True, {}, {"a": 1}, [], [1])
    ),
    *(
        ({"quantity": v}, "quantity is not of kind integer")
        for v in (2**63, -(2**64), 10**19, 1.5, Bare("1.0"), "1e3", "five", "", True, [1], {"n": 1})
    ),
    *(({"quantity": v}, "quantity is too large") for v in (10**15 + 1, -(10**15) - 1, "999999999999999999")),
    *(({"score": v}, "score is not of kind double") for v in ("half", "1e4000", "", False, [1.5])),
    *(({"score": v}, "score is too large") for v in ("1e309", "-1.8e308")),
    *(({"flag": v}, "flag is not of kind boolean") for v in (1, 0, "yes", "True", "", [True])),
    *(({"seen": v}, f"seen{ISO}{v}") for v in ("later", "")),
    ({"seen": 5}, f"seen{UNIT}5"),
    ({"seen": "2026-03-01T10:00:00.0000001Z"}, f"seen{FINER}2026"),
    *(({"plan": v}, "plan is not one of the declared choices") for v in ("gold", "Free", "free ", "", 1)),
]
NO_OBJECTS = [
    "",
    " ",
    "hello",
    "null",
    "42",
    '"text"',
    "[]",
    "[1]",
    f"[{payload()}]",
    payload()[:-1],
    payload()[:-20],
    payload()[1:],
    payload() + payload(event_id="e2"),
    payload() + "," + payload(event_id="e2"),
    payload() + "],[" + payload(event_id="e2"),
    payload() + " and more",
    payload()[:-1] + ',"n":}',
    "{" + payload() + "}",
    "\x00",
]


def test_everything_that_can_be_wrong_with_a_member_is_refused_with_its_reason(spark: SparkSession) -> None:
    found = judged(spark, [payload(**changes) for changes, _ in REFUSED])
    wrong = [
        (changes, reason, row["reason"])
        for (changes, reason), row in zip(REFUSED, found, strict=True)
        if not (row["reason"] or "").startswith(reason)
    ]
    assert wrong == []


def test_what_is_not_exactly_one_json_object_is_refused_and_kept_as_it_came(spark: SparkSession) -> None:
    found = judged(spark, NO_OBJECTS)
    assert [(row["payload"], row["reason"]) for row in found] == [(p, "not a JSON object") for p in NO_OBJECTS]


def test_a_payload_that_is_null_is_refused(spark: SparkSession) -> None:
    [row] = admit(frame(spark, [None]), CLICKS).collect()
    assert row["reason"] == "no payload"


BROKER_TIME = datetime(2026, 3, 1, 10, 0, 7, tzinfo=UTC)


def test_the_transports_id_and_arrival_count_only_where_the_source_names_none(spark: SparkSession) -> None:
    raw = frame(spark, [payload()], "from-header", BROKER_TIME)
    [declared] = admit(raw, CLICKS).toArrow().to_pylist()
    [left_open] = admit(raw, replace(CLICKS, event_id=None, arrival_time=None)).toArrow().to_pylist()
    assert (declared["event_id"], declared["arrival_time"]) == ("e1", datetime(2026, 3, 1, 10, 0, 5, tzinfo=UTC))
    assert (left_open["event_id"], left_open["arrival_time"]) == ("from-header", BROKER_TIME)


def test_without_a_transport_that_knows_them_the_content_is_the_id_and_the_event_time_the_arrival(
    spark: SparkSession,
) -> None:
    [row] = judged(spark, [payload()], replace(CLICKS, event_id=None, arrival_time=None))
    assert len(row["event_id"]) == 32
    assert row["arrival_time"] == row["event_time"]


def test_a_transport_without_a_clock_is_refused(spark: SparkSession) -> None:
    raw = frame(spark, [payload()], arrival=datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
    [row] = admit(raw, replace(CLICKS, arrival_time=None)).collect()
    assert row["reason"] == "the transport's time is before 2000"


def test_a_row_keeps_its_place_whatever_becomes_of_it(spark: SparkSession) -> None:
    found = judged(spark, [payload(), "not JSON"])
    assert [(row["__origin"], row["__position"]) for row in found] == [("a file", 0), ("a file", 1)]


def test_a_field_may_have_any_name_that_is_not_reserved(spark: SparkSession) -> None:
    names = ("value", "r", "utf8", "json", "given_id", "origin", "position", "now", "clock", "time")
    source = event_source("odd", fields=[text(name) for name in names])
    event = {"event_id": "e", "event_time": "2026-03-01T00:00:00Z", "arrival_time": "2026-03-01T00:00:00Z"}
    [row] = judged(spark, [json.dumps(event | {name: name for name in names})], source)
    assert row["reason"] is None and {name: row[name] for name in names} == {name: name for name in names}


def test_a_reason_quotes_no_more_than_a_readable_piece_of_the_payload(spark: SparkSession) -> None:
    [row] = judged(spark, [payload(amount="x" * 10_000)])
    assert row["reason"] == "amount is not of kind decimal: " + "x" * 80


def test_bytes_that_are_not_utf_8_are_refused_and_their_neighbours_pass(spark: SparkSession, tmp_path: Path) -> None:
    lines = [
        payload().encode(),
        payload(user="Zoë 😀").encode(),
        payload(user="Zoë").encode("latin-1"),
        payload().encode().replace(b"ann", b"\xff\xfe"),
        payload().encode().replace(b"ann", b"\xc3"),
        payload().encode().replace(b"ann", b"\xed\xa0\x80"),
        payload(extra="x").encode().replace(b'"x"', b'"\xff"'),
        b"\xff\xfe\xff",
        b"",
        payload(event_id="last").encode(),
    ]
    file = tmp_path / "bytes.jsonl"
    file.write_bytes(b"\n".join(lines))
    rest = (f"CAST(NULL AS {kind}) AS {name}" for name, kind in map(str.split, ROW.split(", ")[1:]))
    raw = spark.read.format("text").option("lineSep", "\n").load(str(file)).selectExpr("value", *rest)
    found = admit(raw.withColumn("admitted_at", F.lit(NOW)), CLICKS).toArrow().to_pylist()
    bad = "not UTF-8"
    assert [row["reason"] for row in found] == [None, None, *[bad] * 6, "not a JSON object", None]
    assert [row["user"] for row in found][:2] == ["ann", "Zoë 😀"]


PASSED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"event_id": "e1", "user": "ann", "event_time": at(2026, 3, 1, 10), "arrival_time": at(2026, 3, 1, 10, 0, 5)}),
    ({"extra": {"nested": [1, {"deep": None}]}, "Amount": "x"}, {"amount": None}),
    *(
        ({"event_time": spelled}, {"event_time": at(2026, 3, 1, 10)})
        for spelled in (
            "2026-03-01T12:00:00+02:00",
            "2026-03-01T04:30:00-05:30",
            "2026-03-01T10:00:00",
            "2026-03-01 10:00",
            "2026-03-01T10:00:00.0Z",
            "2026-03-01T10:00:00.000000+00:00",
            "2026-03-01 10:00:00.000000000+0000",
            "2026-03-01T15:00+05",
        )
    ),
    ({"event_time": "2026-03-01T10:00:00.000001Z"}, {"event_time": at(2026, 3, 1, 10, 0, 0, 1)}),
    ({"event_time": "2000-01-01T00:00:00Z"}, {"event_time": at(2000, 1, 1), "late": True}),
    ({"arrival_time": "2026-03-11T00:00:00Z"}, {"arrival_time": at(2026, 3, 11)}),
    ({"event_time": "2026-03-02T10:00:05Z"}, {"event_time": at(2026, 3, 2, 10, 0, 5), "late": False}),
    ({"event_time": "2026-03-01T09:00:05Z"}, {"late": False}),
    ({"event_time": "2026-03-01T09:00:04.999999Z"}, {"late": True}),
    *(
        ({"amount": spelled}, {"amount": Decimal("12.50")})
        for spelled in ("12.50", "12.5", "+12.5", "12.500000000000", Bare("12.50"), "1.25e1", Bare("1250e-2"), 12.5)
    ),
    ({"amount": Bare("0.1e-1")}, {"amount": Decimal("0.01")}),
    ({"amount": "-.05"}, {"amount": Decimal("-0.05")}),
    ({"amount": "0e-10"}, {"amount": Decimal("0.00")}),
    ({"amount": Bare("-0.00")}, {"amount": Decimal("0.00")}),
    ({"amount": "10000000000000.00"}, {"amount": Decimal("10000000000000.00")}),
    ({"amount": "-1e13"}, {"amount": Decimal("-10000000000000.00")}),
    ({"amount": Bare("9007199254740.93")}, {"amount": Decimal("9007199254740.93")}),
    ({"amount": None, "quantity": None, "score": None, "flag": None, "seen": None, "plan": None}, {"amount": None}),
    ({"quantity": 10**15}, {"quantity": 10**15}),
    ({"quantity": "-1000000000000000"}, {"quantity": -(10**15)}),
    ({"quantity": "+007"}, {"quantity": 7}),
    ({"score": Bare("0.1")}, {"score": 0.1}),
    ({"score": "-1e99"}, {"score": -1e99}),
    ({"score": Bare("1.7976931348623157e308")}, {"score": 1.7976931348623157e308}),
    ({"score": Bare("5e-324")}, {"score": 5e-324}),
    ({"score": 5}, {"score": 5.0}),
    ({"flag": True}, {"flag": True}),
    ({"flag": "false"}, {"flag": False}),
    ({"seen": "1969-12-31T23:59:59.999999Z"}, {"seen": at(1969, 12, 31, 23, 59, 59, 999999)}),
    ({"plan": "paid"}, {"plan": "paid"}),
    ({"user": " Ann\t\"Q\" \\ 'x' Zoë 😀\n"}, {"user": " Ann\t\"Q\" \\ 'x' Zoë 😀\n"}),
    ({"user": 5}, {"user": "5"}),
]


def test_what_is_odd_but_right_passes_with_its_exact_values(spark: SparkSession) -> None:
    found = judged(spark, [payload(**changes) for changes, _ in PASSED])
    wrong = []
    for (changes, expected), row in zip(PASSED, found, strict=True):
        got = {name: row[name] for name in expected}
        if row["reason"] is not None or got != expected:
            wrong.append((changes, row["reason"], got))
    assert wrong == []


DECLARED = event_source(
    "clicks",
    fields=[text("user"), timestamp("seen", format="dd/MM/yyyy HH:mm", zone="Europe/Berlin")],
    event_time=timestamp("ts", unit="ms"),
    arrival_time=timestamp("sent", unit="ns", truncate=True),
)


def test_times_are_read_as_the_source_declares_them(spark: SparkSession) -> None:
    good = {"event_id": "e", "ts": 1772359200001, "sent": "1772359205000000999", "seen": "25/10/2026 02:30"}
    changes: list[dict[str, Any]] = [
        {},
        {"ts": "1772359200001.5"},
        {"ts": "2026-03-01T10:00:00Z"},
        {"ts": "1772359200000.0001"},
        {"sent": None},
        {"seen": "2026-10-25T00:30:00Z"},
        {"seen": None},
    ]
    found = judged(spark, [payload(**{**good, **each}) for each in changes], DECLARED)
    assert [row["reason"] for row in found] == [
        None,
        None,
        "ts is a text and not a number; declare it without unit: 2026-03-01T10:00:00Z",
        f"ts{FINER}1772359200000.0001",
        "sent is missing",
        "seen is in ISO-8601; declare it without format: 2026-10-25T00:30:00Z",
        None,
    ]
    first, second, *_ = found
    assert first["event_time"] == at(2026, 3, 1, 10, 0, 0, 1000)
    assert first["arrival_time"] == at(2026, 3, 1, 10, 0, 5)
    assert first["seen"] == at(2026, 10, 25, 0, 30)
    assert second["event_time"] == at(2026, 3, 1, 10, 0, 0, 1500)


def test_without_an_arrival_time_an_event_arrives_when_it_happens(spark: SparkSession) -> None:
    [row] = judged(spark, [payload(arrival_time=...)], EventSource("clicks", FIELDS, arrival_time=None))
    assert (row["reason"], row["arrival_time"], row["late"]) == (None, row["event_time"], False)


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_no_payload_stops_the_job_whatever_the_session_does_about_errors(spark: SparkSession, ansi: str) -> None:
    before = spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        found = judged(spark, [payload(amount="1e99"), payload(quantity=10**30), payload(event_time="x"), "{"])
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)
    assert all(row["reason"] for row in found)


def test_a_message_without_payload_is_skipped_by_a_source_of_changes_and_refused_by_any_other(
    spark: SparkSession,
) -> None:
    changed = replace(CLICKS, changes=Changes("user"))
    rows = admit(frame(spark, [None, payload(), "[]"]), changed).toArrow().to_pylist()
    assert [(row["__skipped"], row["reason"], row["user"]) for row in rows] == [
        (True, None, None),
        (False, None, "ann"),
        (False, "not a JSON object", None),
    ]
    [tombstone] = admit(frame(spark, [None]), CLICKS).toArrow().to_pylist()
    assert tombstone["reason"] == "no payload"
