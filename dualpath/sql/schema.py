"""The columns of a `CREATE SOURCE` or `CREATE TABLE` become those of events."""

from sqlglot import exp

from dualpath.errors import InputError
from dualpath.field import Field
from dualpath.schema import EventSource
from dualpath.sql.refusal import declaring, refuse, shown

KINDS = {
    exp.DType.VARCHAR: "text",
    exp.DType.TEXT: "text",
    exp.DType.SMALLINT: "integer",
    exp.DType.INT: "integer",
    exp.DType.BIGINT: "integer",
    exp.DType.DECIMAL: "decimal",
    exp.DType.DOUBLE: "double",
    exp.DType.BOOLEAN: "boolean",
    exp.DType.TIMESTAMP: "timestamp",
    exp.DType.TIMESTAMPTZ: "timestamp",
}
"""REAL is none of them: its numbers are rounded to 32 bits, and those of events are not."""
KEPT = (exp.NotNullColumnConstraint, exp.PrimaryKeyColumnConstraint, exp.CommentColumnConstraint)
EVENT_ID = "event_id"
"""The column by which duplicates are recognised where no primary key says it."""


def source(created: exp.Create, keys: tuple[str, ...], time: str) -> EventSource:
    """The source of events that happen at `time`; raises `InputError` for what events do not have.

    A primary key of one column is the id of events. Fields of `keys` are required.
    """
    primary = _primary(created)
    if set(primary) & {*keys} and len(primary) == 1:
        where = f"{created.this.this.name} has one row for each {primary[0]}, its primary key"
        refuse(created, where, "features are made of events; name the table of those")
    found = columns(created)
    unique = primary[0] if len(primary) == 1 else EVENT_ID
    event_id = unique if unique in found and unique not in (*keys, time) else None
    fields = tuple(
        Field(each.name, each.kind, each.scale, each.required or each.name in keys)
        for each in found.values()
        if each.name not in (time, event_id)
    )
    with declaring():
        return EventSource(created.this.this.name, fields, event_id=event_id, event_time=time, arrival_time=None)


def columns(created: exp.Create) -> dict[str, Field]:
    """The columns by name; raises `InputError` for a type that events do not have."""
    schema = created.this
    if not isinstance(schema, exp.Schema):
        raise InputError(f"CREATE {created.kind} {schema.name} has no columns; give their names and types.")
    found: dict[str, Field] = {}
    for each in schema.expressions:
        if isinstance(each, exp.ColumnDef):
            if each.name in found:
                refuse(each, f"column {each.name} is there twice", "leave one out")
            found[each.name] = _column(each)
    return found


def _column(defined: exp.ColumnDef) -> Field:
    kind = defined.args.get("kind")
    found = KINDS.get(kind.this) if kind is not None else None
    if kind is None or found is None:
        told = "no type" if kind is None else f"the type {shown(kind)}"
        refuse(defined, f"column {defined.name} has {told}", f"use one of {', '.join(_names())}")
    constraints = [each.kind for each in defined.args.get("constraints") or ()]
    if other := next((each for each in constraints if not isinstance(each, KEPT)), None):
        refuse(defined, f"{defined.name} has {shown(other)}, and events have what was sent", "leave it out")
    parameters = [int(each.name) for each in kind.expressions]
    if found == "decimal" and len(parameters) < 2:
        refuse(defined, f"{defined.name} is a decimal without a scale", "write NUMERIC(18, 2), say")
    required = any(
        isinstance(each, exp.NotNullColumnConstraint) and not each.args.get("allow_null") for each in constraints
    )
    return Field(defined.name, found, parameters[1] if found == "decimal" else 0, required)


def _primary(created: exp.Create) -> list[str]:
    """The columns of the primary key."""
    named = [each.name for key in created.this.find_all(exp.PrimaryKey) for each in key.expressions]
    own = created.this.find_all(exp.PrimaryKeyColumnConstraint)
    return named or [column.name for each in own if (column := each.find_ancestor(exp.ColumnDef)) is not None]


def _names() -> list[str]:
    return sorted({kind.value for kind in KINDS})
