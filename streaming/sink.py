"""What a micro-batch leaves behind: records in Redis, rows in the log and the dead-letter table, an entry in
the ledger. Every step can run again after a crash at any line."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from functools import reduce

import tenacity
from prometheus_client import Gauge
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from redis import RedisError

from dualpath.errors import StateError
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.admit import PLACE
from dualpath.spark.arrange import arrange
from dualpath.spark.records import records, texts
from dualpath.storage import Entry, first_open
from dualpath.stores import bounds, pointer
from dualpath.stores.append import OUTPUT, TEXTS, Target, refusal
from dualpath.stores.connection import connect
from dualpath.stores.history import shelf
from dualpath.view import View

log = logging.getLogger(__name__)
OVER_BOUND = Gauge("dualpath_entities_over_bound", "Entities with more records than max_records of the view", ["view"])


class Sink:
    """Lands micro-batches of one source; `query` is the generation of the checkpoint."""

    def __init__(self, repo: Repo, source: EventSource, query: int) -> None:
        self.repo, self.source, self.query = repo, source, query
        self.views = repo.views_of(source.name)
        self.storage = repo.storage(source.name)

    def land(self, batch: DataFrame, number: int) -> None:
        """Write one micro-batch; `batch` is a frame of `streaming.job.fates`."""
        # Before the batch is begun: one that is refused then would keep every night waiting.
        self.patiently(self.agree)
        entry = self.storage.begin(self.query, number)
        arrival_day = F.date_format("arrival_time", "yyyy-MM-dd")
        epoch = F.greatest(arrival_day, F.lit(first_open(entry.sealed)))
        rows = batch.withColumn("epoch", epoch).persist()
        try:
            fates = self.count(rows)
            if entry.done:
                # Counted all the same: Spark cannot commit a batch whose rows nobody has asked for.
                self.recognise(entry, fates)
                return
            accepted = rows.where("fate = 'accepted'").drop("fate", "payload", "reason", *PLACE)
            if fates["accepted"]:
                self.patiently(self.serve, accepted, Fence(self.query, number), fates["epochs"])
                self.write(accepted, "log", entry, "epoch")
            if fates["dead_letter"]:
                place = (F.col(name).alias(name.removeprefix("__")) for name in PLACE)
                dead = rows.where("fate = 'dead'").select("payload", "reason", *place)
                self.write(dead, "dead", entry)
            self.storage.finish(entry, **fates)
        finally:
            rows.unpersist()

    def count(self, rows: DataFrame) -> dict[str, object]:
        """The fate of every row read, the epochs of the accepted ones and how late the latest came."""

        def how_many(condition: str) -> Column:
            return F.count_if(F.expr(condition))

        lateness = F.unix_micros("arrival_time") - F.unix_micros("event_time")
        found = rows.agg(
            how_many("fate = 'accepted'").alias("accepted"),
            how_many("fate = 'seen'").alias("good"),
            how_many("fate = 'dead'").alias("dead_letter"),
            how_many("late").alias("late"),
            F.coalesce(F.max(F.when(F.col("late"), lateness)), F.lit(0)).alias("latest_by"),
            F.sort_array(F.collect_set(F.when(F.col("fate") == "accepted", F.col("epoch")))).alias("epochs"),
        ).first()
        assert found is not None, "an aggregate without groups has one row"
        return {
            "rows_read": found["good"] + found["dead_letter"],
            "accepted": found["accepted"],
            "duplicate": found["good"] - found["accepted"],
            "dead_letter": found["dead_letter"],
            "late": found["late"],
            "latest_by": found["latest_by"],
            "epochs": tuple(found["epochs"]),
        }

    def recognise(self, entry: Entry, fates: dict[str, object]) -> None:
        """Raise `StateError` if a batch that was landed before holds other rows now, as after a lost checkpoint."""
        if (fates["rows_read"], fates["dead_letter"]) != (entry.rows_read, entry.dead_letter):
            raise StateError(
                f"source '{self.source.name}': batch {entry.batch} had {entry.rows_read} rows when it was landed and "
                f"has {fates['rows_read']} now; the checkpoint is not the one the log was written with: "
                "restore the latest."
            )

    def write(self, rows: DataFrame, kind: str, entry: Entry, *partition: str) -> None:
        """Rows to the batch's own folder; a repetition replaces it."""
        folder = self.storage.folder(kind) / entry.name
        rows.coalesce(2).write.mode("overwrite").partitionBy(*partition).parquet(str(folder))

    def patiently(self, step: Callable[..., None], *arguments: object) -> None:
        """Do a step that needs Redis; while that is away, wait and try again, for every step may be repeated."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self.is_away),
            wait=tenacity.wait_exponential(multiplier=0.1, max=5),
            before_sleep=lambda state: log.warning(
                "Redis is away (%s); waiting", state.outcome and state.outcome.exception()
            ),
        )
        retrying(step, *arguments)

    def agree(self) -> None:
        """Raise `StateError` if the online store holds state of other declarations than this stream's."""
        redis = connect(self.repo.redis_address)
        for view in self.views:
            pointer.read(redis, self.repo.project, view.name).of(shelf(view))

    def serve(self, events: DataFrame, fence: Fence, epochs: Iterable[str]) -> None:
        """Make the epochs known, then append every entity's records once; the fence forgives repetition."""
        redis = connect(self.repo.redis_address)
        parts = {}
        for view in self.views:
            name = shelf(view)
            known = pointer.move(redis, self.repo.project, view.name, lambda p, n=name: p.of(n).with_epochs(epochs))  # type: ignore[misc]
            parts[view.name] = self.repo.part(view, known)
        target = Target(self.repo.redis_address, self.repo.project, parts, fence)
        try:
            currency(events, self.views).mapInArrow(target.write, OUTPUT).collect()
        except Exception as error:
            raise refusal(error) or error from None
        heavy = Counter(each.view for each in bounds.over(redis, self.repo.project, self.views))
        for view in self.views:
            OVER_BOUND.labels(view.name).set(heavy[view.name])

    def is_away(self, error: BaseException) -> bool:
        """Whether an attempt failed because Redis cannot be reached."""
        if isinstance(error, RedisError):
            return True
        try:
            connect(self.repo.redis_address).ping()
        except RedisError:
            return True
        return False


def currency(events: DataFrame, views: list[View]) -> DataFrame:
    """All views' records, and the texts behind their codes, as `dualpath.stores.append.INPUT`."""
    frames = [
        records(events, view, fold=True).select(F.lit(view.name).alias("view"), "epoch", "entity", "words")
        for view in views
    ]
    coded = texts(events, views).select("code", "text").distinct()
    named = F.lit(TEXTS).alias("view"), F.lit("").alias("epoch"), F.col("text").alias("entity")
    frames.append(coded.select(*named, F.array("code").alias("words")))
    return arrange(reduce(DataFrame.unionByName, frames))
