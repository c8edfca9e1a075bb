"""What deduplication costs a micro-batch, beside Spark's own, and how its cost grows with the rate."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.measure import Sheet, spell
from dualpath.dedup.segments import BYTES_PER_ID, FILE_IDS, HASH, LARGEST_IDS, Deduplicator, sort, split
from dualpath.dedup.store import stored, write_segment
from dualpath.spark.session import session

BATCH = 2_000
"""Ids of a micro-batch, all of them new."""
STORED = (1_000_000, 10_000_000, 100_000_000)
OF_SPARK = 10_000_000
"""The most that Spark's store is filled with: filling its store with more takes a quarter of an hour."""
TURNS = 5
RATES = (1, 4, 16)
TASKS = 8
BATCH_PER_RATE, STORED_PER_RATE = 500, 6_000_000
UNMERGED = 7
"""Batches whose segments are not merged yet."""
ROCKSDB = {
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
}


def run() -> Iterator[Sheet]:
    """The time of all tasks together, for each number of stored ids; the median of a few batches."""
    spark = session("benchmarks", cores=2, conf=ROCKSDB)
    cells, data = {}, []
    try:
        for count in STORED:
            ours, theirs = _measured(_dualpath, count), None
            cells[f"{count:,} ids"] = f"{spell(ours)}, {count * BYTES_PER_ID / 2**20:,.0f} MiB"
            if count <= OF_SPARK:
                theirs = _measured(lambda folder, n: _spark(spark, folder, n), count)
                cells[f"{count:,} ids"] += f"; Spark {spell(theirs)}, {theirs / ours:,.0f} times as long"
            data.append({"ids": count, "dualpath_seconds": ours, "spark_seconds": theirs})
    finally:
        spark.stop()
    yield Sheet(f"to tell {BATCH:,} new ids from those stored", cells, {"stored": data})

    cells, data = {}, []
    for rate in RATES:
        whole = _measured(partial(_growth, split_by_hash=False), rate)
        ranges = _measured(partial(_growth, split_by_hash=True), rate)
        cells[f"rate x{rate}"] = (
            f"{spell(ranges)}; files of any hash {spell(whole)}, {whole / ranges:.1f} times as long"
        )
        data.append({"rate": rate, "by_hash_seconds": ranges, "any_hash_seconds": whole})
    what = f"growth with the rate: {TASKS} tasks, {BATCH_PER_RATE:,} new ids and {STORED_PER_RATE:,} stored x rate"
    yield Sheet(what, cells, {"growth": data})


def _measured(way: Any, count: int) -> float:
    with TemporaryDirectory(prefix="ids-") as folder:
        return float(np.median(list(way(Path(folder), count))))


def _dualpath(folder: Path, count: int) -> Iterator[float]:
    """Seconds with segments of the size from which they are not merged again."""
    draw = np.random.default_rng(count)
    files = [file for size in _sizes(count, LARGEST_IDS) for file in _written(draw, folder, size, size // FILE_IDS)]
    for _ in range(TURNS):
        batch = _ids(draw, BATCH)
        began = time.perf_counter()
        assert Deduplicator(map(stored, files), since=0).new(batch).all()
        yield time.perf_counter() - began


def _growth(folder: Path, rate: int, *, split_by_hash: bool) -> Iterator[float]:
    """Seconds of all tasks together at a multiple of a rate, which multiplies the ids of a batch and those stored.

    Without the split, files are as large, hold any hash and are all opened by every task.
    """
    draw = np.random.default_rng(rate)
    count, batch = rate * STORED_PER_RATE, rate * BATCH_PER_RATE
    files = []
    for size in _sizes(count, LARGEST_IDS if split_by_hash else FILE_IDS):
        files += _written(draw, folder, size, size // FILE_IDS)
    for _ in range(UNMERGED):
        files += _written(draw, folder, batch, TASKS)
    if not split_by_hash:
        files = [file.rename(file.with_name(f"any-{file.name}")) for file in files]
    for _ in range(TURNS):
        shares = [share for [share] in split([sort(_ids(draw, batch))], TASKS)]
        began = time.perf_counter()
        for share in shares:
            assert Deduplicator(map(stored, files), since=0).new(share).all()
        yield time.perf_counter() - began


def _sizes(count: int, most: int) -> list[int]:
    return [min(most, count - begun) for begun in range(0, count, most)]


def _written(draw: np.random.Generator, folder: Path, count: int, files: int) -> list[Path]:
    """New ids in so many files, each of a range of hashes."""
    ranges = split([sort(_ids(draw, count))], max(files, 1))
    return [write_segment(share, folder) for [share] in ranges if share[HASH].size]


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
