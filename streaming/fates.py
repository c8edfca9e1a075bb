"""What became of every row of a micro-batch: a frame that says it of each, and the tally of it."""

from collections.abc import Iterable
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath.schema import EventSource
from dualpath.spark.admit import PLACE, admit
from dualpath.spark.reach import beyond


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
    whole = ("reason", "payload", "admitted_at", *PLACE)
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


class Tally:
    """Counts fates. Its columns are built once, for a micro-batch has little time; `keep` is as for `beyond`."""

    def __init__(self, keep: int) -> None:
        lateness = F.unix_micros("arrival_time") - F.unix_micros("event_time")
        accepted = F.col("fate") == "accepted"
        self.origin = F.col("__origin").alias("origin")
        self.columns = [
            F.count_if(accepted).alias("accepted"),
            F.count_if(F.col("fate") == "seen").alias("good"),
            F.count_if(F.col("fate") == "dead").alias("dead_letter"),
            F.count_if(F.col("late")).alias("late"),
            F.count_if(accepted & beyond(keep, F.col("admitted_at"))).alias("beyond"),
            F.coalesce(F.max(F.when(F.col("late"), lateness)), F.lit(0)).alias("latest_by"),
            F.collect_set(F.when(accepted, F.col("epoch"))).alias("epochs"),
            F.max("__position").alias("position"),
            F.max(F.unix_micros("admitted_at")).alias("clock"),
        ]

    def of(self, rows: DataFrame) -> dict[str, Any]:
        """The fates of the rows read, the epochs of the accepted ones, how late the latest came, the batch's clock,
        and how far each origin was read: what `dualpath.ledger.Entry` holds. `rows` are of `fates`, with `epoch`."""
        # By origin: a batch has few.
        found = rows.groupBy(self.origin).agg(*self.columns).collect()
        accepted, good, dead, late = (sum(r[n] for r in found) for n in ("accepted", "good", "dead_letter", "late"))
        return {
            "rows_read": good + dead,
            "accepted": accepted,
            "duplicate": good - accepted,
            "dead_letter": dead,
            "late": late,
            "beyond": sum(r["beyond"] for r in found),
            "latest_by": max((r["latest_by"] for r in found), default=0),
            "clock": max((r["clock"] for r in found), default=0),
            "epochs": tuple(sorted({epoch for r in found for epoch in r["epochs"]})),
            "positions": {r["origin"]: r["position"] for r in found if r["origin"] is not None},
        }
