"""What must become of a payload, row by row: a naive reading of its bytes by the declaration of its source.

Texts are judged field by field by `dualpath.admission` and `dualpath.times`, which have fuzzers of their own; here is
which of them are read, in which order faults count, and what a row then is.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import duckdb

from dualpath import admission, kafka, paths
from dualpath.admission import written
from dualpath.changes import before
from dualpath.expression import columns
from dualpath.field import Field
from dualpath.paths import Steps, first_value
from dualpath.schema import EventSource
from dualpath.windows import DAY, spell

EARLIEST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
SQL = {"text": "VARCHAR", "integer": "BIGINT", "identifier": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN"}


@dataclass(frozen=True)
class Row:
    """What a row must become: "accepted" with an id and values, "dead" with a reason, or "skipped".

    The id is None if it is the hash of the content.
    """

    outcome: str
    event_id: str | None = None
    values: tuple[Any, ...] = ()
    reason: str | None = None


Around = Mapping[str, Any]
"""A message of Kafka: its `key` and `value`, bytes or None, its `headers`, texts and bytes, and by their names the
texts of what the broker gave it."""
ABSENT: Around = {}
Read = Callable[[Steps], Any]


def rows(source: EventSource, line: bytes | None, now: int, around: Around = ABSENT) -> list[Row]:
    """The rows of a payload that is judged at `now`, microseconds UTC; `around` is the message that it came in."""
    payload, fault = _parsed(line)
    if fault is not None:
        if source.changes and line is None:
            return [Row("skipped")]
        asked = columns(source.where) if source.where is not None else ()
        if around and asked and all(kafka.is_around(p) for name in asked for p in source.by_name[name].places):
            other = _row(source, partial(_value, source, {}, None, around), now, around=around)
            if other.outcome == "skipped":
                return [other]
        return [Row("dead", reason=fault)]
    if not source.each:
        return [_row(source, partial(_value, source, payload, None, around), now, around=around)]
    found, listed = paths.walk(payload, source.each), paths.written(source.each)
    outside = partial(_value, source, payload, None, around)
    if not isinstance(found, list):
        missing = f"{listed} is missing, and an empty list is []; where=... skips payloads without it"
        fault = missing if found is None else f"{listed} is not a list: {(written(found) or '')[:80]}"
        return [_row(source, outside, now, fault, around=around)]
    if not found:
        return [_row(source, outside, now, skip=True, around=around)]
    return [_element(source, payload, at, each, now, around) for at, each in enumerate(found)]


def _parsed(line: bytes | None) -> tuple[Any, str | None]:
    """A payload, or why it is none."""
    if line is None:
        return None, "no payload"
    try:
        said = line.decode()
    except UnicodeDecodeError:
        return None, "not UTF-8"
    try:
        payload = json.loads(said)
    except (ValueError, RecursionError):
        payload = None
    return payload, None if isinstance(payload, dict) else "not a JSON object"


def _value(source: EventSource, payload: Any, element: Any, around: Around, place: Steps) -> Any:
    """What a row has at a place; what is around its payload it has in its message, if it came in one."""
    if not around or not kafka.is_around(place):
        return paths.value(payload, place, source.each, element)
    found = _around(around, place)[0]
    return None if isinstance(found, str) and not found.strip(" ") else found


def _around(around: Around, place: Steps) -> tuple[Any, str | None]:
    """What is around a payload at a place, and what is wrong with it."""
    if place[1] not in ("key", "headers"):
        return around[str(place[1])], None
    of = kafka.key if place[1] == "key" else place
    raw = around["key"] if of == kafka.key else next((v for n, v in reversed(around["headers"]) if n == place[2]), None)
    try:
        said = None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None, f"{paths.written(of)} is not UTF-8"
    if of == place or said is None or not said.strip(" "):
        return said if of == place else None, None
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return None, f"{paths.written(of)} is not a JSON object: {said[:80]}"
    return paths.walk(found, place[2:]), None


def _element(source: EventSource, payload: Any, at: int, element: Any, now: int, around: Around) -> Row:
    listed, fault = paths.written(source.each), None
    members = any(paths.inside(p, source.each) for f in (*source.fields, *source.members.values()) for p in f.places)
    if element is None:
        fault = f"{listed} has a null element"
    elif members and not isinstance(paths.opened(element), dict):
        fault = f"{listed} has an element that is not a JSON object: {(written(element) or '')[:80]}"
    row = _row(source, partial(_value, source, payload, element, around), now, fault, around=around)
    if row.outcome == "dead":
        return Row("dead", reason=f"{row.reason}: {listed}[{at}]")
    declared = source.members.get("event_id")
    own = declared is not None and paths.inside(declared.place, source.each) is not None
    return row if own or row.event_id is None else Row(row.outcome, f"{row.event_id}/{at}", row.values)


def _row(
    source: EventSource, read: Read, now: int, fault: str | None = None, skip: bool = False, around: Around = ABSENT
) -> Row:
    def text(field: Field) -> str | None:
        return written(first_value(field.places, read))

    def unreadable(field: Field) -> str | None:
        if not around or text(field) is not None:
            return None
        faults = (_around(around, place)[1] for place in field.places if kafka.is_around(place))
        return next((f"{field.name}: {said}" for said in faults if said), None)

    def refusal(field: Field) -> str | None:
        return unreadable(field) or admission.refusal(text(field), field)

    undecided = None
    if source.where is not None:
        asked = [source.by_name[name] for name in sorted(columns(source.where))]
        wrong = [said for field in asked if (said := refusal(field))]
        known = {f.name: _known(f, text(f)) for f in asked}
        of_elements = any(paths.inside(f.place, source.each) is not None for f in asked) and fault is not None
        passes = _true(source.where, source, known)
        if passes is False or (passes is None and not wrong and not of_elements):
            return Row("skipped")
        undecided = next(iter(wrong), None) if passes is None else None
    if skip:
        return Row("skipped")
    faults = [undecided, fault, *map(unreadable, source.members.values())]
    faults += [*_identity(source, text), *_times(source, text, now), *map(refusal, source.payload_fields)]
    faults.append(_former(source, read))
    if reason := next(filter(None, faults), None):
        return Row("dead", reason=reason)
    members = source.members
    found = {field.name: admission.value(text(field), field) for field in source.payload_fields}
    for field in source.fields:
        if source.changes and source.changes.before and found.get(before(field.name)) == found[field.name]:
            found[before(field.name)] = None
    values = [found[field.name] for field in source.payload_fields]
    happened, arrived = _happened(source, text)
    identity = text(members["event_id"]) if "event_id" in members else None
    return Row("accepted", identity, (happened, arrived, *values))


def _former(source: EventSource, read: Read) -> str | None:
    """What is wrong with the row before a change as a whole."""
    if not source.changes or not source.changes.before:
        return None
    before = source.changes.before
    said = [first_value(field.places, read) for field in source.changes.former(source.fields)]
    found = read(paths.parse(before))
    if found is None or isinstance(found, dict) or any(value is not None for value in said):
        return None
    return f"{before} is not an object: {(written(found) or '')[:80]}"


def _known(field: Field, text: str | None) -> Any:
    """What a condition sees of a text: any text, and of another field only what it takes."""
    if field.kind == "text":
        return admission.given(text, field)
    return None if admission.refusal(text, field) else admission.value(text, field)


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def _true(where: str, source: EventSource, known: dict[str, Any]) -> bool | None:
    cast = ", ".join(f'CAST(? AS {SQL[source.by_name[name].kind]}) AS "{name}"' for name in known)
    answer = _engine().execute(f"SELECT {where} FROM (SELECT {cast})", list(known.values())).fetchone()
    assert answer is not None
    found: bool | None = answer[0]
    return found


def _identity(source: EventSource, text: Callable[[Field], str | None]) -> list[str | None]:
    members = [source.members[what] for what in ("event_id", "occurrence") if what in source.members]
    return [None if (text(member) or "").strip(" ") else f"{member} is missing" for member in members]


def _times(source: EventSource, text: Callable[[Field], str | None], now: int) -> list[str | None]:
    found: list[str | None] = []
    for what in ("event_time", "arrival_time", "sent_at"):
        if member := source.members.get(what):
            said = text(member)
            micros = None if said is None else member.time.micros(said)
            if said is None:
                found.append(f"{member} is missing")
            elif micros is None:
                found.append(f"{member} {member.time.refusal(said)}: {said[:80]}")
            elif micros < EARLIEST and (what == "arrival_time" or source.sent_at is None):
                found.append(f"{member} is before 2000: {said[:80]}")
    if any(found):
        return found
    happened, arrived = _happened(source, text)
    time = str(source.members["event_time"])
    if sent_at := source.members.get("sent_at"):
        time += f", corrected by {sent_at},"
        found.append(f"{time} is before 2000" if happened < EARLIEST else None)
    far = f"{time} is more than {spell(source.future.micros)} after the arrival"
    unborn = f"{source.members.get('arrival_time', 'the arrival')} is more than a day ahead"
    late = happened > arrived + source.future.micros
    return [*found, far if late else None, unborn if arrived > now + DAY else None]


def _happened(source: EventSource, text: Callable[[Field], str | None]) -> tuple[int, int]:
    """The event time that counts, and the arrival."""
    times = {
        what: source.members[what].time.micros(text(source.members[what]) or "")
        for what in ("event_time", "arrival_time", "sent_at")
        if what in source.members
    }
    happened = times["event_time"]
    arrived = times.get("arrival_time", happened)
    assert happened is not None and arrived is not None
    if (sent := times.get("sent_at")) is not None:
        happened += arrived - sent
    if source.future.beyond == "arrival" and happened > arrived + source.future.micros:
        happened = arrived
    return happened, arrived
