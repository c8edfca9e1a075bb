"""Renders Arrow rows as JSON payloads, each value exactly or not at all."""

import json
from collections.abc import Iterable, Iterator

import duckdb
import pyarrow as pa

from dualpath.errors import InputError

AS_THEY_ARE = (pa.string(), pa.large_string(), pa.string_view(), pa.bool_(), pa.float32(), pa.float64(), pa.date32())
MICROSECONDS, NANOSECONDS = "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%n"
ROWS_PER_BATCH = 16_384
DUCKDB_DIGITS = 38
"""The most digits that a decimal of DuckDB has."""


def json_lines(batches: Iterable[pa.RecordBatch], what: str) -> Iterator[bytes]:
    """One JSON object and its newline per row, UTF-8; a null leaves its member out.

    | column | in the payload |
    |---|---|
    | text, boolean, whole number | the same |
    | float, double | the shortest number that is read back as the same; `NaN` and `Infinity` stay |
    | decimal | its digits as text, all of them |
    | timestamp with a zone | ISO-8601 UTC with six digits after the second, or nine if it has any below microseconds |
    | timestamp without a zone | the same without the `Z`: it is for admission to say what that means |
    | date, time, UUID | ISO-8601 as text; `00112233-4455-...` as text |
    | dictionary | its values |
    | struct, list, map | a JSON object, array, object, of values by the same rules; a null in a list stays |

    Any other type raises `InputError`, and so does a text that is not UTF-8 or an instant that no calendar has; the
    message begins with `what`, the name of what the rows come from.

    >>> events = pa.table({"user": ["ann"], "score": pa.array([0.1], pa.float32()), "tags": [["new", None]]})
    >>> [line] = json_lines(events.to_batches(), "events")
    >>> line
    b'{"user":"ann","score":0.1,"tags":["new",null]}\\n'
    """
    with duckdb.connect() as connection:
        for batch in batches:
            columns = [_handed_over(batch.column(i), field, what) for i, field in enumerate(batch.schema)]
            # By numbers: to DuckDB, `id` and `ID` are one name.
            connection.register("rows", pa.table(columns, names=[f"c{i}" for i in range(len(columns))]))
            yield from _rendered(connection, batch.schema, what)


def check(schema: pa.Schema, what: str) -> None:
    """Raise `InputError` if a column has a type without an exact form; `what` says where it stands."""
    for field in schema:
        try:
            _form(field.type)
        except _NoFormError as error:
            within = "" if error.args[0] == field.type else f" with {error.args[0]} in it"
            raise InputError(
                f"{what}: column '{field.name}' is {field.type}{within}, which has no exact JSON form here; "
                "cast it to text, or to a number, a decimal or a timestamp, or leave it out."
            ) from None


class _NoFormError(Exception):
    """Carries the type that cannot be rendered."""


def _handed_over(column: pa.Array, field: pa.Field, what: str) -> pa.Array:
    """A column in the form that DuckDB renders exactly: it must convert neither zones nor digits."""
    check(pa.schema([field]), what)
    try:
        column.validate(full=True)  # DuckDB makes an empty text of one that is not UTF-8
        return column.cast(_form(field.type))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"{what}: column '{field.name}' ({field.type}) has a value that cannot be written exactly "
            f"({str(error).splitlines()[0]}); correct it, or cast the column to text."
        ) from None


def _form(kind: pa.DataType) -> pa.DataType:
    """The type in which a column is handed over; raises `_NoFormError`."""
    types = pa.types
    if kind in AS_THEY_ARE or types.is_null(kind) or kind == pa.uuid():
        return kind
    if types.is_integer(kind):
        return kind
    if types.is_timestamp(kind):
        return pa.timestamp("ns" if kind.unit == "ns" else "us")
    if types.is_date64(kind):
        return pa.date32()
    if types.is_time(kind):
        return pa.string()
    if types.is_decimal(kind) and kind.scale >= 0:
        exact = kind.precision <= DUCKDB_DIGITS
        return pa.decimal128(kind.precision, kind.scale) if exact else pa.string()
    if types.is_dictionary(kind):
        return _form(kind.value_type)
    if isinstance(kind, pa.JsonType):
        return _form(kind.storage_type)
    if types.is_struct(kind) and kind.num_fields:
        return pa.struct([pa.field(f.name, _form(f.type)) for f in kind])
    # A cast from a list view loses its values.
    if _is_list(kind):
        return pa.list_(_form(kind.value_type))
    if types.is_map(kind) and (types.is_integer(kind.key_type) or _is_text(kind.key_type)):
        entry = [pa.field("key", _form(kind.key_type)), pa.field("value", _form(kind.item_type))]
        return pa.list_(pa.struct(entry))
    raise _NoFormError(kind)


def _is_text(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _value(sql: str, kind: pa.DataType, depth: int = 0) -> str:
    """The SQL for the JSON text of a value that was handed over; null where that is null."""
    types = pa.types
    each = f"e{depth}"
    if types.is_dictionary(kind):
        return _value(sql, kind.value_type, depth)
    if types.is_timestamp(kind):
        form = f"strftime({sql}, {_literal(MICROSECONDS)})"
        if kind.unit == "ns":
            finer = f"strftime({sql}, {_literal(NANOSECONDS)})"
            form = f"CASE WHEN epoch_ns({sql}) % 1000 = 0 THEN {form} ELSE {finer} END"
        return f"""('"' || {form} || '{"Z" if kind.tz else ""}"')"""
    if types.is_float32(kind):  # as JSON, DuckDB writes the digits of the double
        return f"CASE WHEN isfinite({sql}) THEN CAST({sql} AS VARCHAR) ELSE CAST(to_json({sql}) AS VARCHAR) END"
    if types.is_struct(kind):
        members = ", ".join(
            f"{_literal(_key(f.name))} || {_value(f'struct_extract_at({sql}, {i + 1})', f.type, depth)}"
            for i, f in enumerate(kind)
        )
        return f"CASE WHEN {sql} IS NOT NULL THEN '{{' || concat_ws(',', {members}) || '}}' END"
    if types.is_map(kind):
        key, item = (f"struct_extract_at({each}, {i})" for i in (1, 2))
        value = f"coalesce({_value(item, kind.item_type, depth + 1)}, 'null')"
        entry = f"CAST(to_json(CAST({key} AS VARCHAR)) AS VARCHAR) || ':' || {value}"
        return f"('{{' || {_joined(sql, each, entry)} || '}}')"
    if _is_list(kind):
        value = f"coalesce({_value(each, kind.value_type, depth + 1)}, 'null')"
        return f"('[' || {_joined(sql, each, value)} || ']')"
    as_text = types.is_decimal(kind) or types.is_date(kind) or kind == pa.uuid()
    return f"CAST(to_json({f'CAST({sql} AS VARCHAR)' if as_text else sql}) AS VARCHAR)"


def _joined(sql: str, each: str, value: str) -> str:
    return f"array_to_string(list_transform({sql}, lambda {each}: {value}), ',')"


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False) + ":"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rendered(connection: duckdb.DuckDBPyConnection, schema: pa.Schema, what: str) -> Iterator[bytes]:
    """The lines of the registered rows. `concat_ws` skips the members that are null."""
    members = (f"{_literal(_key(field.name))} || {_value(f'c{i}', field.type)}" for i, field in enumerate(schema))
    query = f"SELECT '{{' || concat_ws(',', {', '.join(members)}) || '}}' || chr(10) AS line FROM rows"
    try:
        lines = connection.sql(query).to_arrow_table()["line"]
    except duckdb.Error as error:
        raise InputError(
            f"{what}: a value of the columns {', '.join(schema.names)} cannot be written as JSON "
            f"({str(error).splitlines()[0]}); correct it, or cast its column to text."
        ) from None
    return (line.encode() for line in lines.to_pylist())
