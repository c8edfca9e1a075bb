"""Writes event payloads as files into a landing folder, each whole or not at all."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa

from dualpath.errors import InputError
from dualpath.log.files import sync, written

PLAIN_TYPES = (pa.string(), pa.large_string(), pa.int32(), pa.int64(), pa.bool_(), pa.float64())


def land(table: pa.Table, folder: Path, *, rows_per_file: int, start: int = 0) -> list[Path]:
    """Write `table` as newline-delimited JSON (UTF-8), `rows_per_file` rows a file, and return the files.

    File names sort in the table's row order: a number from `start` and a hash of the content. A file appears whole
    or not at all, and one that is there already is left alone, so landing the same table again after a crash
    completes the folder and changes nothing else. A further one for the same folder starts at its `next_number`.

    Columns are text, int32, int64, bool, double, decimals, or `timestamp[us]` with a time zone; any other
    raises `InputError`, and so does `rows_per_file` below 1. Timestamps become ISO-8601 UTC with six digits
    after the second, decimals become strings, so that they stay exact, and a null leaves its field out.

    >>> import tempfile
    >>> from decimal import Decimal
    >>> events = pa.table({"user_id": ["ann", "bob"], "amount": [Decimal("12.50"), None]})
    >>> [file] = land(events, Path(tempfile.mkdtemp()), rows_per_file=100)
    >>> print(file.read_text(), end="")
    {"user_id":"ann","amount":"12.50"}
    {"user_id":"bob"}
    """
    _check(rows_per_file)
    lines = _json_lines(table)
    chunks = (lines.slice(first, rows_per_file).to_pylist() for first in range(0, len(lines), rows_per_file))
    return _write(("".join(chunk).encode() for chunk in chunks), folder, start)


def land_lines(payloads: Path, folder: Path, *, rows_per_file: int, start: int = 0) -> list[Path]:
    """Copy the lines of a file as they are, whatever they hold, in the way of `land`; the last one gets its newline.

    Raises `InputError` if the file cannot be read; then nothing is landed.
    """
    _check(rows_per_file)
    try:
        opened = payloads.open("rb")
    except OSError as error:
        raise InputError(f"{payloads}: cannot be read ({error.strerror}); name a file of JSON lines.") from None
    with opened as lines:
        return _write(_chunks(lines, rows_per_file), folder, start)


def next_number(folder: Path) -> int:
    """The first number after those of the files in `folder`."""
    numbers = [int(head) for file in folder.glob("*.jsonl") if (head := file.name.partition("-")[0]).isdecimal()]
    return max(numbers, default=-1) + 1


def _check(rows_per_file: int) -> None:
    if rows_per_file < 1:
        raise InputError(f"land: rows_per_file is {rows_per_file}; pass at least 1.")


def _chunks(lines: Iterable[bytes], size: int) -> Iterator[bytes]:
    rest = iter(lines)
    while chunk := b"".join(islice(rest, size)):
        yield chunk if chunk.endswith(b"\n") else chunk + b"\n"


def _write(contents: Iterable[bytes], folder: Path, start: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, content in enumerate(contents, start):
        file = folder / f"{number:08d}-{hashlib.sha256(content).hexdigest()[:12]}.jsonl"
        if not file.exists():
            _write_whole(file, content)
        files.append(file)
    sync([folder])
    return files


def _json_lines(table: pa.Table) -> pa.ChunkedArray:
    """One JSON object and its newline per row. `concat_ws` skips the fields that are null."""
    fields = ", ".join(_json_field(field) for field in table.schema)
    # DuckDB must not convert time zones: the columns are handed over as the UTC wall clock, which has none.
    columns = [
        column.cast(pa.timestamp("us")) if pa.types.is_timestamp(column.type) else column for column in table.columns
    ]
    with duckdb.connect() as connection:
        connection.register("events", pa.table(columns, names=table.column_names))
        query = f"SELECT '{{' || concat_ws(',', {fields}) || '}}' || chr(10) AS line FROM events"
        return connection.sql(query).to_arrow_table()["line"]


def _json_field(field: pa.Field) -> str:
    """The SQL for `"name":value`; null where the column is."""
    column = '"' + field.name.replace('"', '""') + '"'
    kind = field.type
    if pa.types.is_timestamp(kind) and kind.unit == "us" and kind.tz:
        column = f"strftime({column}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    elif pa.types.is_decimal(kind):
        column = f"CAST({column} AS VARCHAR)"
    elif kind not in PLAIN_TYPES:
        raise InputError(
            f"land: column '{field.name}' is {kind}, which has no exact JSON form here; "
            "cast it to text, int64, bool, double, a decimal or timestamp[us, UTC]."
        )
    key = json.dumps(field.name, ensure_ascii=False).replace("'", "''")
    return f"'{key}:' || to_json({column})"


def _write_whole(file: Path, content: bytes) -> None:
    """Readers of the folder skip hidden names, so none of them sees a file that is not whole and on disk."""
    hidden = file.with_name(f".{file.name}.tmp")
    with written(hidden) as out:
        out.write(content)
    hidden.replace(file)
