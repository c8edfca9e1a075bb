"""What may change in the declaration of a source whose log has events.

One law: every event in the log must be one that the new declaration could have admitted, and be read as it says without
loss. What only says where or how payloads write a field (`path`, `lenient`, the format of a time) is about events to
come, and may change. Nothing here reads or writes a file.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dualpath import paths
from dualpath.field import Field
from dualpath.kafka import lasting
from dualpath.leniency import STRICT
from dualpath.schema import DECIMAL_BOUND, EventSource
from dualpath.times import Time

WIDER = {("integer", "identifier"), ("integer", "decimal"), ("integer", "double")}
"""Kinds of which every value is one of another kind. A stored integer has at most fifteen digits, so a double is
exact."""
OTHERWISE = "or declare a new source and let it read the producer's topic from the beginning"


def form(field: Field) -> Field:
    """What a declaration says of the stored values of a field, without what it says of payloads.

    >>> from dualpath.schema import integer
    >>> form(integer("amount", path="order.amount", lenient=True)) == integer("amount")
    True
    """
    time = Time(unit=field.time.unit, zone=field.time.zone)
    return replace(field, path=(), fallbacks=(), leniency=STRICT, time=time)


def described(field: Field) -> str:
    """The kind of a field, as sentences say it.

    >>> from dualpath.schema import decimal, text
    >>> described(decimal("price", scale=2)), described(text("state", choices=["new", "paid"]))
    ('decimal(scale=2)', "text(choices=['new', 'paid'])")
    """
    if field.kind == "decimal":
        return f"decimal(scale={field.scale})"
    return f"text(choices={[*field.choices]})" if field.choices else field.kind


def widens(old: Field, new: Field) -> bool:
    """Whether every stored value of one form is exactly a value of another's kind.

    >>> from dualpath.schema import decimal, double, integer
    >>> widens(integer("n"), decimal("n", scale=2)), widens(double("n"), decimal("n", scale=2))
    (True, False)
    """
    if old.kind == new.kind:
        return old.scale <= new.scale
    return (old.kind, new.kind) in WIDER


def bound(old: Field, new: Field) -> int | None:
    """The largest whole number that stored values may have, if the new form has a smaller one; None: there is none.

    >>> from dualpath.schema import decimal, integer
    >>> bound(integer("n"), decimal("n", scale=2)), bound(integer("n"), decimal("n", scale=0))
    (10000000000000, None)
    """
    return DECIMAL_BOUND // 10**new.scale if new.kind == "decimal" and new.scale > old.scale else None


def fault(old: Field, new: Field) -> str:
    """Why events of one form cannot be read in another, and what to do, to follow the field's name; empty: they can."""
    elsewhere = f"declare a new field with path={paths.written(new.place)!r}, {OTHERWISE}"
    changed = f"it was {described(old)} and is {described(new)}"
    if not widens(old, new):
        return f"{changed}, and stored values are not exactly that; {elsewhere}."
    if new.choices and not (old.choices and {*old.choices} <= {*new.choices}):
        return (
            f"{changed}, and stored events may have other texts; leave in all choices that it ever had, or {elsewhere}."
        )
    if new.required and not old.required:
        return f"it was optional and is required, and stored events may lack it; leave out required=True, {OTHERWISE}."
    if old.time.unit and new.time.unit and old.time.unit != new.time.unit:
        return f"its unit was '{old.time.unit}' and is '{new.time.unit}', which no number tells apart; {elsewhere}."
    was, is_ = (each.time.zone or "UTC" for each in (old, new))
    if was != is_:
        return f"its zone was {was} and is {is_}; {elsewhere}."
    return ""


def identity(source: EventSource) -> dict[str, Any]:
    """What tells the events of a source apart, and when they happen: a JSON-ready form to be compared.

    Where the payload has no id, the fields are a part of it in their order, because the hash of the content may be the
    id. A null is no part of the content, so a new field changes no id of events without it.
    """
    members = source.members
    found: dict[str, Any] = {
        what: [[*map(paths.written, members[what].places)], _plain(members[what].time)]
        for what in ("event_id", "event_time", "occurrence")
        if what in members
    }
    if "event_id" not in members:
        content = (each for each in source.payload_fields if lasting(each.places))
        found["content"] = [[each.name, str(each.stored)] for each in content]
    return found


def _plain(time: Time) -> dict[str, Any]:
    return {name: value for name in ("unit", "zone", "format") if (value := getattr(time, name))}


def identity_fault(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Why the identity of a source may not change as it does, to follow its name; empty: it stays."""
    anew = "declare a new source and let it read the producer's topic from the beginning"
    for what, called in (("event_id", "id"), ("event_time", "time"), ("occurrence", "occurrence")):
        if old.get(what) != new.get(what):
            return f"the {called} of its events was {_said(old, what)} and is {_said(new, what)}; {anew}."
    rest = iter(new.get("content", ()))
    if (moved := next((name for name, kind in old.get("content", ()) if [name, kind] not in rest), None)) is not None:
        return (
            f"its events have no id of their own, so all fields, in their order, tell them apart, and '{moved}' is not "
            f"as it was: an event that comes again would count twice; leave '{moved}' in its place (a field that no "
            f"view reads costs no record, and path=first_of(...) follows a producer's new name), or {anew}."
        )
    return ""


def _said(found: Mapping[str, Any], what: str) -> str:
    if what not in found:
        return "that of the transport or of the content" if what == "event_id" else "not declared"
    places, time = found[what]
    how = ", ".join(f"{name}={value!r}" for name, value in time.items())
    return " or ".join(places) + (f" with {how}" if how else "")
