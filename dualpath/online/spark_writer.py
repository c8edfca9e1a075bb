"""Records that Spark holds, written to Redis: all records for the online store pass here."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dualpath.errors import carried
from dualpath.online.small_batch import SmallBatch
from dualpath.online.writer import OUTPUT, TEXTS, FencedWrite, WriteCounts
from dualpath.spark.records import folded_records, records, texts
from dualpath.spark.session import shuffle_partitions
from dualpath.view import View


def record_rows(events: DataFrame, views: list[View]) -> DataFrame:
    """All views' records of events, by arrival day, and the texts behind their codes, in writing order."""
    single = [view for view in views if view.resolution == 1]
    frames = [records(events, single)] if single else []
    frames += [
        folded_records(events, view).select(F.lit(view.name).alias("view"), "arrival_day", "entity", "words")
        for view in views
        if view.resolution > 1
    ]
    return in_writing_order([*frames, text_rows(texts(events, views))])


def text_rows(texts: DataFrame) -> DataFrame:
    """Texts (`code`, `text`) as rows of `dualpath.online.writer.INPUT`; a text may come twice."""
    named = F.lit(TEXTS).alias("view"), F.lit("").alias("arrival_day"), F.col("text").alias("entity")
    return texts.select(*named, F.array("code").alias("words"))


def in_writing_order(frames: Sequence[DataFrame]) -> DataFrame:
    """Rows of `dualpath.online.writer.INPUT` in one frame: each entity in one partition, sorted as the writer needs.

    There are as many partitions as the session shuffles into.
    """
    rows = reduce(DataFrame.unionByName, frames)
    parts = shuffle_partitions(rows.sparkSession)
    together = rows.coalesce(1) if parts == 1 else rows.repartition(parts, "view", "entity")
    # Spark compares one number fast. Its first bits say the view, because the writer goes view by view.
    view, owner = F.xxhash64("view"), F.xxhash64("view", "entity")
    number = F.shiftleft(F.shiftrightunsigned(view, 48), 48).bitwiseOR(F.shiftrightunsigned(owner, 16))
    return together.sortWithinPartitions(number, "view", "entity", "arrival_day", F.element_at("words", 1))


def write(rows: DataFrame, to: FencedWrite) -> dict[str, WriteCounts]:
    """Write rows of `in_writing_order`; returns what was written by view.

    Raises `OtherDeclarationError` if a part holds another layout, and `CollisionError` if two texts share a code.
    """
    # Summed up here: a shuffle of a few rows costs a batch more than everything else about them.
    return _summed(lambda: [answer.asDict() for answer in rows.mapInArrow(to.write, OUTPUT).collect()])


def write_small_batch(batch: SmallBatch, views: Sequence[View], to: FencedWrite) -> dict[str, WriteCounts]:
    """Write a small batch's records without Spark; otherwise as `write`."""
    return _summed(lambda: [answer for rows in to.write(batch.rows(views)) for answer in rows.to_pylist()])


def _summed(write: Callable[[], Iterable[dict[str, Any]]]) -> dict[str, WriteCounts]:
    found: dict[str, WriteCounts] = {}
    try:
        for answer in write():
            found[answer["view"]] = found.get(answer["view"], WriteCounts(answer["view"])) + WriteCounts(**answer)
    except Exception as error:
        raise carried(error) or error from None
    return found
