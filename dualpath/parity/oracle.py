"""The oracle: what every feature is, by a nested loop over plain events. Never optimised, never clever.

It judges everything else, so it shares nothing with the windows, the records, the kernel and the `finalize` of the
aggregates. What it does share is definitions: the 64-bit code of an event's id, which breaks ties, the hash of a
number, and the weight of an age. What each aggregate means stands beside it, as `Aggregate.meaning`.

An event is a dict: `event_id`, `event_time` and `arrival_time` in microseconds UTC, the entity's keys, and the value of
every SQL expression under its own text.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dualpath.aggregates import Aggregate
from dualpath.aggregates.meaning import counting
from dualpath.view import View
from dualpath.windows import Window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def oracle(
    view: View, events: Iterable[Mapping[str, Any]], entity: tuple, as_of: int, known_at: int | None = None
) -> dict[str, Any]:
    """Every feature of one entity at `as_of` (microseconds UTC), from the events that had arrived by `known_at`."""
    answer = {}
    for feature in view.features:
        left, right = edges(feature.over, as_of, view.resolution)
        seen = []
        for event in events:
            mine = tuple(event[key] for key in view.keys) == entity
            known = known_at is None or event["arrival_time"] <= known_at
            if mine and known and left < event["event_time"] <= right:
                seen.append(event)
        found = counting(seen, feature.aggregate.of, feature.aggregate.where)
        answer[feature.name] = feature.aggregate.meaning(found, view.input_type(feature), as_of, view.resolution)
    return answer


def expressions(aggregate: Aggregate) -> set[str]:
    """Every SQL expression an aggregate reads."""
    named = (getattr(aggregate, name, None) for name in ("of", "where", "by"))
    parts = [part for part in vars(aggregate).values() if isinstance(part, Aggregate)]
    return {sql for sql in named if sql}.union(*map(expressions, parts))


def edges(window: Window, as_of: int, resolution: int) -> tuple[float, int]:
    """The open left and the closed right edge; a coarse resolution moves the left one down to a bucket's."""
    right = as_of - window.offset
    if window.kind == "lifetime":
        return float("-inf"), right
    left = right - window.width
    if window.kind == "calendar":
        zone = ZoneInfo(window.zone)
        today = (EPOCH + right * MICROSECOND).astimezone(zone).date()
        back = {"day": 0, "week": today.weekday(), "month": today.day - 1}[window.unit]
        midnight = datetime.combine(today - timedelta(days=back), time(), zone)
        left = (midnight - EPOCH) // MICROSECOND - 1
    return (left + 1) // resolution * resolution - 1, right
