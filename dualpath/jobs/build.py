"""The batch path: makes record files of the event log, by the same column expressions as the stream."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from dualpath.files.locks import Check
from dualpath.files.places import Place, remove
from dualpath.offline.buckets import ALL, BUCKETS
from dualpath.offline.history import DICTIONARY, History, dictionary_salt, record_salt, view_version
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.log import read_log
from dualpath.spark.records import records, texts
from dualpath.spark.session import shuffle_partitions
from dualpath.steps import Step, step
from dualpath.view import View

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
    # Texts are built first, so that no record holds a code whose text is missing.
    dictionary_folder = f"{DICTIONARY}/{source.name}"
    staged, alone = history.folder(dictionary_folder) / ".staged", partial(storage.require, "building")
    remove(staged, ignore_errors=True)
    lacking = history.stale(dictionary_folder, wanted, storage.digests(dictionary_salt(source.name, views)))
    if lacking:
        made = texts(read_log(spark, storage, source, lacking), views).withColumn("view", F.lit(DICTIONARY))
        [rows] = _stage(made, [DICTIONARY], len(lacking), staged, "code", TEXT_ROW_GROUPS)
        _publish(history, dictionary_folder, staged, lacking, rows, version, alone)
    built: set[str] = set()
    for stale, alike in _by_days({view: history.stale(view_version(view), wanted, digests) for view in views}):
        # No field has a name with two underscores in front.
        events = read_log(spark, storage, source, stale).withColumn("__arrived", F.unix_micros("arrival_time"))
        made = records(events, alike, beside=("__arrived", "batch")).withColumnRenamed("__arrived", "arrived")
        large = [day for day, count in storage.events(stale).items() if count > SMALL_DAY]
        counts = _stage(made, [view.name for view in alike], len(stale), staged, "entity", RECORD_ROW_GROUPS, large)
        for view, rows in zip(alike, counts, strict=True):
            _publish(history, view_version(view), staged / f"view={view.name}", stale, rows, version, alone)
        built.update(stale)
    remove(staged, ignore_errors=True)
    for view in views:
        history.note_complete(view, finished)
    return sorted(built)


def _by_days(stale: Mapping[View, dict[str, str]]) -> list[tuple[dict[str, str], list[View]]]:
    """The views that lack the same arrival days: one query makes the records of all of them."""
    found: dict[tuple[str, ...], tuple[dict[str, str], list[View]]] = {}
    for view, parts in stale.items():
        if parts:
            found.setdefault(tuple(parts), (parts, []))[1].append(view)
    return [*found.values()]


def _stage(
    made: DataFrame,
    views: Sequence[str],
    days: int,
    staged: Place,
    order: str,
    row_groups: int,
    large: Sequence[str] = (),
) -> list[int]:
    """Write the rows of some views and `days` arrival days as `staged/view=V/arrival_day=E/bucket=B/`, sorted by a
    column and, of `large` days, split into buckets of it. Returns how many rows each view has."""
    digest, is_large = F.xxhash64(order), F.col("arrival_day").isin(*large)
    bucket = F.when(is_large, F.pmod(digest, F.lit(BUCKETS)).cast("string")).otherwise(ALL)
    spread = max(1, shuffle_partitions(made.sparkSession) // days)
    # Of a large day a multiple of the buckets, so that each has as many files.
    place = F.pmod(digest, F.when(is_large, F.lit(-(-spread // BUCKETS) * BUCKETS)).otherwise(spread))
    written = Observation()
    # Observed between shuffle and sort: here a retried task counts once, and the rows stay sorted.
    counts = [F.count_if(F.col("view") == name).alias(name) for name in views]
    spread_out = made.repartition("view", "arrival_day", place).observe(written, *counts)
    arranged = spread_out.withColumn("bucket", bucket).sortWithinPartitions("view", "arrival_day", "bucket", order)
    writer = arranged.write.mode("overwrite").option("parquet.block.size", row_groups)
    writer.partitionBy("view", "arrival_day", "bucket").parquet(str(staged))
    return [written.get[name] for name in views]


@step(Step.PUBLISH_RECORD_FILES)
def _publish(
    history: History, name: str, staged: Place, parts: Mapping[str, str], rows: int, version: int, alone: Check
) -> None:
    """Publish staged rows as the parts of their arrival days."""
    history.publish(name, staged, parts, rows, version, alone)
