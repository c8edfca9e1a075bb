"""The oracle: what every feature is, by a nested loop over plain events. Never optimised, never clever.

It judges everything else, so it shares nothing with the windows, the records, the kernel and the `finalize` of the
aggregates. What it does share is definitions: the 64-bit code of an event's id, which breaks ties, the hash of a
number, and the weight of an age. What each aggregate means stands beside it, as `Aggregate.meaning`.

An event is a dict: `event_id`, `event_time` and `arrival_time` in microseconds UTC, the entity's keys, and the value of
every SQL expression under its own text. A version of a row also has the fields of its key, its version, and the value
of the condition that says whether it is deleted; and as `before_` and a field's name what that was before, or null. In
a view of several sources it also has the name of its source.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dualpath.aggregates import Aggregate
from dualpath.aggregates.meaning import counting
from dualpath.schema import EventSource
from dualpath.view import View
from dualpath.windows import Window
from dualpath.words import code

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SOURCE = "@source"
"""Under which an event has the name of its source."""


def oracle(
    view: View, events: Sequence[Mapping[str, Any]], entity: tuple, as_of: int, known_at: int | None = None
) -> dict[str, Any]:
    """Every feature of one entity at `as_of` (microseconds UTC), from the events that had arrived by `known_at`."""
    answer = {}
    for feature in view.features:
        left, right = edges(feature.over, as_of, view.resolution)
        seen = []
        for event in events:
            mine = tuple(event[key] for key in view.keys) == entity
            inside = left < event["event_time"] <= right
            if mine and inside and known(event, known_at) and current(view, event, events, entity, as_of, known_at):
                seen.append(event)
        found = counting(seen, feature.aggregate.of, feature.aggregate.where)
        answer[feature.name] = feature.aggregate.meaning(found, view.input_type(feature), as_of, view.resolution)
    return answer


def known(event: Mapping[str, Any], known_at: int | None) -> bool:
    """Whether an event had arrived."""
    return known_at is None or event["arrival_time"] <= known_at


def current(
    view: View,
    event: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    entity: tuple,
    as_of: int,
    known_at: int | None,
) -> bool:
    """Whether an event is the latest version of a row that is there; any event is, of a source without changes.

    Of changes that say what was before, an entity knows of a row what happened to it there.
    """
    changes = source(view, event).changes
    if changes is None:
        return True

    def order(each: Mapping[str, Any]) -> tuple[int, int, int]:
        return each["event_time"], each[changes.version] if changes.version else 0, code(each["event_id"])

    row = tuple(event[name] for name in changes.key)
    for other in events:
        same = other.get(SOURCE) == event.get(SOURCE) and row in rows(view, other, entity)
        if same and known(other, known_at) and other["event_time"] <= as_of and order(other) > order(event):
            return False
    return not changes.deleted or event[changes.deleted] is not True


def source(view: View, event: Mapping[str, Any]) -> EventSource:
    """The source of an event; one that does not say is of the view's only source."""
    [found] = [each for each in view.sources if each.name == event.get(SOURCE, view.source.name)]
    return found


def rows(view: View, event: Mapping[str, Any], entity: tuple) -> list[tuple]:
    """The keys of the rows of which an event is a version: the one it is, and, of the entity's, the one it was."""
    changes = source(view, event).changes
    assert changes, "other events are no versions"
    is_ = {name: event[name] for name in (*view.keys, *changes.key)}
    if not changes.before:
        return [tuple(is_[name] for name in changes.key)]
    was = {name: formerly(event, name) for name in is_}
    return [
        tuple(each[name] for name in changes.key)
        for each in (is_, was)
        if tuple(each[name] for name in view.keys) == entity
    ]


def formerly(event: Mapping[str, Any], name: str) -> Any:
    """What a field was before the change."""
    before = event.get(f"before_{name}")
    return event[name] if before is None else before


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
