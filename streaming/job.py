"""The streaming path: payloads in, event log and online store out, each row exactly once.

read -> admit -> deduplicate -> per micro-batch: records to Redis, rows to the log, fates to the ledger.
"""

from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from dualpath.errors import StateError
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.admit import PLACE, admit
from dualpath.storage import Storage, write_atomically
from streaming.sink import Sink
from streaming.source import PayloadSource


def start(
    spark: SparkSession,
    repo: Repo,
    source: EventSource,
    payloads: PayloadSource,
    *,
    interval: timedelta | None = None,
) -> StreamingQuery:
    """Start the stream of one source; with an `interval` it goes on for ever, without it ends with the input."""
    storage = repo.storage(source.name)
    query = generation(storage)
    sink = Sink(repo, source, query)
    trigger = {"availableNow": True} if interval is None else {"processingTime": f"{interval.total_seconds()} seconds"}
    return (
        fates(payloads.read(spark), source)
        .writeStream.queryName(f"{repo.project}.{source.name}")
        .option("checkpointLocation", str(storage.folder("checkpoint") / "spark"))
        .foreachBatch(sink.land)
        .trigger(**trigger)
        .start()
    )


def fates(raw: DataFrame, source: EventSource) -> DataFrame:
    """Every accepted row once, with fate `accepted`, and every row read as `seen` or `dead`, with its place.

    Deduplication drops rows without a trace, so what was read travels beside what was kept: read = accepted +
    duplicate + dead holds by data, not by metrics that a crash may lose. Ids are remembered by the clock of the
    batch, which Spark keeps in the checkpoint: a row is never behind that watermark, however late it arrives.
    """
    judged = admit(raw, source)
    names = [c for c in judged.columns if c not in (*PLACE, "payload", "reason")]
    horizon = f"{source.duplicates_within.total_seconds()} seconds"
    accepted = (
        judged.where("reason IS NULL")
        .select(*names, F.current_timestamp().alias("admitted_at"))
        .withWatermark("admitted_at", horizon)
        .dropDuplicatesWithinWatermark(["event_id"])
        .select(*names, F.lit(None).cast("string").alias("payload"), F.lit("accepted").alias("fate"))
        .withColumn("reason", F.lit(None).cast("string"))
    )
    types = dict(judged.dtypes)
    accepted = accepted.withColumns({n: F.lit(None).cast(types[n]) for n in PLACE})
    seen = judged.select(
        *(F.lit(None).cast(types[n]).alias(n) for n in names),
        F.when(F.col("reason").isNotNull(), F.col("payload")).alias("payload"),
        F.when(F.col("reason").isNotNull(), "dead").otherwise("seen").alias("fate"),
        "reason",
        *PLACE,
    )
    return accepted.unionByName(seen)


def generation(storage: Storage) -> int:
    """The number of this checkpoint: 1 for the first, kept with it. Raises `StateError` if it was lost."""
    file, begun = (storage.folder("checkpoint") / name for name in ("generation", "spark/metadata"))
    if storage.entries() and not (file.exists() and begun.exists()):
        raise StateError(
            f"source '{storage.source}': the checkpoint is gone but the log has its rows; reading the input again "
            "would count them twice. Restore the checkpoint folder from a backup."
        )
    if not file.exists():
        write_atomically(file, "1")
    return int(file.read_text())
