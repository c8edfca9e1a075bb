"""Declared times: what each option reads and refuses, with the reason, and declarations that mean nothing."""

from datetime import UTC, datetime

import pytest

from dualpath.declare import event_source
from dualpath.errors import DeclarationError
from dualpath.schema import EventSource, text, timestamp
from dualpath.times import ISO, Time

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def read(time: Time, written: str) -> str | None:
    """The instant as ISO-8601 without its offset, UTC."""
    micros = time.micros(written)
    if micros is None:
        return None
    return datetime.fromtimestamp(micros // 10**6, UTC).replace(microsecond=micros % 10**6).isoformat()[:-6]


@pytest.mark.parametrize("separator", ["T", " "])
@pytest.mark.parametrize(
    "rest",
    ["10:00Z", "10:00", "10:00:00", "15:30:00+05:30", "15:30+0530", "15:00:00+05", "10:00:00.000000000Z", "09:00-01"],
)
def test_one_instant_in_every_spelling_of_iso_8601(separator: str, rest: str) -> None:
    assert ISO.micros(f"2026-03-01{separator}{rest}") == TEN.timestamp() * 10**6


@pytest.mark.parametrize(
    ("time", "written", "instant"),
    [
        (ISO, "2026-03-01T10:00:00.123456000Z", "2026-03-01T10:00:00.123456"),
        (Time(truncate=True), "2026-03-01T10:00:00.123456789Z", "2026-03-01T10:00:00.123456"),
        (Time(truncate=True), "1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999"),
        (Time(unit="s"), "1772359200", "2026-03-01T10:00:00"),
        (Time(unit="s"), "1772359200.123", "2026-03-01T10:00:00.123000"),
        (Time(unit="s"), "1.772359200123E9", "2026-03-01T10:00:00.123000"),
        (Time(unit="ms"), "1772359200001", "2026-03-01T10:00:00.001000"),
        (Time(unit="us"), "1772359200000001", "2026-03-01T10:00:00.000001"),
        (Time(unit="ns"), "1772359200000001000", "2026-03-01T10:00:00.000001"),
        (Time(unit="ns", truncate=True), "1772359200000001999", "2026-03-01T10:00:00.000001"),
        (Time(unit="ns", truncate=True), "-1", "1969-12-31T23:59:59.999999"),
        # As a double, this would be 9007199254740.992.
        (Time(unit="ms"), "9007199254740.993", "2255-06-05T23:47:34.740993"),
        (Time(format="dd/MM/yyyy HH:mm:ss"), "01/03/2026 10:00:00", "2026-03-01T10:00:00"),
        (Time(format="d.M.yyyy"), "1.3.2026", "2026-03-01T00:00:00"),
        (Time(format="yyyyMMddHHmmssSSS"), "20260301100000123", "2026-03-01T10:00:00.123000"),
        (Time(format="yyyy-MM-dd 'o''clock' HH X"), "2026-03-01 o'clock 12 +02", "2026-03-01T10:00:00"),
        (Time(format="yyyy.MM.dd", zone=NEW_YORK), "2026.03.01", "2026-03-01T05:00:00"),
    ],
)
def test_an_option_reads_what_it_says_exactly(time: Time, written: str, instant: str) -> None:
    assert read(time, written) == instant


@pytest.mark.parametrize(
    ("zone", "written", "instant"),
    [
        (BERLIN, "2026-03-29T01:59:59", "2026-03-29T00:59:59"),
        (BERLIN, "2026-03-29T02:30:00", "2026-03-29T01:30:00"),  # skipped: half past three
        (BERLIN, "2026-03-29T03:30:00", "2026-03-29T01:30:00"),
        (BERLIN, "2026-10-25T02:30:00", "2026-10-25T00:30:00"),  # twice: the first
        (BERLIN, "2026-10-25T03:00:00", "2026-10-25T02:00:00"),
        (NEW_YORK, "2026-03-08T02:30:00", "2026-03-08T07:30:00"),
        (NEW_YORK, "2026-11-01T01:30:00", "2026-11-01T05:30:00"),
        (BERLIN, "2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00"),  # an offset says which
    ],
)
def test_a_clock_that_changes_is_read_as_the_first_instant_and_moved_over_a_gap(
    zone: str, written: str, instant: str
) -> None:
    assert read(Time(zone=zone), written) == instant


@pytest.mark.parametrize(
    ("time", "written", "reason"),
    [
        (ISO, "1772359200", "is a number; declare its unit, one of s, ms, us, ns"),
        (ISO, "1.7e9", "is a number; declare its unit"),
        (ISO, "2026-03-01T10:00:00.1234567Z", "is finer than a microsecond; declare truncate=True"),
        (ISO, "2026-02-30T10:00:00.123456Z", "is not an ISO-8601 instant"),
        (ISO, "2026-03-01", "is a date alone; declare format='yyyy-MM-dd'"),
        (ISO, "2026-03-01T24:00:00Z", "is not an ISO-8601 instant"),
        (ISO, "2026-06-30T23:59:60Z", "is not an ISO-8601 instant"),
        (ISO, "0001-01-01T00:00:00+01:00", "is not an ISO-8601 instant"),
        (Time(unit="s"), "NaN", "is not a number in s since 1970"),
        (Time(unit="s"), "1772359200.0000001", "is finer than a microsecond; declare truncate=True"),
        (Time(unit="ns"), "1", "is finer than a microsecond; declare truncate=True"),
        (Time(unit="s"), "253402300800", "lies outside the years 1 to 9999"),
        (Time(unit="s"), "1e19", "lies outside the years 1 to 9999"),
        (Time(unit="s"), "1772359200." + "0" * 19, "is not a number in s since 1970"),
        (Time(unit="ms"), "2026-03-01T10:00:00Z", "is a text and not a number; declare it without unit"),
        (Time(format="d.M.yyyy"), "2026-03-01T10:00:00Z", "is in ISO-8601; declare it without format"),
        (Time(format="d.M.yyyy"), "31.2.2026", "is not of the format d.M.yyyy"),
        (Time(format="yyyyMMdd HHmmss.SSSSSSSSS"), "20260301 100000.123456789", "is finer than a microsecond"),
    ],
)
def test_what_is_not_read_is_refused_and_the_option_named_that_would_read_it(
    time: Time, written: str, reason: str
) -> None:
    assert time.micros(written) is None
    assert time.refusal(written).startswith(reason)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"unit": "min"}, "timestamp 'at': unit='min' is none of s, ms, us, ns"),
        ({"unit": "s", "zone": BERLIN}, "a number since 1970 has no zone and no format"),
        ({"unit": "s", "format": "yyyy"}, "a number since 1970 has no zone and no format"),
        ({"zone": "Europe/Bonn"}, "unknown time zone 'Europe/Bonn'"),
        ({"format": "yyyy-MM-dd'T'HH:mm:ssXXX", "zone": BERLIN}, "has an offset, so no zone counts"),
        ({"format": "yyyy-MM-dd hh:mm"}, "'hh' is none of yyyy, M, MM,"),
        ({"format": "yy-MM-dd"}, "'yy' is none of"),
        ({"format": "yyyy-MMM-dd"}, "'MMM' is none of"),
        ({"format": "yyyy-MM-dd SSSSSSSSSS"}, "'SSSSSSSSSS' is none of"),
        ({"format": "yyyy-MM-ddTHH"}, "'T' is none of"),
        ({"format": "yyyy-MM-dd 'at HH"}, "a single quote is not closed"),
        ({"format": "yyyy-MM-dd MM"}, "'M' is there twice"),
        ({"format": "yyyyMdd"}, "nothing says where 'M' ends; write it twice"),
        ({"format": "HH:mm"}, "there is no 'y'"),
        ({"format": "yyyy-MM-dd mm"}, "there is no 'H'"),
        ({"format": ""}, "there is no 'y'"),
        ({"unit": 5}, "unit=5 is a whole number"),
    ],
)
def test_a_time_that_means_nothing_cannot_be_declared(options: dict, sentence: str) -> None:
    with pytest.raises(DeclarationError) as refusal:
        timestamp("at", **options)
    assert sentence in str(refusal.value)


def test_a_source_keeps_how_its_times_are_written_and_one_of_plain_names_is_as_ever() -> None:
    fields = [text("user"), timestamp("seen", format="d.M.yyyy")]
    told = event_source("clicks", fields=fields, event_time=timestamp("ts", unit="ms"), arrival_time=None)
    assert (told.event_time, told.members["event_time"].time) == ("ts", Time(unit="ms"))
    assert EventSource.from_dict(told.to_dict()) == told and hash(told)
    plain = event_source("clicks", fields=[timestamp("seen")], event_time="ts").to_dict()
    assert "times" not in plain
    assert plain["fields"] == [{"name": "seen", "kind": "timestamp", "scale": 0, "required": False, "choices": ()}]
    assert told.to_dict() != event_source("clicks", fields=fields, event_time="ts", arrival_time=None).to_dict()


def test_a_time_named_like_a_field_is_written_as_the_field_says() -> None:
    source = event_source("clicks", fields=[timestamp("ts", unit="s")], event_time="ts")
    assert source.members["event_time"].time == Time(unit="s")


def test_a_time_of_another_kind_is_refused() -> None:
    with pytest.raises(DeclarationError, match="its time 'at' is of kind text; declare a timestamp"):
        event_source("clicks", fields=[], event_time=text("at"))
