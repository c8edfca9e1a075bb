"""What reading the log costs before and after a night has compacted the files of two thousand micro-batches."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.measure import Sheet, spell
from dualpath.declare import event_source
from dualpath.jobs import log_compaction
from dualpath.log import forms
from dualpath.log import table as log_table
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED
from dualpath.schema import text
from dualpath.spark.log import read_log
from dualpath.spark.session import session
from parity_tests import logged

LANDED, ROWS, TASKS = 2_000, 2_000, 2
"""Micro-batches, the rows of each, and the files that they lie in."""
DAY, CLOCK = "2026-03-01", 1_772_323_200_000_000
INSTANT = pa.timestamp("us", "UTC")
source = event_source("events", fields=[text("user_id")], arrival_time=None)


def run() -> Iterator[Sheet]:
    """Seconds to read every event, and what lies on the disk."""
    spark = session("benchmarks", cores=2)
    try:
        with TemporaryDirectory(prefix="log_compaction-") as folder:
            storage = Storage(Path(folder), source.name)
            storage.table.ensure(forms.schema(forms.known(storage, source)))
            for batch in range(LANDED):
                _land(storage, batch)
            _read(spark, storage)
            small, before = _read(spark, storage), _things(storage)
            began = time.perf_counter()
            log_compaction.compact_log(spark, storage)
            seconds = time.perf_counter() - began
            with patch.object(log_table, "GRACE_HOURS", 0):  # what was replaced goes at once
                log_compaction.compact_log(spark, storage)
            large, after = _read(spark, storage), _things(storage)
    finally:
        spark.stop()
    cells = {
        "as the stream leaves it": f"{spell(small)}, {before:,} files and folders",
        "compacted": f"{spell(large)}, {after:,} files and folders",
        "to compact it": spell(seconds),
    }
    data = {
        "seconds": [small, large],
        "files_and_folders": [before, after],
        "compaction_seconds": seconds,
    }
    yield Sheet(f"to read a log of {LANDED * ROWS:,} events in {LANDED:,} micro-batches, 2 cores", cells, data)


def _land(storage: Storage, batch: int) -> None:
    entry = storage.begin(1, batch)
    share, files = ROWS // TASKS, []
    for task in range(TASKS):
        first = batch * ROWS + task * share
        instants = pa.array(range(first, first + share), INSTANT)
        columns = {
            "event_id": pa.array([f"event-{number:012d}" for number in range(first, first + share)]),
            "event_time": instants,
            "arrival_time": instants,
            "user_id": pa.array([f"user_{number % 50_000:06d}" for number in range(first, first + share)]),
            "late": pa.array([False] * share),
        }
        files.append(logged.write(storage, entry.fence, ACCEPTED, DAY, pa.table(columns)))
    counts = {"rows_read": ROWS, "accepted": ROWS, "arrival_days": (DAY,), "clock": CLOCK + batch}
    storage.finish(storage.note(entry, files, **counts))


def _read(spark: SparkSession, storage: Storage) -> float:
    began = time.perf_counter()
    [row] = read_log(spark, storage, source).agg(F.count_distinct("event_id").alias("ids")).collect()
    assert row.ids == LANDED * ROWS
    return time.perf_counter() - began


def _things(storage: Storage) -> int:
    return sum(1 for _ in storage.folder("log").rglob("*"))
