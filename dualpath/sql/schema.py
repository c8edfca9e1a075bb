"""The columns of a `CREATE SOURCE` or `CREATE TABLE`."""

from sqlglot import exp

from dualpath.errors import InputError
from dualpath.sql.query import Column
from dualpath.sql.refusal import refuse

KINDS = {
    exp.DType.VARCHAR: "text",
    exp.DType.TEXT: "text",
    exp.DType.CHAR: "text",
    exp.DType.SMALLINT: "integer",
    exp.DType.INT: "integer",
    exp.DType.BIGINT: "integer",
    exp.DType.DECIMAL: "decimal",
    exp.DType.DOUBLE: "double",
    exp.DType.FLOAT: "double",
    exp.DType.BOOLEAN: "boolean",
    exp.DType.TIMESTAMP: "timestamp",
    exp.DType.TIMESTAMPTZ: "timestamp",
}
REQUIRED = (exp.NotNullColumnConstraint, exp.PrimaryKeyColumnConstraint)


def columns(created: exp.Create) -> tuple[Column, ...]:
    """The columns; raises `InputError` for a type that events do not have."""
    schema = created.this
    if not isinstance(schema, exp.Schema):
        raise InputError(f"CREATE {created.kind} {schema.name} has no columns; give their names and types.")
    return tuple(_column(each) for each in schema.expressions if isinstance(each, exp.ColumnDef))


def _column(defined: exp.ColumnDef) -> Column:
    kind = defined.args.get("kind")
    found = KINDS.get(kind.this) if kind is not None else None
    if kind is None or found is None:
        refuse(defined, f"column {defined.name} has the type {kind}", f"use one of {', '.join(_names())}")
    parameters = [int(each.name) for each in kind.expressions]
    scale = parameters[1] if found == "decimal" and len(parameters) > 1 else 0
    if found == "decimal" and len(parameters) < 2:
        refuse(defined, f"{defined.name} is a decimal without a scale", "write NUMERIC(18, 2), say")
    required = any(isinstance(each.kind, REQUIRED) for each in defined.args.get("constraints") or ())
    return Column(defined.name, found, scale, required)


def _names() -> list[str]:
    return sorted({kind.value for kind in KINDS})
