"""Retention: how long records matter online, and for which instants they can answer.

All times are microseconds, UTC. None says everywhere that there is no bound: a window over all time, an online store
that may be asked for any instant, records that never expire.
"""

from collections.abc import Iterable

from dualpath.view import View
from dualpath.windows import SECOND

CLOCK_LAG = 60 * SECOND
"""How far a reader's clock may be behind the stream's: readers at that present are not cut off."""


def retention(view: View, online_lookback: int | None) -> int | None:
    """How long after its time an online read can look back to a record of a view, if an `as_of` may lie
    `online_lookback` before the present."""
    if view.lookback is None or online_lookback is None:
        return None
    return view.lookback + online_lookback


def longest(retentions: Iterable[int | None]) -> int | None:
    """How long what several views need is kept.

    >>> longest([2, 3]), longest([2, None])
    (3, None)
    """
    bounded = [*retentions]
    return None if None in bounded else max(each for each in bounded if each is not None)


def earliest_as_of(present: int, online_lookback: int | None) -> int | None:
    """The earliest instant that may be asked at `present`.

    >>> earliest_as_of(100, 40), earliest_as_of(100, None)
    (60, None)
    """
    return None if online_lookback is None else present - online_lookback


def later(*bounds: int | None) -> int | None:
    """The later of several earliest instants.

    >>> later(None, 3, 5), later(None, None)
    (5, None)
    """
    return max((each for each in bounds if each is not None), default=None)


def expires_at(latest: int, retention: int | None) -> int | None:
    """When a value whose newest record is of the time `latest` may go, milliseconds since 1970.

    >>> expires_at(5_000, 2_000), expires_at(5_000, None)
    (8, None)
    """
    return None if retention is None else (latest + retention) // 1000 + 1
