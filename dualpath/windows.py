"""Windows: the span of event time that a feature looks at from `as_of`.

A window is `(left, right]`, open on the left and closed on the right, the way `ts > NOW() - INTERVAL
'30 minutes' AND ts <= NOW()` reads. This module is the only place that computes an edge.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import numpy as np

from dualpath.errors import DeclarationError
from dualpath.signature import declares
from dualpath.times import check_zone

SECOND = 1_000_000
DAY = 86_400 * SECOND
FOREVER = 2**62
"""Microseconds; 146,000 years, wider than any event log and safe to subtract from an instant."""

LONGER = 7 * 3600 * SECOND
CENTURY = (1999, 2099)
"""Years whose calendar is computed once. An instant outside them needs a table of its own."""

UNITS = {"day": DAY + LONGER, "week": 7 * DAY + LONGER, "month": 31 * DAY + LONGER}
"""Longest possible length of each calendar unit, microseconds: clocks go back by an hour or two (Antarctica/Troll),
and since 1970 never went back by more than seven (Antarctica/Vostok, 1994)."""


@declares
@dataclass(frozen=True)
class Window:
    """`kind` is sliding, calendar or lifetime; `width` and `offset` are microseconds.

    `offset` moves the whole window back: `(as_of - offset - width, as_of - offset]`.
    """

    kind: str
    width: int = FOREVER
    unit: str = ""
    zone: str = "UTC"
    offset: int = 0

    called: ClassVar[str] = "a window such as days(7)"

    @declares
    def before(self, offset: "Window | timedelta") -> "Window":
        """The same window as it stood one `offset` ago, for trends.

        >>> str(days(7).before(days(7)))
        'the 7 days that ended 7 days before'
        """
        return replace(self, offset=self.offset + window(offset).width)

    def check(self) -> None:
        """Raise `DeclarationError` if no event can be in the window, or it cannot be found in a calendar."""
        if self.kind == "calendar":
            if self.unit not in UNITS:
                raise DeclarationError(f"unknown calendar unit '{self.unit}'; use {', '.join(UNITS)}.")
            check_zone(self.zone)
        elif not 0 < self.width <= FOREVER:
            raise DeclarationError(f"a window of {spell(self.width)} cannot hold an event; give a positive width.")
        if self.offset and (self.kind != "sliding" or not 0 < self.offset < FOREVER):
            raise DeclarationError(f"only a sliding window can be offset, and by a sliding one; not {self.kind}.")

    @property
    def lookback(self) -> int | None:
        """How far before `as_of` the window can look, microseconds; None: over all time."""
        if self.kind == "lifetime":
            return None
        return self.offset + (UNITS[self.unit] if self.kind == "calendar" else self.width)

    def __str__(self) -> str:
        if self.kind == "lifetime":
            return "all time"
        if self.kind == "calendar":
            return f"this {self.unit} so far ({self.zone})" if self.unit != "day" else f"today ({self.zone})"
        if self.offset:
            return f"the {spell(self.width)} that ended {spell(self.offset)} before"
        return f"the last {spell(self.width)}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `Window(**d)` restores it."""
        return asdict(self)


@declares
def sliding(width: timedelta) -> Window:
    """The span of `width` that ends at `as_of`."""
    return Window("sliding", width // timedelta(microseconds=1))


def window(over: Window | timedelta) -> Window:
    """A window as it is, and a width as the sliding window of it.

    >>> str(window(timedelta(days=7)))
    'the last 7 days'
    """
    return sliding(over) if isinstance(over, timedelta) else over


def _last(n: float, unit: str) -> Window:
    try:
        return sliding(timedelta(**{unit: n}))
    except OverflowError:
        raise DeclarationError(f"{unit}({n}) is longer than any log of events; use lifetime().") from None


@declares
def seconds(n: float) -> Window:
    """The last `n` seconds."""
    return _last(n, "seconds")


@declares
def minutes(n: float) -> Window:
    """The last `n` minutes.

    >>> str(minutes(30))
    'the last 30 minutes'
    """
    return _last(n, "minutes")


@declares
def hours(n: float) -> Window:
    """The last `n` hours."""
    return _last(n, "hours")


@declares
def days(n: float) -> Window:
    """The last `n` times 24 hours."""
    return _last(n, "days")


@declares
def calendar(unit: str, zone: str = "UTC") -> Window:
    """From the start of the current local day, week (Monday) or month to `as_of`.

    The start itself belongs to the window: an event at midnight is of the new day.
    """
    return Window("calendar", width=UNITS.get(unit, 0), unit=unit, zone=zone)


@declares
def today(zone: str = "UTC") -> Window:
    """From local midnight to `as_of`."""
    return calendar("day", zone)


def lifetime() -> Window:
    """Everything up to `as_of`."""
    return Window("lifetime")


def edges(windows: tuple[Window, ...], as_of: np.ndarray, resolution: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Left (open) and right (closed) edges of every window at every instant.

    `as_of` is int64[m] microseconds; both answers are int64[m, len(windows)]. A `resolution` above one
    microsecond moves only the left edge, down, so that the window starts on a bucket's first microsecond.

    >>> left, right = edges((minutes(1),), np.array([90_000_000]))
    >>> left.tolist(), right.tolist()
    ([[30000000]], [[90000000]])
    >>> edges((minutes(1),), np.array([90_500_000]), resolution=1_000_000)[0].tolist()
    [[29999999]]
    """
    offsets, widths, calendars = _spans(windows)
    right = as_of[:, None] - offsets
    left = right - widths
    for column in calendars:
        left[:, column] = starts(windows[column], right[:, column]) - 1
    if resolution > 1:
        left = np.where(left > -FOREVER // 2, (left + 1) // resolution * resolution - 1, left)
    return left, right


@lru_cache(maxsize=512)
def _spans(windows: tuple[Window, ...]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Offsets and widths, int64[w], and which of the windows are of the calendar."""
    offsets = np.array([w.offset for w in windows], dtype=np.int64)
    widths = np.array([w.width for w in windows], dtype=np.int64)
    return offsets, widths, [i for i, w in enumerate(windows) if w.kind == "calendar"]


def starts(window: Window, as_of: np.ndarray) -> np.ndarray:
    """The first microsecond of the local day, week or month that holds each instant; int64[m]."""
    table = _boundaries(window.unit, window.zone, *CENTURY)
    if len(as_of) and not table[0] <= as_of.min() <= as_of.max() < table[-1]:
        low, high = (datetime.fromtimestamp(int(x) // SECOND, UTC).year for x in (as_of.min(), as_of.max()))
        table = _boundaries(window.unit, window.zone, low - 1, high + 1)
    return table[np.searchsorted(table, as_of, side="right") - 1]


@lru_cache(maxsize=256)
def _boundaries(unit: str, zone: str, first_year: int, last_year: int) -> np.ndarray:
    """Starts of every local day, week or month of the given years, in order, int64 microseconds UTC."""
    tz = ZoneInfo(zone)
    day = date(first_year, 1, 1)
    if unit == "week":
        day -= timedelta(days=day.weekday())
    found = []
    while day.year <= last_year:
        found.append(_first_instant(day, tz))
        if unit == "month":
            day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        else:
            day += timedelta(days=7 if unit == "week" else 1)
    return np.array(found, dtype=np.int64)


def _first_instant(day: date, tz: ZoneInfo) -> int:
    """The first microsecond of a local day. Where the clock skips midnight, the day starts after the gap.

    `fold=0` picks the earlier of two midnights; a skipped midnight resolves with the offset before the
    gap to the very instant of the jump (PEP 495), which is where the new day begins.
    """
    return int(datetime(day.year, day.month, day.day, tzinfo=tz).timestamp()) * SECOND


def spell(micros: int) -> str:
    """A width in words.

    >>> spell(7 * DAY), spell(SECOND), spell(90 * SECOND)
    ('7 days', '1 second', '90 seconds')
    """
    for size, name in ((DAY, "day"), (3600 * SECOND, "hour"), (60 * SECOND, "minute"), (SECOND, "second")):
        if micros % size == 0:
            n = micros // size
            return f"{n} {name}{'' if n == 1 else 's'}"
    return f"{micros} microseconds"
