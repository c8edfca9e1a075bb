"""An event as a version of a row: which row, and where in the order of its versions (`dualpath.changes`)."""

from collections.abc import Iterable, Mapping
from typing import Any

from dualpath.changes import before
from dualpath.entities import name
from dualpath.schema import EventSource
from dualpath.view import View
from dualpath.words import code, encode


def version(view: View, event: Mapping[str, Any]) -> list[int]:
    """The code of the event's row, and its version, of a view of changes; the event is one of `dualpath.preview`.

    An event of a source without changes is a row of its own."""
    changes, fields = view.source.changes, view.source.by_name
    if not changes:
        return [identity(view, event), 0]
    row = code(name([event[fields[each].column] for each in changes.key])) ^ view.mark
    return [row, encode(event[fields[changes.version].column], 0) if changes.version else 0]


def identity(view: View, event: Mapping[str, Any]) -> int:
    """The code of the event's id, by which events of one instant are ordered."""
    return code(event["event_id"]) ^ view.mark


def order(view: View, event: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """The code of the event's row, and what its versions are ordered by: their time, version and code of the id."""
    row, number = version(view, event)
    return row, event["event_time"], number, identity(view, event)


def columns_before(source: EventSource, names: Iterable[str]) -> dict[str, str]:
    """The columns of those of some fields whose former values events may have, each with the column of these."""
    fields, known = source.by_name, source.changes and source.changes.before
    return {fields[each].column: fields[before(each)].column for each in names if known and before(each) in fields}


def naming_before(view: View) -> dict[str, str]:
    """`columns_before` of what names a row and its entity; without any, no event of the view moves a row."""
    changes = view.source.changes
    return columns_before(view.source, (*view.keys, *changes.key)) if changes else {}


def former(view: View, event: Mapping[str, Any]) -> dict[str, Any] | None:
    """An event as of its row before the change, if that was another row, or another entity's; else None."""
    found = {now: event[was] for now, was in naming_before(view).items() if event[was] not in (None, event[now])}
    return {**event, **found} if found else None


def deleted(view: View, event: Mapping[str, Any]) -> bool:
    """Whether an event, with the values of the view's expressions, says that its row is gone."""
    changes = view.source.changes
    return bool(changes and changes.deleted and event[changes.deleted] is True)
