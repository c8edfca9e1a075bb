"""Makes payloads of the rows of Parquet files, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualpath.errors import InputError
from dualpath.sources import rendering


def parquet(file: Path, fitting: Callable[[Sequence[str]], list[str]]) -> Iterator[bytes]:
    """The rows of a file as lines of JSON (`rendering.json_lines`), of the columns that `fitting` chooses.

    Holds one batch in memory. Raises `InputError` at once if the file's schema cannot be read or rendered.
    """
    opened = pq.ParquetFile(file, coerce_int96_timestamp_unit="us")
    columns = fitting(opened.schema_arrow.names)
    schema = opened.schema_arrow
    rendering.check(pa.schema([schema.field(name) for name in columns]), str(file))
    return rendering.json_lines(_batches(file, opened, columns), str(file))


def _batches(file: Path, opened: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    batches = opened.iter_batches(rendering.ROWS_PER_BATCH, columns=columns)
    leaves = (opened.schema.column(i) for i in range(len(opened.schema)))
    old = {leaf.path.partition(".")[0] for leaf in leaves if leaf.physical_type == "INT96"}.intersection(columns)
    if not old:
        yield from batches
        return
    finer = pq.ParquetFile(file, coerce_int96_timestamp_unit="ns").iter_batches(
        rendering.ROWS_PER_BATCH, columns=columns
    )
    for batch, exact in zip(batches, finer, strict=True):
        yield _int96(batch, exact, sorted(old), file)


def _int96(micros: pa.RecordBatch, nanos: pa.RecordBatch, old: list[str], file: Path) -> pa.RecordBatch:
    """The columns of Spark's old timestamps, in nanoseconds only if they have such digits.

    A reader must choose: microseconds cut digits, and 64 bits of nanoseconds end in 2262 and then start again.
    """
    for name in old:
        at = micros.schema.get_field_index(name)
        coarse, fine = _instants(micros.column(at)), _instants(nanos.column(at))
        # Multiplied in 64 bits, as the reader has done, so that years beyond 2262 are compared as well.
        if all(pc.multiply(a, 1000).equals(b) for a, b in zip(coarse, fine, strict=True)):
            continue
        if not all(pc.divide(b, 1000).equals(a) for a, b in zip(coarse, fine, strict=True)):
            raise InputError(
                f"{file}: column '{name}' (int96) has instants with digits below microseconds and others beyond 2262 "
                "or before 1970; write it as timestamp in microseconds."
            )
        micros = micros.set_column(at, nanos.schema.field(name), nanos.column(at))
    return micros


def _instants(column: pa.Array) -> list[pa.Array]:
    """The instants in a column, as whole numbers, wherever they are nested."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return [column.cast(pa.int64())]
    if pa.types.is_struct(kind):
        return [found for part in column.flatten() for found in _instants(part)]
    if pa.types.is_map(kind):
        return [*_instants(column.keys), *_instants(column.items)]
    return _instants(column.flatten()) if pa.types.is_nested(kind) else []
