"""Looks the fields of a dimension up for events, in Spark's Python workers.

Only keys and times go to the workers, and no event is shuffled. A worker opens a table once, for all the batches that
use it. Which table a batch uses stands in a file that the driver replaces between batches, so that the plan of a stream
stays the same.
"""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.pandas.types import from_arrow_schema

from dualpath.dimension import Dimension, Lookup
from dualpath.errors import StateError
from dualpath.files.durable import move, written
from dualpath.files.places import Place, read_text
from dualpath.schema import EventSource
from dualpath.versions import Versions

FOUND = "found"


def looked_up(events: DataFrame, source: EventSource, tables: Place | None) -> DataFrame:
    """Events with the columns of the fields that the source looks up by their columns and `event_time`, and whether
    there was a version. The frame itself for a source without lookups.

    `tables` is a file as `in_use` reads it, which workers can read.
    """
    for number, lookup in enumerate(source.lookups):
        if tables is None:
            raise StateError(f"source '{source.name}': no table of '{lookup.dimension.name}' is loaded; pass `tables`.")
        answer = pa.schema([(FOUND, pa.bool_()), *lookup.stored])
        search = arrow_udf(_search(lookup, tables, answer), from_arrow_schema(answer))  # type: ignore[call-overload]
        keys = [F.col(source.by_name[name].column) for name in lookup.on]
        # The table may be another one in the next batch.
        events = events.select("*", search.asNondeterministic()(*keys, "event_time").alias(_column(number)))
    names = [(n, each.column) for n, lookup in enumerate(source.lookups) for each in lookup.fields]
    return events.select("*", *(F.col(_column(n))[name].alias(name) for n, name in names)) if names else events


def refusals(source: EventSource) -> list[Column]:
    """For each required lookup why a row of `looked_up` is refused; null if it is not."""
    found = []
    for number, lookup in enumerate(source.lookups):
        if lookup.required:
            keys = [F.coalesce(F.col(source.by_name[name].column).cast("string"), F.lit("null")) for name in lookup.on]
            said = [
                F.concat(F.lit(f"{key.name} "), each) for key, each in zip(lookup.dimension.keys, keys, strict=True)
            ]
            at = F.date_format("event_time", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
            reason = F.concat(
                F.lit(f"{lookup.dimension.name} has no version of "), F.concat_ws(", ", *said), F.lit(" at "), at
            )
            found.append(F.when(~F.col(_column(number))[FOUND], reason))
    return found


def in_use(tables: Place) -> dict[str, Any]:
    """What a file says of the tables in use: the batch that began to use them, `query` and `batch`, how they were
    `declared`, and as `tables` the file of each dimension, beside it. Empty if there is no file."""
    return json.loads(read_text(tables) or "{}")


def save(versions: Versions, file: Place) -> None:
    """Write a table for workers to read; it outlives a power failure."""
    temporary = file.with_name(f".{file.name}")
    with written(temporary) as stream, pa.ipc.new_file(stream, versions.rows.schema) as out:
        out.write_table(versions.rows)
    move(temporary, file)


@lru_cache(maxsize=8)
def opened(file: Place, dimension: Dimension) -> Versions:
    """A table that `save` wrote; its pages are shared by all workers of a machine, if it is a file of it."""
    held = pa.memory_map(str(file)) if isinstance(file, Path) else pa.py_buffer(file.read_bytes())
    with pa.ipc.open_file(held) as stream:
        return Versions(dimension, stream.read_all())


def _search(lookup: Lookup, tables: Place, answer: pa.Schema) -> Callable[..., Iterator[pa.Array]]:
    def search(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        versions = opened(tables.parent / in_use(tables)["tables"][lookup.dimension.name], lookup.dimension)
        for *keys, times in batches:
            rows = versions.find(keys, times)
            yield pa.StructArray.from_arrays([rows.is_valid(), *versions.take(lookup, rows)], fields=list(answer))

    return search


def _column(number: int) -> str:
    return f"__lookup_{number}"
