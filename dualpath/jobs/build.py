"""The batch path: makes record files of the event log, by the same column expressions as the stream."""

import shutil
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from dualpath.offline.history import DICTIONARY, History, dictionary_salt, record_salt, view_version
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.spark.log import read_log
from dualpath.spark.records import records, texts
from dualpath.spark.session import shuffle_partitions
from dualpath.steps import Step, step

SMALL_ROW_GROUPS = {"parquet.block.size": str(2**19)}
"""Of a dictionary, bytes: its rows are sorted by code, so that a lookup of a few codes reads a few row groups."""


def build(spark: SparkSession, repo: Repo, source: EventSource, through: date | None = None) -> list[str]:
    """Bring the record files of a source's views up to date, for arrival days up to `through`; returns those built.

    An arrival day is built again only if the log has other batches for it than its part was made from, or if the part
    has lost files. Raises `StateError` if another job builds, or if the files do not hold what was written.
    """
    with repo.storage(source.name).building():
        return _build(spark, repo, source, through)


def _build(spark: SparkSession, repo: Repo, source: EventSource, through: date | None) -> list[str]:
    storage, history = repo.storage(source.name), History(repo.root)
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
        _publish(history, dictionary_folder, made, stale, "code", SMALL_ROW_GROUPS)
    for view in views:
        stale = history.stale(view_version(view), wanted, digests)
        if stale:
            # No field has a name with two underscores in front.
            events = read_log(spark, storage, source, stale).withColumn("__arrived", F.unix_micros("arrival_time"))
            made = records(events, view, fold=False, beside=("__arrived", "batch"))
            made = made.withColumnRenamed("__arrived", "arrived")
            _publish(history, view_version(view), made, stale, "entity")
            built.update(stale)
        history.note_complete(view, finished)
    return sorted(built)


@step(Step.PUBLISH_RECORD_FILES)
def _publish(
    history: History,
    name: str,
    made: DataFrame,
    parts: dict[str, str],
    order: str,
    options: Mapping[str, str] = MappingProxyType({}),
) -> None:
    staged = history.folder(name) / ".staged"
    shutil.rmtree(staged, ignore_errors=True)
    spread = max(1, shuffle_partitions(made.sparkSession) // len(parts))
    written = Observation()
    # Observed between shuffle and sort: here a retried task counts once, and the rows stay sorted.
    spread_out = made.repartition("arrival_day", F.pmod(F.xxhash64(order), F.lit(spread))).observe(
        written, F.count(F.lit(1)).alias("rows")
    )
    arranged = spread_out.sortWithinPartitions("arrival_day", order)
    arranged.write.mode("overwrite").options(**options).partitionBy("arrival_day").parquet(str(staged))
    history.publish(name, staged, parts, written.get["rows"])
    shutil.rmtree(staged, ignore_errors=True)
