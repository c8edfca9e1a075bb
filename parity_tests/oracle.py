"""The oracle: what every feature is, by nested loops over plain events. Never optimised, never clever.

It shares nothing with the windows, the kernel or the aggregates it judges; only the 64-bit code of an event's
id, which breaks ties. An event is a dict as `parity_tests.events.evaluated` leaves it: `event_id`, `event_time`
in microseconds UTC, the entity's keys, and the value of every SQL expression under its own text.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from dualpath.record import code

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def seen(value: Any) -> Any:
    """A value as a model sees it: exact numbers rounded once to a double, one zero."""
    return float(value) + 0.0 if isinstance(value, Decimal | float) else value


def total(found: list, kind: str | None) -> int | float:
    """The exact sum, rounded once."""
    exact = sum((Fraction(value) for _, _, value in found), Fraction(0))
    return int(exact) if kind == "integer" else float(exact)


def mean(found: list, kind: str | None) -> float | None:
    """The exact mean, rounded once."""
    return float(sum(Fraction(value) for _, _, value in found) / len(found)) if found else None


MEANING: dict[str, Callable[[list, str | None], Any]] = {
    "Count": lambda found, kind: len(found),
    "Sum": total,
    "Mean": mean,
    "Min": lambda found, kind: seen(min((value for _, _, value in found), default=None)),
    "Max": lambda found, kind: seen(max((value for _, _, value in found), default=None)),
    "First": lambda found, kind: seen(min(found)[2]) if found else None,
    "Last": lambda found, kind: seen(max(found)[2]) if found else None,
    "Distinct": lambda found, kind: [seen(value) for value in sorted({value for _, _, value in found})],
}
"""Each aggregate, from the (time, code, value) of the events that count to what a model sees."""


def oracle(view: Any, events: Iterable[dict], entity: tuple, as_of: int) -> dict[str, Any]:
    """Every feature of one entity at `as_of` (microseconds UTC), from the events that are known."""
    answer = {}
    for feature in view.features:
        of, where = feature.aggregate.of, feature.aggregate.where
        left, right = edges(feature.over, as_of, view.resolution)
        found = []
        for event in events:
            mine = tuple(event[key] for key in view.keys) == entity
            passes = where is None or event[where] is True
            value = event[of] if of else True
            if mine and passes and value is not None and left < event["event_time"] <= right:
                found.append((event["event_time"], code(event["event_id"]), value))
        kind = view.type_of(of).kind if of else None
        answer[feature.name] = MEANING[type(feature.aggregate).__name__](found, kind)
    return answer


def edges(window: Any, as_of: int, resolution: int) -> tuple[float, int]:
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
