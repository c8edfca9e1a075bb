"""The batch path: makes record files of the event log, by the same column expressions as the stream."""

from collections.abc import Collection, Sequence
from datetime import date

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from dualpath.files.places import remove
from dualpath.log.storage import Storage
from dualpath.offline.buckets import ALL, BUCKETS
from dualpath.offline.history import DICTIONARY, History, dictionary_salt, record_salt, view_version
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.log import read_log
from dualpath.spark.records import records, texts
from dualpath.spark.session import shuffle_partitions
from dualpath.steps import Step, step

TEXT_ROW_GROUPS, RECORD_ROW_GROUPS = 2**19, 2**21
"""Bytes: rows are sorted by code or entity, so that a read of a few of them reads a few row groups."""
SMALL_DAY = 25_000
"""Events up to which an arrival day's records are not in buckets: to open the files would take longest."""


def build(spark: SparkSession, repo: Repo, source: EventSource, through: date | None = None) -> list[str]:
    """Bring the record files of a source's views up to date, for arrival days up to `through`; returns those built.

    An arrival day is built again only if the log has other batches for it than its part was made from, or if the part
    has lost files. Raises `StateError` if another job builds, or if the files do not hold what was written.
    """
    with repo.storage(source.name).building():
        return _build(spark, repo, source, through)


def _build(spark: SparkSession, repo: Repo, source: EventSource, through: date | None) -> list[str]:
    storage, history = repo.storage(source.name), History(repo.root)
    version = storage.table.snapshot().version
    # Before the digests: what those have is there up to here at least.
    finished = storage.complete_through("9999-12-31" if through is None else through.isoformat())
    views, digests = repo.views_of(source.name), storage.digests(record_salt(source.name))
    wanted = [e for e in digests if through is None or e <= through.isoformat()]
    built: set[str] = set()
    # Texts are built first, so that no record holds a code whose text is missing.
    dictionary_folder = f"{DICTIONARY}/{source.name}"
    stale = history.stale(dictionary_folder, wanted, storage.digests(dictionary_salt(source.name, views)))
    if stale:
        made = texts(read_log(spark, storage, source, stale), views)
        _publish(history, dictionary_folder, made, stale, version, "code", TEXT_ROW_GROUPS)
    of_view = {view: history.stale(view_version(view), wanted, digests) for view in views}
    large = _large_days(spark, storage, source, {*()}.union(*of_view.values()))
    for view, stale in of_view.items():
        if stale:
            # No field has a name with two underscores in front.
            events = read_log(spark, storage, source, stale).withColumn("__arrived", F.unix_micros("arrival_time"))
            made = records(events, view, fold=False, beside=("__arrived", "batch"))
            made = made.withColumnRenamed("__arrived", "arrived")
            _publish(history, view_version(view), made, stale, version, "entity", RECORD_ROW_GROUPS, large)
            built.update(stale)
        history.note_complete(view, finished)
    return sorted(built)


def _large_days(spark: SparkSession, storage: Storage, source: EventSource, arrival_days: Collection[str]) -> list[str]:
    """Those of some arrival days whose records are split into buckets."""
    if not arrival_days:
        return []
    of_day = read_log(spark, storage, source, arrival_days).groupBy("arrival_day").count()
    return [row.arrival_day for row in of_day.where(F.col("count") > SMALL_DAY).collect()]


@step(Step.PUBLISH_RECORD_FILES)
def _publish(
    history: History,
    name: str,
    made: DataFrame,
    parts: dict[str, str],
    version: int,
    order: str,
    row_groups: int,
    large: Sequence[str] = (),
) -> None:
    """Publish rows as the parts of their arrival days, sorted by a column; those of `large` days in buckets of it."""
    staged = history.folder(name) / ".staged"
    remove(staged)
    digest, is_large = F.xxhash64(order), F.col("arrival_day").isin(*large)
    bucket = F.when(is_large, F.pmod(digest, F.lit(BUCKETS)).cast("string")).otherwise(ALL)
    spread = max(1, shuffle_partitions(made.sparkSession) // len(parts))
    # Of a large day a multiple of the buckets, so that each has as many files.
    place = F.pmod(digest, F.when(is_large, F.lit(-(-spread // BUCKETS) * BUCKETS)).otherwise(spread))
    written = Observation()
    # Observed between shuffle and sort: here a retried task counts once, and the rows stay sorted.
    spread_out = made.repartition("arrival_day", place).observe(written, F.count(F.lit(1)).alias("rows"))
    arranged = spread_out.withColumn("bucket", bucket).sortWithinPartitions("arrival_day", "bucket", order)
    writer = arranged.write.mode("overwrite").option("parquet.block.size", row_groups)
    writer.partitionBy("arrival_day", "bucket").parquet(str(staged))
    history.publish(name, staged, parts, written.get["rows"], version)
