"""What must become of a payload, row by row: a naive reading of its bytes by the declaration of its source.

Texts are judged field by field by `dualpath.admission` and `dualpath.times`, which have fuzzers of their own; here is
which of them are read, in which order faults count, and what a row then is.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import duckdb

from dualpath import admission, paths
from dualpath.admission import written
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

    The id is None if it is the hash of the content; of a large payload or value nothing is told.
    """

    outcome: str
    event_id: str | None = None
    values: tuple[Any, ...] = ()
    reason: str | None = None


def rows(source: EventSource, line: bytes, now: int) -> list[Row]:
    """The rows of a message that is judged at `now`, microseconds UTC."""
    try:
        said = line.decode()
    except UnicodeDecodeError:
        return [Row("dead", reason="not UTF-8")]
    try:
        payload = json.loads(said)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        return [Row("dead", reason="not a JSON object")]
    if not source.each:
        return [_row(source, partial(paths.value, payload, each=(), element=None), now)]
    found, listed = paths.walk(payload, source.each), paths.written(source.each)
    if not isinstance(found, list):
        missing = f"{listed} is missing, and an empty list is []; where=... skips payloads without it"
        fault = missing if found is None else f"{listed} is not a list: {(written(found) or '')[:80]}"
        return [_row(source, partial(_outside, payload, source.each), now, fault)]
    if not found:
        row = _row(source, partial(_outside, payload, source.each), now, skip=True)
        return [row]
    return [_element(source, payload, at, each, now) for at, each in enumerate(found)]


def _outside(payload: Any, each: Steps, place: Steps) -> Any:
    return None if paths.inside(place, each) is not None else paths.walk(payload, place)


def _element(source: EventSource, payload: Any, at: int, element: Any, now: int) -> Row:
    listed, fault = paths.written(source.each), None
    members = any(paths.inside(p, source.each) for f in (*source.fields, *source.members.values()) for p in f.places)
    if element is None:
        fault = f"{listed} has a null element"
    elif members and not isinstance(paths.opened(element), dict):
        fault = f"{listed} has an element that is not a JSON object: {(written(element) or '')[:80]}"
    row = _row(source, partial(paths.value, payload, each=source.each, element=element), now, fault)
    if row.outcome == "dead":
        return Row("dead", reason=f"{row.reason}: {listed}[{at}]")
    declared = source.members.get("event_id")
    own = declared is not None and paths.inside(declared.place, source.each) is not None
    return row if own or row.event_id is None else Row(row.outcome, f"{row.event_id}/{at}", row.values)


def _row(
    source: EventSource, read: Callable[[Steps], Any], now: int, fault: str | None = None, skip: bool = False
) -> Row:
    def text(field: Field) -> str | None:
        return written(first_value(field.places, read))

    undecided = None
    if source.where is not None:
        asked = [source.by_name[name] for name in sorted(columns(source.where))]
        wrong = [said for field in asked if (said := admission.refusal(text(field), field))]
        known = {f.name: _known(f, text(f)) for f in asked}
        of_elements = any(paths.inside(f.place, source.each) is not None for f in asked) and fault is not None
        passes = _true(source.where, source, known)
        if passes is False or (passes is None and not wrong and not of_elements):
            return Row("skipped")
        undecided = next(iter(wrong), None) if passes is None else None
    if skip:
        return Row("skipped")
    faults = [undecided, fault, *_identity(source, text), *_times(source, text, now)]
    faults += [admission.refusal(text(field), field) for field in source.payload_fields]
    faults.append(_former(source, read))
    if reason := next(filter(None, faults), None):
        return Row("dead", reason=reason)
    members = source.members
    values = [admission.value(text(field), field) for field in source.fields]
    happened, arrived = _happened(source, text)
    identity = text(members["event_id"]) if "event_id" in members else None
    return Row("accepted", identity, (happened, arrived, *values))


def _former(source: EventSource, read: Callable[[Steps], Any]) -> str | None:
    """What is wrong with the row before a change as a whole."""
    if not source.changes or not source.changes.before:
        return None
    before = source.changes.before
    said = [first_value(field.places, read) for field in source.changes.former(source.fields)]
    text = written(read(paths.parse(before)))
    if text is None or text.startswith("{") or any(value is not None for value in said):
        return None
    return f"{before} is not an object: {text[:80]}"


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
