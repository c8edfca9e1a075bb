"""Reads payloads in memory as events, by the rules of admission: what `dualpath.spark.admit` does in Spark.

A payload is of dicts and lists. An event is a dict as `dualpath.preview` describes it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dualpath import admission, instants, kafka, paths
from dualpath.admission import written
from dualpath.clock import ARRIVAL, corrected
from dualpath.errors import InputError
from dualpath.evaluation import evaluated
from dualpath.expression import columns
from dualpath.field import Field
from dualpath.paths import Steps, first_value, walk
from dualpath.row_versions import columns_before
from dualpath.schema import EventSource
from dualpath.times import Time
from dualpath.view import View
from dualpath.windows import spell


def events(view: View, number: int, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of a payload: itself, or each element of its list."""
    source, where = view.source, f"event {number}"
    if not isinstance(payload, Mapping):
        raise InputError(f"{where}: {payload!r} is no payload; pass a dict.")
    around = payload.get(paths.MESSAGE)
    if isinstance(around, Mapping) and (unknown := sorted({*around}.difference(kafka.PARTS))):
        raise InputError(f"{where}: {paths.MESSAGE} has no {', '.join(unknown)}; it has {', '.join(kafka.PARTS)}.")
    if not source.each:
        if not _is_other(view, partial(paths.value, payload, each=(), element=None), None, where):
            yield event(view, number, payload)
        return
    found, list_of = walk(payload, source.each), paths.written(source.each)
    wrong = None
    if not isinstance(found, list | tuple):
        wrong = f"{where}: {list_of} is {'missing' if found is None else 'not a list'}; write a list there."
    elif len(found) > paths.ELEMENTS:
        wrong = f"{where}: {list_of} has more than {paths.ELEMENTS:,} elements; write them in several payloads."
    objects = any(paths.inside(f.place, source.each) for f in (*source.fields, *source.members.values()))
    for at, element in enumerate([None] if wrong else found):
        said = wrong
        if said is None and (element is None or (objects and not isinstance(paths.opened(element), Mapping))):
            said = f"{where}: {list_of}[{at}] is {'null' if element is None else 'no object'}; correct it."
        if not _is_other(view, partial(paths.value, payload, each=source.each, element=element), said, where):
            if said:
                raise InputError(said)
            yield event(view, number, payload, at, element)


def _is_other(view: View, read: Callable[[Steps], Any], wrong: str | None, where: str) -> bool:
    """Whether a payload, or an element of it, is of another source. `wrong` is what is wrong with the element.

    Raises `InputError` if it is unknown, because something in the condition cannot be read."""
    source = view.source
    if source.where is None:
        return False
    fields = [source.by_name[name] for name in sorted(columns(source.where))]
    faults = [wrong] if wrong and any(paths.inside(f.place, source.each) is not None for f in fields) else []
    known = {}
    for field in fields:
        found = first_value(field.places, read)
        text = written(found)
        fault = admission.refusal(text, field)
        faults += [f"{where}, {fault}."] if fault else []
        given = field.kind == "text" or fault is None
        known[field.column] = typed(found, replace(field, choices=()), where) if given else None
    [row] = evaluated(view, [known], [source.where])
    if row[source.where] is None and faults:
        raise InputError(faults[0])
    return row[source.where] is not True


def event(
    view: View, number: int, given: Mapping[str, Any], at: int | None = None, element: Any = None
) -> dict[str, Any]:
    """An event; if `at` is given, the element of that index."""
    source, where, members = view.source, f"event {number}", view.source.members
    read = partial(paths.value, given, each=source.each, element=element)
    unknown = set(given).difference(place[0] for each in (*source.fields, *members.values()) for place in each.places)
    for each in (f for f in source.fields if f.name in unknown and first_value(f.places, read) is None):
        raise InputError(f"{where}: '{source.name}' reads {each} at its path; write it there.")
    # What has paths is a producer's own payload, and much of that is nobody's concern.
    if unknown and source.where is None and not any(each.path for each in (*source.fields, *members.values())):
        raise InputError(f"{where}: '{source.name}' has no {', '.join(sorted(unknown))}; correct the name.")
    given_as = {what: first_value(member.places, read) for what, member in members.items()}
    times = {
        what: time_of(given_as[what], members[what].time, f"{where}, {members[what]}")
        for what in ("event_time", "arrival_time", "sent_at")
        if what == "event_time" or given_as.get(what) is not None
    }
    event_time, arrival_time = _happened(times, source, where)
    name = str(number if given_as.get("event_id") is None else given_as["event_id"])
    of_element = "event_id" in members and paths.inside(members["event_id"].place, source.each) is not None
    return {
        "event_id": name if at is None or (of_element and given_as["event_id"] is not None) else f"{name}/{at}",
        "event_time": event_time,
        "arrival_time": arrival_time,
        **_fields(source, read, where),
    }


def _fields(source: EventSource, read: Callable[[Steps], Any], where: str) -> dict[str, Any]:
    """The values of an event's fields by their columns; what a field was before only where it was another value."""
    if source.changes and source.changes.before:
        row = read(paths.parse(source.changes.before))
        if row is not None and not isinstance(row, Mapping):
            raise InputError(f"{where}: {source.changes.before} is not an object: {row!r}; correct it.")
    found = {f.column: typed(first_value(f.places, read), f, f"{where}, {f}") for f in source.payload_fields}
    for now, was in columns_before(source, [f.name for f in source.fields]).items():
        if found[was] == found[now]:
            found[was] = None
    return found


def _happened(times: Mapping[str, int], source: EventSource, where: str) -> tuple[int, int]:
    """The event time that counts, and the arrival, of the times that an event has."""
    said, ahead = times["event_time"], source.future.micros
    if source.sent_at is not None:
        if missing := [what for what in ("arrival_time", "sent_at") if what not in times]:
            raise InputError(
                f"{where}: it has no {' and no '.join(missing)}, by which '{source.name}' corrects its time; write it."
            )
        said = corrected(said, times["arrival_time"], times["sent_at"])
    arrival_time = times.get("arrival_time", said)
    if said > arrival_time + ahead:
        if source.future.beyond != ARRIVAL:
            raise InputError(f"{where}: it happens more than {spell(ahead)} after its arrival; correct its times.")
        said = arrival_time
    return said, arrival_time


def instant(value: Any, where: str) -> int:
    """An instant in microseconds UTC; raises `InputError`, which begins with `where`, if it is none."""
    try:
        return int(instants.parse([value])[0])
    except InputError:
        raise InputError(f"{where}: {value!r} is not an instant; give a datetime or ISO-8601 text.") from None


def time_of(value: Any, how: Time, where: str) -> int:
    """An event's time: a text or a number as admission reads it, or any instant."""
    text = written(value)
    if text is None or isinstance(value, bool):
        return instant(value, where)
    found = how.micros(text)
    if found is None:
        raise InputError(f"{where}: {value!r} {how.refusal(text)}.")
    return found


def typed(value: Any, field: Field, where: str) -> Any:
    """A value as admission would store it; raises `InputError` where admission would refuse."""
    text = written(value)
    if value is None or (text is not None and admission.given(text, field) is None):
        return None
    if field.kind == "timestamp":
        return time_of(value, field.time, where)
    if field.kind == "text":
        found, remedy = text if isinstance(value, str | Mapping | list | tuple) else None, ""
    else:
        found, remedy = admission.value(text, field), admission.remedy(text or "", field)
    if found is None:
        kind = f"a decimal with {field.scale} digits after the point" if field.kind == "decimal" else field.kind
        raise InputError(f"{where}: {value!r} does not fit the field, which is {kind}{remedy}; correct it.")
    return found
