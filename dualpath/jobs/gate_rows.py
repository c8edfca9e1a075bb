"""That no row of a source of changes has moved: all its versions name the same entity."""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dualpath.jobs.gate_report import Failure
from dualpath.schema import EventSource
from dualpath.view import View


def moved(events: DataFrame, source: EventSource, views: Sequence[View]) -> list[Failure]:
    """A failure for each view of whose join keys a row has several values; `events` are all of the log, read once.

    A version replaces the earlier ones of its own entity, so that a row which moves would count for both. Keys that are
    part of the row's key cannot change.
    """
    if source.changes is None:
        return []
    names = source.changes.key
    key = [source.by_name[name].column for name in names]
    free = {view.name: [column for column in view.key_columns if column not in key] for view in views}
    columns = sorted({column for each in free.values() for column in each})
    if not columns:
        return []
    several = {column: f"__{number}" for number, column in enumerate(columns)}
    rows = events.groupBy(*key).agg(*((F.min(c) != F.max(c)).alias(name) for c, name in several.items()))
    wrong = {view: " OR ".join(several[column] for column in each) for view, each in free.items() if each}
    asked = [
        F.struct(F.count_if(F.expr(moves)).alias("count"), F.min(F.when(F.expr(moves), F.struct(*key))).alias("first"))
        for moves in wrong.values()
    ]
    [answer] = rows.select(*key, *several.values()).agg(*asked).collect()
    found = zip((view for view in views if view.name in wrong), answer, strict=True)
    return [_failure(view, names, *each) for view, each in found if each["count"]]


def _failure(view: View, names: Sequence[str], count: int, first: Sequence[Any]) -> Failure:
    """Of a view with so many rows that have moved, of which the first has these values of the key."""
    keys = ", ".join(view.keys)
    sentence = f"{count:,} rows by {', '.join(names)} have several values of {keys}, by which view '{view.name}' is"
    example = ", ".join(f"{name} {value}" for name, value in zip(names, first, strict=True))
    remedy = f"let the producer send a deletion for the old {keys}, and add it to the key of the source's changes"
    return Failure("moved rows", None, count, sentence, (example,), remedy)
