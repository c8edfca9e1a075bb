"""Windows: every edge, and one microsecond on either side of it."""

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dualpath.aggregates import Count
from dualpath.errors import DeclarationError
from dualpath.parity import oracle
from dualpath.values import Dictionary
from dualpath.view import Feature, View
from dualpath.windows import (
    DAY,
    SECOND,
    UNITS,
    Window,
    calendar,
    days,
    edges,
    hours,
    lifetime,
    minutes,
    seconds,
    sliding,
    starts,
    today,
)
from parity_tests.events import records, values
from parity_tests.strategies import CLICKS, INSTANTS, RESOLUTIONS, WINDOWS, ZONES, at

NOW = at(2024, 3, 31, 12, 0, 0, 250_000)
BOUNDED = [w for w in WINDOWS if w.kind != "lifetime"]
CENTURY = [at(1999, 1, 1), at(2100, 1, 1), at(2099, 12, 1)]
NO_TEXTS = Dictionary.of([], [])


def counted(window: Window, time: int, as_of: int, resolution: int = 1) -> int:
    """How often a window counts one event."""
    view = View("v", ("user",), CLICKS, (Feature("n", Count(), window),), resolution)
    event = {"event_id": "e", "event_time": time, "user": "ann"}
    return values(view, records(view, [event])[1], [as_of], NO_TEXTS)["n"][0]


@pytest.mark.parametrize("window", BOUNDED, ids=str)
def test_the_left_edge_is_open(window: Window) -> None:
    left = int(edges((window,), np.array([NOW]))[0][0, 0])
    assert [counted(window, left + step, NOW) for step in (-1, 0, 1)] == [0, 0, 1]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("resolution", sorted(set(RESOLUTIONS)))
def test_the_right_edge_is_closed_and_exact_at_any_resolution(window: Window, resolution: int) -> None:
    if window.offset:
        resolution = 1
    right = NOW - window.offset
    before = 0 if window.width == 1 and resolution == 1 else 1
    assert [counted(window, right + step, NOW, resolution) for step in (-1, 0, 1)] == [before, 1, 0]


@pytest.mark.parametrize("window", [w for w in BOUNDED if not w.offset], ids=str)
@pytest.mark.parametrize("resolution", [SECOND, 60 * SECOND])
def test_a_coarse_left_edge_lies_before_the_first_microsecond_of_a_bucket(window: Window, resolution: int) -> None:
    exact = int(edges((window,), np.array([NOW]))[0][0, 0])
    first = (exact + 1) // resolution * resolution
    assert exact - resolution < first - 1 <= exact
    assert [counted(window, first + step, NOW, resolution) for step in (-1, 0, 1)] == [0, 1, 1]


@pytest.mark.parametrize("resolution", sorted(set(RESOLUTIONS)))
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_edges_are_those_of_the_oracle(window: Window, resolution: int) -> None:
    asked = [
        instant + step
        for instant in [*INSTANTS, *CENTURY]
        for step in (-DAY, -3600 * SECOND, -1, 0, 1, 3600 * SECOND, DAY)
    ]
    alone = [edges((window,), np.array([as_of]), resolution) for as_of in asked]
    left, right = (np.concatenate(sides) for sides in zip(*alone, strict=True))
    for row, as_of in enumerate(asked):
        expected_left, expected_right = oracle.edges(window, as_of, resolution)
        assert right[row, 0] == expected_right
        assert left[row, 0] == expected_left or window.kind == "lifetime"


def test_windows_are_computed_together_as_they_are_apart() -> None:
    asked = np.array(INSTANTS[::-1])
    together = edges(tuple(WINDOWS), asked)
    for column, window in enumerate(WINDOWS):
        for row, as_of in enumerate(asked):
            apart = edges((window,), np.array([as_of]))
            assert [side[row, column] for side in together] == [side[0, 0] for side in apart]


@pytest.mark.parametrize(
    ("window", "as_of", "start"),
    [
        (today(), at(2024, 2, 29, 23, 59, 59, 999_999), at(2024, 2, 29)),
        (today(), at(2024, 3, 1), at(2024, 3, 1)),
        (today("Europe/London"), at(2024, 3, 31, 12), at(2024, 3, 31)),
        (today("Europe/London"), at(2024, 3, 31, 23), at(2024, 3, 31, 23)),
        (today("Europe/London"), at(2024, 10, 27, 23, 59), at(2024, 10, 26, 23)),
        (today("America/New_York"), at(2024, 11, 4, 4, 59, 59), at(2024, 11, 3, 4)),
        (today("Asia/Kolkata"), at(2024, 3, 1, 18, 29, 59), at(2024, 2, 29, 18, 30)),
        (today("Asia/Kolkata"), at(2024, 3, 1, 18, 30), at(2024, 3, 1, 18, 30)),
        (today("Pacific/Apia"), at(2011, 12, 30, 9, 59), at(2011, 12, 29, 10)),
        (today("Pacific/Apia"), at(2011, 12, 30, 10), at(2011, 12, 30, 10)),
        (calendar("week"), at(2024, 3, 3, 23), at(2024, 2, 26)),
        (calendar("week", "Europe/London"), at(2024, 4, 1), at(2024, 3, 31, 23)),
        (calendar("week"), at(2021, 1, 2), at(2020, 12, 28)),
        (calendar("month"), at(2024, 2, 29, 12), at(2024, 2, 1)),
        (calendar("month", "America/New_York"), at(2024, 12, 1, 4), at(2024, 11, 1, 4)),
        (calendar("month"), at(2024, 1, 1), at(2024, 1, 1)),
        (today(), -1, -DAY),
    ],
)
def test_a_calendar_window_starts_at_the_last_local_midnight(window: Window, as_of: int, start: int) -> None:
    assert starts(window, np.array([as_of])).tolist() == [start]
    assert [counted(window, start + step, as_of) for step in (-1, 0)] == [0, 1]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/Sao_Paulo", (2018, 11, 4)),  # the clock skips midnight
        ("Asia/Beirut", (2024, 3, 31)),
        ("America/Havana", (2024, 11, 3)),  # and passes it twice
        ("Pacific/Apia", (2011, 12, 31)),
        ("Pacific/Kiritimati", (1995, 1, 1)),
        ("Australia/Lord_Howe", (2024, 10, 6)),  # by half an hour
    ],
)
def test_a_day_starts_at_the_first_microsecond_of_its_date(zone: str, day: tuple[int, int, int]) -> None:
    noon = int(datetime(*day, 12, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND
    start = int(starts(today(zone), np.array([noon]))[0])
    dates = [datetime.fromtimestamp(start // SECOND + step, ZoneInfo(zone)).date() for step in (-1, 0)]
    assert dates[0] < dates[1] == date(*day)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("zone", [*ZONES, "Antarctica/Troll", "Antarctica/Casey", "Antarctica/Vostok"])
def test_no_calendar_window_looks_further_back_than_it_says(unit: str, zone: str) -> None:
    window = calendar(unit, zone)
    midnights = starts(window, np.arange(at(1990, 1, 1), at(2030, 1, 1), DAY))
    assert np.diff(midnights).max() <= window.lookback


@pytest.mark.parametrize(("unit", "longest"), [("day", 1), ("week", 7), ("month", 31)])
def test_a_calendar_window_looks_no_further_back_than_its_unit_and_seven_hours(unit: str, longest: int) -> None:
    assert calendar(unit).lookback == longest * DAY + 7 * 3600 * SECOND


def test_the_lookback_counts_the_offset_and_the_bucket() -> None:
    window = minutes(30).before(hours(1))
    assert window.lookback == 5400 * SECOND
    features = (Feature("a", Count(), lifetime()), Feature("b", Count(), seconds(1)), Feature("c", Count(), window))
    assert View("v", ("user",), CLICKS, features).bounded_lookback == 5400 * SECOND
    assert View("v", ("user",), CLICKS, features[:2], 60 * SECOND).bounded_lookback == 61 * SECOND - 1
    assert View("v", ("user",), CLICKS, features[1:]).lookback == 5400 * SECOND
    unbounded = View("v", ("user",), CLICKS, features[:1])
    assert (unbounded.lookback, unbounded.bounded_lookback) == (None, 0)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_window_survives_json(window: Window) -> None:
    assert Window(**json.loads(json.dumps(window.to_dict()))) == window


def test_no_instants_have_no_edges() -> None:
    left, right = edges((today(), minutes(1)), np.array([], dtype=np.int64))
    assert left.shape == right.shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: minutes(0), "cannot hold an event; give a positive width"),
        (lambda: days(-1), "cannot hold an event; give a positive width"),
        (lambda: sliding(timedelta(microseconds=0.4)), "give a positive width"),
        (lambda: calendar("year"), "unknown calendar unit 'year'; use day, week, month"),
        (lambda: today("Mars/Olympus"), "unknown time zone 'Mars/Olympus'; use an IANA name"),
        (lambda: today("../etc"), "use an IANA name"),
        (lambda: today().before(days(1)), "only a sliding window can be offset"),
        (lambda: days(1).before(lifetime()), "only a sliding window can be offset"),
    ],
)
def test_a_window_that_cannot_work_says_why(make: Callable[[], Window], message: str) -> None:
    with pytest.raises(DeclarationError) as error:
        make().check()
    assert message in error.value.message
