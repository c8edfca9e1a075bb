"""The streaming path: payloads in, event log and online store out, each row exactly once.

read -> decode -> admit -> per micro-batch: deduplicate, rows to the log, outcomes to the ledger, records to Redis.
"""

from datetime import timedelta

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from dualpath.jobs.listener import Listener
from dualpath.jobs.metrics import FILE, Meter, Metrics
from dualpath.jobs.sink import Sink
from dualpath.log import generation
from dualpath.record import calculations
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.sources.decoder import decoded
from dualpath.sources.kafka import Kafka
from dualpath.sources.source import PayloadSource
from dualpath.sources.topic_tables import Topics
from dualpath.spark.admit import admit


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
    topics = Topics(spark, payloads) if isinstance(payloads, Kafka) else None
    sink = Sink(repo, source, query, meter, topics)
    sink.ready(spark)
    raw = decoded(payloads.read(spark, storage.positions(before=query)), source.decoder)
    # The clock is a constant in the code that Spark generates, and compiles anew for each batch. A watermark is what
    # keeps it out of the long code that judges payloads; nothing is dropped by it, for nothing here has state.
    timed = raw.withColumn("admitted_at", F.current_timestamp() if clock is None else clock)
    timed = timed.withWatermark("admitted_at", "0 seconds")
    trigger = {"availableNow": True} if interval is None else {"processingTime": f"{interval.total_seconds()} seconds"}
    Listener(spark, name, meter, sink.idle)
    return (
        admit(timed, source, calculations(sink.views), sink.dimensions.in_use)
        .writeStream.queryName(name)
        .option("checkpointLocation", generation.location(generation.checkpoint(storage, query)))
        .foreachBatch(sink.land)
        .trigger(**trigger)
        .start()
    )
