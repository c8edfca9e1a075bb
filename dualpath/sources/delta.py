"""Makes payloads of the rows of Delta tables: of one version, whichever files that has, and without deleted rows."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dualpath.errors import InputError
from dualpath.sources import rendering

if TYPE_CHECKING:
    from deltalake import DeltaTable

LOG = "_delta_log"
IN_ORDER = {"datafusion.execution.target_partitions": "1"}
"""One file after the other, so that the number of a row is the same each time."""


def log(path: Path) -> Path | None:
    """The folder of the commits of the Delta table at a path; None if there is none."""
    return path / LOG if (path / LOG).is_dir() else None


def opened(folder: Path) -> "DeltaTable":
    """The newest version of a table, which stays the version that is read.

    Raises `InputError` if it has none that can be read.
    """
    from deltalake import DeltaTable

    try:
        return DeltaTable(folder)
    except Exception as error:  # of a log that is anything
        raise _unreadable(str(folder), error) from None


def rows(table: "DeltaTable", what: str, fitting: Callable[[Sequence[str]], list[str]]) -> Iterator[bytes]:
    """The rows of an opened version as lines of JSON (`rendering.json_lines`), of the columns that `fitting` chooses.

    Holds one batch in memory. Raises `InputError`, which begins with `what`: at once for a table with a feature that
    cannot be read and for a column that cannot be rendered, later for a file that is missing or broken.
    """
    from deltalake import QueryBuilder

    columns = fitting([field.name for field in table.schema().fields])
    names = ", ".join('"{}"'.format(name.replace('"', '""')) for name in columns)
    try:
        # The reader as a PyArrow dataset refuses deletion vectors, and gives nulls where columns are mapped.
        query = QueryBuilder(IN_ORDER).register("rows", table).execute(f'SELECT {names} FROM "rows"')
        reader = pa.RecordBatchReader.from_stream(query)
    except Exception as error:
        raise _unreadable(what, error) from None
    rendering.check(reader.schema, what)
    return rendering.json_lines(_batches(reader, what), what)


def _batches(reader: pa.RecordBatchReader, what: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except Exception as error:
        raise _unreadable(what, error) from None


def _unreadable(what: str, error: Exception) -> InputError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"{what} cannot be read as a Delta table ({said}); restore it, or write it as Parquet files.")
