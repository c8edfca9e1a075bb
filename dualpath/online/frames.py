"""What is written to Redis: every record that leaves for the online store passes here."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dualpath.online.append import OUTPUT, TEXTS, Done, Target, refusal
from dualpath.online.few import Few
from dualpath.spark.arrange import arrange
from dualpath.spark.records import records, records_of_all, texts
from dualpath.view import View


def currency(events: DataFrame, views: list[View]) -> DataFrame:
    """All views' records of events, by arrival day, and the texts behind their codes:
    `dualpath.online.append.INPUT`."""
    single = [view for view in views if view.resolution == 1]
    frames = [records_of_all(events, single)] if single else []
    frames += [
        records(events, view, fold=True).select(F.lit(view.name).alias("view"), "arrival_day", "entity", "words")
        for view in views
        if view.resolution > 1
    ]
    return joined([*frames, dictionary(texts(events, views))])


def dictionary(texts: DataFrame) -> DataFrame:
    """Texts (`code`, `text`) as rows for the writer, which forgives it if one comes twice."""
    named = F.lit(TEXTS).alias("view"), F.lit("").alias("arrival_day"), F.col("text").alias("entity")
    return texts.select(*named, F.array("code").alias("words"))


def joined(frames: Sequence[DataFrame]) -> DataFrame:
    """Rows for the writer in one frame, in the order that it needs."""
    return arrange(reduce(DataFrame.unionByName, frames))


def send(rows: DataFrame, target: Target) -> dict[str, Done]:
    """Write rows of `joined`; answers what was done by view.

    Raises `StateError` if a part holds another layout, and `CollisionError` if two texts share a code.
    """
    # Summed up here: a shuffle of a few rows costs a batch more than all else about them.
    return _done(lambda: [answer.asDict() for answer in rows.mapInArrow(target.write, OUTPUT).collect()])


def send_few(few: Few, views: Sequence[View], target: Target) -> dict[str, Done]:
    """The same of a small batch's records, without Spark."""
    return _done(lambda: [answer for batch in target.write(few.rows(views)) for answer in batch.to_pylist()])


def _done(write: Callable[[], Iterable[dict[str, Any]]]) -> dict[str, Done]:
    found: dict[str, Done] = {}
    try:
        for answer in write():
            found[answer["view"]] = found.get(answer["view"], Done(answer["view"])) + Done(**answer)
    except Exception as error:
        raise refusal(error) or error from None
    return found
