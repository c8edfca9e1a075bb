"""The one parser of instants: what users write, in every container, and what is refused."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualpath.errors import InputError
from dualpath.instants import parse

NOON = 1_772_625_600_000_000
"""2026-03-04 12:00 UTC."""


class Foreign:
    """A datetime of another library, which knows how to spell itself."""

    def isoformat(self) -> str:
        return "2026-03-04T13:00:00+01:00"


@pytest.mark.parametrize(
    "written",
    [
        datetime(2026, 3, 4, 12),
        datetime(2026, 3, 4, 12, tzinfo=UTC),
        datetime(2026, 3, 4, 13, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 3, 4, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        pd.Timestamp("2026-03-04 12:00"),
        pd.Timestamp("2026-03-04 07:00", tz="America/New_York"),
        np.datetime64("2026-03-04T12:00"),
        np.datetime64("2026-03-04T12:00:00.000000999"),
        pa.scalar(datetime(2026, 3, 4, 12)),
        Foreign(),
        "2026-03-04T12:00:00Z",
        "2026-03-04 12:00",
        "2026-03-04T12",
        "20260304T120000Z",
        "2026-W10-3T12:00:00",
        "2026-03-04T17:30:00.000000999+0530",
        "2026-03-04T11:00:00,0-01:00",
    ],
    ids=repr,
)
def test_an_instant_is_a_datetime_of_any_library_or_iso_text(written: Any) -> None:
    assert parse([written]).tolist() == [NOON]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (NOON, "is a number, whose unit would be a guess"),
        (1.5, "is a number"),
        (True, "is a number"),
        (np.int64(5), "is a number"),
        (np.timedelta64(5, "s"), "is a number"),
        (None, "the instant is missing"),
        (pd.NaT, "the instant is missing"),
        (pd.NA, "the instant is missing"),
        (float("nan"), "the instant is missing"),
        (np.float32("nan"), "the instant is missing"),
        (np.datetime64("NaT"), "the instant is missing"),
        ("04.03.2026 12:00", "'04.03.2026 12:00' is not ISO-8601"),
        ("2026-03-04 12:00 PST", "is not ISO-8601"),
        ("2026-03-04-12:00", "is not ISO-8601"),
        ("2026-03-04x12:00", "is not ISO-8601"),
        ("2026-02-30", "is not ISO-8601"),
        ("2026-03-04T25:00", "is not ISO-8601"),
        ("", "is not ISO-8601"),
        ("now", "is not ISO-8601"),
        (" 2026-03-04", "is not ISO-8601"),
        ("\uff12\uff10\uff12\uff16-03-04", "is not ISO-8601"),
        (time(12), "is not ISO-8601"),
        (b"2026-03-04", "a bytes is no instant"),
        ([NOON], "a list is no instant"),
        ("0001-01-01T00:00+01:00", "lies outside the years 1 to 9999"),
        ("9999-12-31T23:59:59-01:00", "lies outside the years 1 to 9999"),
        (np.datetime64("20000-01-01"), "lies outside the years 1 to 9999"),
        (np.datetime64(300_000, "Y"), "lies outside the years 1 to 9999"),
    ],
    ids=repr,
)
def test_what_is_missing_or_ambiguous_is_refused_by_its_row(written: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        parse([datetime(2026, 3, 4), written], "seen_at")
    assert refused.value.message.startswith("seen_at, row 1: ")
    assert said in refused.value.message
    assert refused.value.message.endswith("or ISO-8601 text like 2026-03-04T12:00:00Z.")


MIXED = ["2026-03-04T12:00:00Z", datetime(2026, 3, 4, 12), pd.Timestamp("2026-03-04 13:00", tz="Europe/Berlin")]


@pytest.mark.parametrize(
    "column",
    [
        MIXED,
        tuple(MIXED),
        pd.Series(MIXED, dtype=object, index=[7, 7, 9]),
        np.array(MIXED, dtype=object),
        pd.Series(["2026-03-04 12:00", "2026-03-04T12:00:00Z", "20260304T12"]),
        pd.Series(["2026-03-04 12:00"] * 3, dtype="category"),
        pd.Series(["2026-03-04 12:00"] * 3, dtype="string"),
        *(pd.Series(pd.DatetimeIndex(["2026-03-04 12:00"] * 3).as_unit(unit)) for unit in ("s", "ms", "us", "ns")),
        pd.Series(pd.DatetimeIndex(["2026-03-04 13:00"] * 3, tz="Europe/Berlin")),
        pd.DatetimeIndex(["2026-03-04 13:00"] * 3, tz="Europe/Berlin"),
        *(pa.array([datetime(2026, 3, 4, 12)] * 3, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.chunked_array([pa.array([datetime(2026, 3, 4, 12, tzinfo=UTC)] * 3, pa.timestamp("us", "Asia/Tokyo"))]),
        pd.Series([datetime(2026, 3, 4, 12)] * 3, dtype=pd.ArrowDtype(pa.timestamp("ns"))),
    ],
    ids=lambda column: f"{type(column).__name__} {getattr(column, 'dtype', getattr(column, 'type', ''))}",
)
def test_every_column_says_the_same(column: Any) -> None:
    assert parse(column).tolist() == [NOON] * 3


def test_dates_are_their_first_moment() -> None:
    midnight = NOON - 12 * 3_600_000_000
    assert parse([date(2026, 3, 4), "2026-03-04"]).tolist() == [midnight] * 2
    assert parse(pa.array([date(2026, 3, 4)])).tolist() == [midnight]


def test_what_is_finer_than_a_microsecond_is_cut_towards_the_past() -> None:
    before = "1969-12-31T23:59:59.9999999"
    assert parse([before + "Z", np.datetime64(before), pd.Timestamp(before)]).tolist() == [-1, -1, -1]
    assert parse(pd.Series([pd.Timestamp(before)])).tolist() == [-1]
    assert parse(pa.array([-1], pa.timestamp("ns"))).tolist() == [-1]


@pytest.mark.parametrize(
    "column", [pd.Series([pd.Timestamp("2026-03-04"), pd.NaT]), pa.array([0, None], pa.timestamp("us"))]
)
def test_a_column_with_a_missing_instant_is_refused_by_its_row(column: Any) -> None:
    with pytest.raises(InputError, match="event_timestamp, row 1: the instant is missing"):
        parse(column)


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_text_and_datetime_are_one_instant(when: datetime) -> None:
    offset = when.utcoffset()
    exact = when.replace(tzinfo=UTC) - (offset or timedelta())  # a zone of old has an offset of odd seconds
    expected = (exact - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse([when]).tolist() == [expected]
    if offset is None or not offset.seconds % 60:
        assert parse([when.isoformat()]).tolist() == parse([when.isoformat(" ")]).tolist() == [expected]
