"""The clocks of devices: admission and preview correct and judge a time alike, to the microsecond."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.aggregates import Max
from dualpath.clock import Future
from dualpath.declare import event_source
from dualpath.errors import InputError
from dualpath.instants import parse
from dualpath.preview import preview
from dualpath.schema import EventSource, text, timestamp
from dualpath.spark.admit import admit
from dualpath.view import Feature, View
from dualpath.windows import lifetime

TAPS = event_source("taps", fields=[text("user")], sent_at="sent_at")
DERIVED = replace(TAPS, event_id=None, arrival_time=None)
NOW = datetime(2026, 3, 10, tzinfo=UTC)
ROW = "value string, event_id string, arrival_time timestamp, origin string, position bigint, refusal string"
GOOD = {
    "event_id": "e1",
    "user": "ann",
    "event_time": "2026-03-01T10:00:00.000001Z",
    "sent_at": "2026-03-01T10:00:05Z",
    "arrival_time": "2026-03-02T12:00:05.000002Z",
}


def frame(spark: SparkSession, events: Iterable[dict[str, Any]], arrival: datetime | None = None) -> DataFrame:
    rows = [(json.dumps(event), None, arrival, "a file", at, None) for at, event in enumerate(events)]
    return spark.createDataFrame(rows, ROW).coalesce(1).withColumn("admitted_at", F.lit(NOW))


def judged(spark: SparkSession, source: EventSource, *events: dict[str, Any]) -> list[dict[str, Any]]:
    return admit(frame(spark, events), source).toArrow().to_pylist()


def test_a_time_is_corrected_by_how_wrong_the_clock_was_when_the_event_was_sent(spark: SparkSession) -> None:
    reset = {"event_time": "1970-01-01T00:00:07.5Z", "sent_at": "1970-01-01T00:00:10Z"}
    ahead = {"event_time": "2031-01-01T00:00:00Z", "sent_at": "2031-01-01T00:00:00.000001Z"}
    found = judged(spark, TAPS, GOOD, GOOD | reset, GOOD | ahead)
    arrival = datetime(2026, 3, 2, 12, 0, 5, 2, UTC)
    assert [(row["reason"], row["event_time"], row["arrival_time"]) for row in found] == [
        (None, datetime(2026, 3, 2, 12, 0, 0, 3, UTC), arrival),
        (None, arrival - timedelta(seconds=2.5), arrival),
        (None, arrival - timedelta(microseconds=1), arrival),
    ]


def test_a_time_that_cannot_be_corrected_is_refused_with_its_reason(spark: SparkSession) -> None:
    refused = {
        "sent_at is missing": {"sent_at": None},
        "sent_at is not an ISO-8601 instant: noon": {"sent_at": "noon"},
        "event_time is missing": {"event_time": None, "sent_at": None},
        "event_time, corrected by sent_at, is before 2000": {"sent_at": "2099-01-01T00:00:00Z"},
        "event_time, corrected by sent_at, is more than 1 day after the arrival": {
            "event_time": "2026-03-01T10:00:00.000001Z",
            "sent_at": "2026-02-28T10:00:00Z",
        },
    }
    found = judged(spark, TAPS, *(GOOD | changes for changes in refused.values()))
    assert [row["reason"] for row in found] == list(refused)
    assert {row["event_time"] for row in found} == {None}


def test_without_an_arrival_nothing_can_be_corrected(spark: SparkSession) -> None:
    [alone] = judged(spark, DERIVED, GOOD)
    assert alone["reason"] == "no arrival is known, so sent_at cannot correct event_time"
    given = datetime(2026, 3, 1, 11, 0, 5, tzinfo=UTC)
    [carried] = admit(frame(spark, [GOOD], given), DERIVED).toArrow().to_pylist()
    assert carried["event_time"] == datetime(2026, 3, 1, 11, 0, 0, 1, UTC)


def test_a_message_that_comes_again_has_the_same_id_whenever_it_was_sent_and_arrived(spark: SparkSession) -> None:
    source = replace(TAPS, event_id=None, future=Future(timedelta(0), "arrival"))
    again = GOOD | {"sent_at": "2026-03-05T10:00:05Z", "arrival_time": "2026-03-05T13:00:00Z"}
    other = GOOD | {"event_time": "2026-03-01T10:00:00.000002Z"}
    ids = [row["event_id"] for row in judged(spark, source, GOOD, again, other)]
    plain = replace(source, sent_at=None, future=Future())
    assert ids[0] == ids[1] != ids[2]
    assert ids == [row["event_id"] for row in judged(spark, plain, GOOD, again, other)]


EDGE = timedelta(hours=2)
FAR = "event_time is more than 2 hours after the arrival"


def late_clock(ahead: timedelta) -> dict[str, Any]:
    time = datetime(2026, 3, 2, 12, 0, 5, 2, UTC) + ahead
    return GOOD | {"event_time": time.isoformat()}


def test_an_event_of_the_future_is_kept_up_to_the_tolerance_and_beyond_refused_or_moved(spark: SparkSession) -> None:
    refusing = replace(TAPS, sent_at=None, future=Future(EDGE))
    events = [late_clock(EDGE), late_clock(EDGE + timedelta(microseconds=1))]
    kept, refused = judged(spark, refusing, *events)
    arrival = datetime(2026, 3, 2, 12, 0, 5, 2, UTC)
    assert (kept["event_time"], kept["reason"], refused["reason"]) == (arrival + EDGE, None, FAR)
    kept, moved = judged(spark, replace(refusing, future=Future(EDGE, "arrival")), *events)
    assert (kept["event_time"], moved["event_time"]) == (arrival + EDGE, arrival)
    assert (moved["reason"], moved["late"]) == (None, False)
    assert moved["event_id"] == "e1"


def random_event(random: Random, at: int) -> dict[str, Any]:
    """An event whose three times are anywhere in a week, some at a distance of a tolerance, some far away."""
    day = 86_400_000_000
    arrival = 1_772_000_000_000_000 + random.randrange(7 * day)
    sent = random.choice((arrival, arrival + random.randrange(-day, day), random.randrange(day)))
    ahead = random.choice((-random.randrange(day), 0, 1, 7_200_000_000, 7_200_000_001, random.randrange(day)))
    times = {"event_time": sent + ahead, "sent_at": sent, "arrival_time": arrival}
    return {"event_id": f"e{at}", "user": f"u{at}"} | times


@pytest.mark.parametrize("beyond", ["refuse", "arrival"])
@pytest.mark.parametrize("corrects", [True, False])
def test_preview_and_admission_say_the_same_time_to_the_microsecond(
    spark: SparkSession, beyond: str, corrects: bool
) -> None:
    fields = [text("user"), timestamp("device", path="event_time", unit="us")]
    source = event_source(
        "taps",
        fields=fields,
        **{name: timestamp(name, unit="us") for name in ("event_time", "arrival_time")},
        sent_at=timestamp("sent_at", unit="us") if corrects else None,
        future=Future(EDGE, beyond),
    )
    view = View("taps", ("user",), source, (Feature("at", Max("event_time"), lifetime()),))
    random = Random(7)
    for at, row in enumerate(judged(spark, source, *(events := [random_event(random, n) for n in range(200)]))):
        event = events[at] if corrects else {k: v for k, v in events[at].items() if k != "sent_at"}
        if "is before 2000" in (row["reason"] or ""):
            continue
        if row["reason"]:
            assert row["reason"].endswith("is more than 2 hours after the arrival")
            with pytest.raises(InputError, match="it happens more than 2 hours after its arrival"):
                preview(view, [event], NOW)
        else:
            [answer] = preview(view, [event], datetime(2027, 1, 1))
            assert answer["at"] == parse([row["event_time"]])[0]
            assert row["device"] == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["event_time"])


def test_a_preview_of_an_event_that_cannot_be_corrected_says_what_is_missing() -> None:
    view = View("v", ("user",), TAPS, (Feature("at", Max("event_time"), lifetime()),))
    sentence = "event 0: it has no sent_at, by which 'taps' corrects its time; write it."
    with pytest.raises(InputError) as refusal:
        preview(view, [{name: value for name, value in GOOD.items() if name != "sent_at"}], NOW)
    assert refusal.value.message == sentence


def test_a_source_keeps_its_clocks_in_the_registry_and_a_plain_one_says_nothing_of_them() -> None:
    told = event_source(
        "taps", fields=[], sent_at=timestamp("sent", path="context.sent", unit="ms"), future=Future(EDGE, "arrival")
    )
    assert EventSource.from_dict(json.loads(json.dumps(told.to_dict()))) == told
    assert told.members["sent_at"].place == ("context", "sent")
    assert not {"sent_at", "future"} & event_source("taps", fields=[]).to_dict().keys()
