"""Training sets on Spark: the same kernel on every partition's entities."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Literal

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from dualpath.errors import crossing
from dualpath.known import Known
from dualpath.offline.history import RECORDS, History, view_version
from dualpath.offline.training import values
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

    If rows know less than everything, `by` is that of a `dualpath.known.Known`, and their `known` bigint its limit.
    Records and rows of an entity meet in one partition, where `dualpath.offline.training` does the work.
    """
    outputs = plan(view, names).outputs
    schema = pa.schema([("row", pa.int64())])
    for name, output in outputs.items():
        schema = schema.append(pa.field(name, arrow_type(output)))
    paths = history.paths(view_version(view))
    records = spark.read.schema(from_arrow_schema(RECORDS)).parquet(*paths) if paths else None
    none = F.lit(None).cast("bigint")
    limit = F.col("known") if by else none.alias("known")
    asked = rows.select("row", "entity", "as_of", F.lit(None).cast("array<bigint>").alias("words"), limit)
    if records is not None:
        wanted = records.join(F.broadcast(rows.select("entity").distinct()), "entity", "left_semi")
        number = F.col(by) if by else none
        asked = asked.unionByName(
            wanted.select(none.alias("row"), "entity", none.alias("as_of"), "words", number.alias("known"))
        )

    def evaluate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        whole = pa.Table.from_batches(batches) if (batches := list(batches)) else None
        if whole is None:
            return
        is_row = whole["row"].is_valid()
        mine, records = whole.filter(is_row), whole.filter(pa.compute.invert(is_row))
        known = None
        if by:
            known, records = Known(by, mine["known"].to_numpy()), records.rename_columns({"known": by})
        as_of = mine["as_of"].to_numpy()
        entity = pa.concat_arrays(mine["entity"].chunks) if mine.num_rows else pa.array([], pa.string())
        with crossing():
            found = values(view, names, entity, as_of, records, partial(history.texts, view.source.name), known)
        yield from pa.Table.from_arrays([mine["row"], *found.values()], schema=schema).to_batches()

    partitions = max(shuffle_partitions(spark), rows.count() // ROWS_PER_PARTITION + 1)
    return asked.repartition(partitions, "entity").mapInArrow(evaluate, from_arrow_schema(schema))
