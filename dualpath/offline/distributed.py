"""Training sets on Spark: the same kernel on every partition's entities."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from dualpath.errors import crossing
from dualpath.known import Known
from dualpath.offline.history import PART, RECORDS, History, view_version
from dualpath.offline.training import values
from dualpath.parts import parts
from dualpath.plan import plan
from dualpath.spark.session import shuffle_partitions
from dualpath.values import arrow_type
from dualpath.view import View

ROWS_PER_PARTITION = 500_000


def features(
    spark: SparkSession,
    rows: DataFrame,
    view: View,
    names: tuple[str, ...],
    history: History,
    by: Literal["arrived", "batch"] | None = None,
) -> DataFrame:
    """Features for `rows` of (`row` bigint, `entity` string, `as_of` bigint): (`row`, one column a feature).

    If rows know less than everything, `by` is that of a `dualpath.known.Known`, and their `known` bigint its limit, or
    array<bigint> its limits. Records and rows of an entity meet in one partition, where `dualpath.offline.training`
    does the work.
    """
    outputs = plan(view, names).outputs
    schema = pa.schema([("row", pa.int64())])
    for name, output in outputs.items():
        schema = schema.append(pa.field(name, arrow_type(output)))
    none = F.lit(None).cast("bigint")
    limit = F.col("known") if by else none.alias("known")
    asked = rows.select("row", "entity", "as_of", F.lit(None).cast("array<bigint>").alias("words"), limit)
    several = by is not None and asked.schema["known"].dataType.typeName() == "array"
    entities = F.broadcast(rows.select("entity").distinct())
    for place, part in enumerate(parts(view)):
        if paths := history.paths(view_version(part)):
            records = spark.read.schema(from_arrow_schema(RECORDS)).parquet(*paths)
            wanted = records.join(entities, "entity", "left_semi")
            number = F.col(by) if by else none
            if several:
                number = F.array(number, F.lit(place).cast("bigint"))
            asked = asked.unionByName(
                wanted.select(none.alias("row"), "entity", none.alias("as_of"), "words", number.alias("known"))
            )

    sources = [source.name for source in view.sources]

    def evaluate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        whole = pa.Table.from_batches(batches) if (batches := list(batches)) else None
        if whole is None:
            return
        is_row = whole["row"].is_valid()
        mine, records = whole.filter(is_row), whole.filter(pa.compute.invert(is_row))
        known = None
        if by and several:
            known, records = Known(by, _numbers(mine["known"])), _beside(records, by)
        elif by:
            known, records = Known(by, mine["known"].to_numpy()), records.rename_columns({"known": by})
        as_of = mine["as_of"].to_numpy()
        entity = pa.concat_arrays(mine["entity"].chunks) if mine.num_rows else pa.array([], pa.string())
        with crossing():
            found = values(view, names, entity, as_of, records, partial(history.texts, sources), known)
        yield from pa.Table.from_arrays([mine["row"], *found.values()], schema=schema).to_batches()

    partitions = max(shuffle_partitions(spark), rows.count() // ROWS_PER_PARTITION + 1)
    return asked.repartition(partitions, "entity").mapInArrow(evaluate, from_arrow_schema(schema))


def _numbers(lists: pa.ChunkedArray) -> np.ndarray:
    """Lists of equal length as int64[n, length]."""
    width = len(lists[0]) if len(lists) else 0
    return lists.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(lists), width)


def _beside(records: pa.Table, by: str) -> pa.Table:
    """Records with the two numbers that stand in `known`: the one that is compared, and the place of their part."""
    numbers = _numbers(records["known"]).reshape(-1, 2)
    return records.append_column(by, pa.array(numbers[:, 0])).append_column(PART, pa.array(numbers[:, 1]))
