"""An event as a version of a row: which row, and where in the order of its versions (`dualpath.changes`)."""

from collections.abc import Mapping
from typing import Any

from dualpath.entities import name
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


def deleted(view: View, event: Mapping[str, Any]) -> bool:
    """Whether an event, with the values of the view's expressions, says that its row is gone."""
    changes = view.source.changes
    return bool(changes and changes.deleted and event[changes.deleted] is True)
