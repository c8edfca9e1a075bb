"""What became of every row of a micro-batch, as a frame that says it of each."""

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath.schema import EventSource
from dualpath.spark.admit import PLACE, admit


def fates(raw: DataFrame, source: EventSource, clock: Column, sqls: Iterable[str]) -> DataFrame:
    """Every accepted row once, with fate `accepted`, and every row read as `seen` or `dead`, with its place.

    Deduplication drops rows without a trace, so what was read travels beside what was kept: read = accepted +
    duplicate + dead holds by data, not by metrics that a crash may lose. Ids are remembered by the clock of the
    batch: a row is never behind that watermark, however late it arrives. Each row has it as `admitted_at`.

    The clock is a constant in the code that Spark generates, which it compiles anew for each batch: so it is put into a
    column first of all, before the long code that judges payloads.
    """
    horizon = f"{source.duplicates_within.total_seconds()} seconds"
    timed = raw.withColumn("admitted_at", clock).withWatermark("admitted_at", horizon)
    rows = _shuffled_once(admit(timed, source, sqls))
    refused = F.col("reason").isNotNull()
    accepted = rows.where(~refused).dropDuplicatesWithinWatermark(["event_id"]).withColumn("fate", F.lit("accepted"))
    whole = ("event_id", "reason", "payload", "admitted_at", *PLACE)
    seen = rows.select(
        *(
            F.col(name) if name in whole else F.when(F.col("reason") == "", F.col(name)).alias(name)
            for name in rows.columns
        ),
        F.when(refused, "dead").otherwise("seen").alias("fate"),
    )
    return accepted.unionByName(seen)


def _shuffled_once(judged: DataFrame) -> DataFrame:
    """Rows where their ids are remembered, for both halves of `fates` to read: payloads are parsed once.

    Spark shares a shuffle only between plans that are the same below it. So no half may leave out a column (where one
    wants none of it, it takes it under a condition that never holds: no reason is empty), and neither may have its
    filter moved below the shuffle, which a reason that Spark must not reorder prevents.
    """
    rows = judged.repartition("event_id")
    never = F.when(F.spark_partition_id() < 0, F.lit(""))
    rows = rows.withColumn("reason", F.coalesce("reason", never))
    return rows.withColumn("payload", F.when(F.col("reason").isNotNull(), F.col("payload")))
