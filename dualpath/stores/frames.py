"""What is written to Redis, as Spark frames: every record that leaves for the online store passes here."""

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dualpath.spark.arrange import arrange
from dualpath.spark.records import records, records_of_all, texts
from dualpath.stores.append import OUTPUT, TEXTS, Done, Target, refusal
from dualpath.view import View

FEW = 20_000
"""Events that one task translates and writes sooner than several do, as it needs no shuffle."""


def currency(events: DataFrame, views: list[View], *, few: bool = False) -> DataFrame:
    """All views' records of events, by epoch, and the texts behind their codes: `dualpath.stores.append.INPUT`.

    If the events are `few`, all of it is one task.
    """
    events = events.coalesce(1) if few else events
    single = [view for view in views if view.resolution == 1]
    frames = [records_of_all(events, single)] if single else []
    frames += [
        records(events, view, fold=True).select(F.lit(view.name).alias("view"), "epoch", "entity", "words")
        for view in views
        if view.resolution > 1
    ]
    return joined([*frames, dictionary(texts(events, views))], few=few)


def dictionary(texts: DataFrame) -> DataFrame:
    """Texts (`code`, `text`) as rows for the writer, which forgives it if one comes twice."""
    named = F.lit(TEXTS).alias("view"), F.lit("").alias("epoch"), F.col("text").alias("entity")
    return texts.select(*named, F.array("code").alias("words"))


def joined(frames: Sequence[DataFrame], *, few: bool = False) -> DataFrame:
    """Rows for the writer in one frame, in the order that it needs."""
    return arrange(reduce(DataFrame.unionByName, frames), partitions=1 if few else None)


def send(rows: DataFrame, target: Target) -> dict[str, Done]:
    """Write rows of `joined`; answers what was done by view.

    Raises `StateError` if a part holds another layout, and `CollisionError` if two texts share a code.
    """
    try:
        # Summed up here: a shuffle of a few rows costs a batch more than all else about them.
        answers = rows.mapInArrow(target.write, OUTPUT).collect()
    except Exception as error:
        raise refusal(error) or error from None
    found: dict[str, Done] = {}
    for answer in answers:
        found[answer["view"]] = found.get(answer["view"], Done(answer["view"])) + Done(**answer.asDict())
    return found
