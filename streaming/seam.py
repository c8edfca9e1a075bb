"""The seam between two generations of the stream: what the earlier one accepted, the later one must know.

A new query remembers no ids. So the rows that it accepts are held against the log of earlier generations, until
all of it is older than duplicates are looked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.schema import EventSource
from dualpath.storage import Storage

MICROSECOND = timedelta(microseconds=1)


class Seam:
    """The ids that generations before `query` have accepted, each until `duplicates_within` after its batch."""

    def __init__(self, storage: Storage, source: EventSource, query: int) -> None:
        self.storage = storage
        self.horizon = source.duplicates_within // MICROSECOND
        self.ids: DataFrame | None = None
        known = storage.blocks()
        self.blocks = [block for block in known if block.query < query and block.epochs]
        self.pass_by(max((block.clock for block in known), default=0))

    @contextmanager
    def without_repeats(self, rows: DataFrame) -> Iterator[DataFrame]:
        """Rows of `streaming.fates.fates` but for accepted ones that were accepted before; `rows` itself if there is
        no earlier batch left to ask."""
        if not self.blocks:
            yield rows
            return
        if self.ids is None:
            self.ids = self._read(rows.sparkSession).persist()
        rows = rows.persist()  # it is read twice, and the ids of a batch may be remembered only once
        try:
            yield self._first(rows, self.ids)
        finally:
            rows.unpersist()

    def _first(self, rows: DataFrame, ids: DataFrame) -> DataFrame:
        now = F.unix_micros("admitted_at")
        # The batch is small and the ids are many: they are filtered by it where they lie, and not shuffled.
        accepted = F.broadcast(rows.where("fate = 'accepted'").select("event_id", now.alias("now")))
        recent = ids.join(accepted, "event_id").where(F.col("clock") + F.lit(self.horizon) > F.col("now"))
        repeated = F.broadcast(recent.select(F.col("event_id").alias("__repeated")).distinct())
        return rows.join(
            repeated, (F.col("fate") == "accepted") & (F.col("event_id") == F.col("__repeated")), "left_anti"
        )

    def pass_by(self, clock: int) -> None:
        """Forget what no later batch can repeat; `clock` is that of a batch, microseconds UTC."""
        self.blocks = [block for block in self.blocks if block.clock + self.horizon > clock]
        if not self.blocks and self.ids is not None:
            self.ids.unpersist()
            self.ids = None

    def _read(self, spark: SparkSession) -> DataFrame:
        """Columns `event_id` string, `clock` bigint."""
        clocks = [(b.query, number, b.clock) for b in self.blocks for number in b.batches]
        folders = [str(self.storage.folder("log") / name) for b in self.blocks for name in b.folders(b.epochs)]
        files = spark.read.schema("event_id string, query int, batch int").option(
            "basePath", str(self.storage.folder("log"))
        )
        when = spark.createDataFrame(clocks, "query int, batch int, clock bigint")
        return files.parquet(*folders).join(F.broadcast(when), ["query", "batch"]).select("event_id", "clock")
