"""What it costs a micro-batch to know which of its ids came before, beside Spark's own deduplication."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.measure import Sheet, spell
from dualpath.dedup.ids import BYTES, MOST, Seen
from dualpath.dedup.ids import run as sorted_run
from dualpath.dedup.remembered import kept, opened
from dualpath.spark.session import session

BATCH = 2_000
"""Ids of a micro-batch, all of them new."""
REMEMBERED = (1_000_000, 10_000_000, 100_000_000)
OF_SPARK = 10_000_000
"""The most that Spark is asked to remember: filling its store with more takes a quarter of an hour."""
TURNS = 5
ROCKSDB = {
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}


def run() -> Iterator[Sheet]:
    """The time of all tasks together, for each number of remembered ids; the median of a few batches."""
    spark = session("benchmarks", cores=2, conf=ROCKSDB)
    cells, data = {}, []
    try:
        for count in REMEMBERED:
            ours, theirs = _measured(_dualpath, count), None
            cells[f"{count:,} ids"] = f"{spell(ours)}, {count * BYTES / 2**20:,.0f} MiB"
            if count <= OF_SPARK:
                theirs = _measured(lambda folder, n: _spark(spark, folder, n), count)
                cells[f"{count:,} ids"] += f"; Spark {spell(theirs)}, {theirs / ours:,.0f} times as long"
            data.append({"ids": count, "dualpath_seconds": ours, "spark_seconds": theirs})
    finally:
        spark.stop()
    yield Sheet(f"to tell {BATCH:,} new ids from those remembered, and to remember them", cells, {"remembered": data})


def _measured(way: Any, count: int) -> float:
    with TemporaryDirectory(prefix="ids-") as folder:
        return float(np.median(list(way(Path(folder), count))))


def _dualpath(folder: Path, count: int) -> Iterator[float]:
    """Seconds of the runs as the stream makes them at most: all of the size from which none is added to."""
    draw = np.random.default_rng(count)
    sizes = [min(MOST, count - begun) for begun in range(0, count, MOST)]
    files = [kept(sorted_run(_ids(draw, size)), folder) for size in sizes]
    for _ in range(TURNS):
        batch = _ids(draw, BATCH)
        began = time.perf_counter()
        assert Seen(map(opened, files), since=0).new(batch).all()
        yield time.perf_counter() - began


def _ids(draw: np.random.Generator, count: int) -> np.ndarray:
    return np.stack([*draw.integers(-(2**63), 2**63 - 1, (2, count)), np.ones(count, dtype=np.int64)])


def _spark(spark: SparkSession, folder: Path, count: int) -> Iterator[float]:
    """Seconds in which Spark's operator adds to its store and looks for what to forget."""
    for turn in range(-1, TURNS):
        first = 0 if turn < 0 else count + turn * BATCH
        ids = spark.range(first, first + (count if turn < 0 else BATCH), numPartitions=2)
        ids.write.mode("append").parquet(str(folder / "in"))
        rows = spark.readStream.schema("id bigint").parquet(str(folder / "in"))
        rows = rows.withColumn("at", F.current_timestamp()).withWatermark("at", "1 day")
        writer = rows.dropDuplicatesWithinWatermark(["id"]).writeStream.format("noop").trigger(availableNow=True)
        query = writer.option("checkpointLocation", str(folder / "checkpoint")).start()
        query.awaitTermination()
        reports: list[Any] = query.recentProgress
        [report] = [each for each in reports if each["numInputRows"]]
        [state] = report["stateOperators"]
        assert state["numRowsTotal"] == first + report["numInputRows"]
        if turn >= 0:
            yield (state["allUpdatesTimeMs"] + state["allRemovalsTimeMs"]) / 1_000
