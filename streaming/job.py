"""The streaming path: payloads in, event log and online store out, each row exactly once.

read -> admit -> deduplicate -> per micro-batch: records to Redis, rows to the log, fates to the ledger.
"""

from collections.abc import Iterable
from datetime import timedelta

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from dualpath.record import expressions
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.admit import PLACE, admit
from streaming import generation
from streaming.listener import Listener
from streaming.metrics import FILE, Meter, Metrics
from streaming.sink import Sink
from streaming.source import PayloadSource


def start(
    spark: SparkSession,
    repo: Repo,
    source: EventSource,
    payloads: PayloadSource,
    *,
    interval: timedelta | None = None,
    clock: Column | None = None,
    metrics: Metrics | None = None,
) -> StreamingQuery:
    """Start the stream of one source; with an `interval` it goes on for ever, without it ends with the input.

    `clock` is the instant of a micro-batch; by default the one that Spark keeps in the checkpoint. Several sources
    can share their `metrics`; each leaves them in its ledger folder too.
    """
    storage, name = repo.storage(source.name), f"{repo.project}.{source.name}"
    query = generation.present(storage, payloads.name)
    meter = Meter(metrics or Metrics(), source.name, storage.folder("ledger") / FILE)
    sink = Sink(repo, source, query, meter)
    sink.ready(spark)
    raw = payloads.read(spark, storage.positions(before=query))
    trigger = {"availableNow": True} if interval is None else {"processingTime": f"{interval.total_seconds()} seconds"}
    Listener(spark, name, meter)
    return (
        fates(raw, source, F.current_timestamp() if clock is None else clock, expressions(sink.views))
        .writeStream.queryName(name)
        .option("checkpointLocation", str(generation.checkpoint(storage, query)))
        .foreachBatch(sink.land)
        .trigger(**trigger)
        .start()
    )


def fates(raw: DataFrame, source: EventSource, clock: Column, sqls: Iterable[str]) -> DataFrame:
    """Every accepted row once, with fate `accepted`, and every row read as `seen` or `dead`, with its place.

    Deduplication drops rows without a trace, so what was read travels beside what was kept: read = accepted +
    duplicate + dead holds by data, not by metrics that a crash may lose. Ids are remembered by the clock of the
    batch: a row is never behind that watermark, however late it arrives. Each row has it as `admitted_at`.
    """
    judged = admit(raw, source, clock, sqls)
    names = [c for c in judged.columns if c not in ("payload", "reason", *PLACE)]
    horizon = f"{source.duplicates_within.total_seconds()} seconds"
    accepted = (
        judged.where("reason IS NULL")
        .select(*names, clock.alias("admitted_at"))
        .withWatermark("admitted_at", horizon)
        .dropDuplicatesWithinWatermark(["event_id"])
        .select(*names, "admitted_at", F.lit("accepted").alias("fate"))
    )
    types = dict(judged.dtypes)
    seen = judged.select(
        *(F.lit(None).cast(types[n]).alias(n) for n in names),
        F.when(F.col("reason").isNotNull(), F.col("payload")).alias("payload"),
        F.when(F.col("reason").isNotNull(), "dead").otherwise("seen").alias("fate"),
        "reason",
        *PLACE,
        clock.alias("admitted_at"),
    )
    return accepted.unionByName(seen, allowMissingColumns=True)
