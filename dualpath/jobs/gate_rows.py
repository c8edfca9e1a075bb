"""That no row of a source of changes has moved to another entity unless an event says so."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from dualpath.changes import Changes
from dualpath.jobs.gate_report import Failure
from dualpath.row_versions import columns_before, naming_before
from dualpath.schema import EventSource
from dualpath.spark.cells import computed, encoded
from dualpath.view import View

GONE = "__gone"
"""Whether the row is deleted by a version."""


def moved(events: DataFrame, source: EventSource, views: Sequence[View]) -> list[Failure]:
    """A failure for each view of whose join keys a row has several values; `events` are all of the log, read once.

    A version replaces the earlier ones of its own entity, so that a row which moves would count for both. Of changes
    with `before` it does not if the version that moves the row says where it was, or if it was deleted there. Keys that
    are part of the row's key cannot change.
    """
    changes = source.changes
    if changes is None:
        return []
    key = [source.by_name[name].column for name in changes.key]
    free = {view: [column for column in view.key_columns if column not in key] for view in views}
    free = {view: columns for view, columns in free.items() if columns}
    if not free:
        return []
    wrong = [f"__{number}" for number in range(len(free))]
    rows = _unsaid(events, source, key, free) if changes.before else _several(events, key, free.values())
    asked = [
        F.struct(F.count_if(name).alias("count"), F.min(F.when(F.col(name), F.struct(*key))).alias("first"))
        for name in wrong
    ]
    [answer] = rows.toDF(*key, *wrong).agg(*asked).collect()
    return [_failure(view, changes, *each) for view, each in zip(free, answer, strict=True) if each["count"]]


def _several(events: DataFrame, key: Sequence[str], free: Iterable[Sequence[str]]) -> DataFrame:
    """The rows by their keys, and for each of some lists of columns whether a row has several values of one."""
    return events.groupBy(*key).agg(*(reduce(or_, (F.min(c) != F.max(c) for c in columns)) for columns in free))


def _unsaid(
    events: DataFrame, source: EventSource, key: Sequence[str], free: Mapping[View, Sequence[str]]
) -> DataFrame:
    """The rows by their keys, and for each view whether a version has other values of the view's columns than the one
    before it, which is no deletion, and does not say so."""
    one, changes = next(iter(free)), source.changes
    assert changes and changes.version, "changes with `before` have it"
    order = [F.unix_micros("event_time"), encoded(changes.version, one), F.xxhash64("event_id")]
    versions = Window.partitionBy(*key).orderBy(*order)
    gone = F.coalesce(computed(changes.deleted, one), F.lit(False)) if changes.deleted else F.lit(False)
    events = _with_former_keys(events.withColumn(GONE, gone), source)
    flags = []
    for number, (view, columns) in enumerate(free.items()):
        before = naming_before(view)
        last = {c: F.lag(c).over(versions) for c in columns}
        moves = reduce(or_, (last[c] != F.col(c) for c in columns))
        said = reduce(and_, (last[c] == (F.coalesce(before[c], c) if c in before else F.col(c)) for c in columns))
        flags.append((moves & ~said & ~F.lag(GONE).over(versions)).alias(f"__{number}"))
    return events.select(*key, *flags).groupBy(*key).agg(*(F.bool_or(f"__{n}") for n in range(len(flags))))


def _with_former_keys(events: DataFrame, source: EventSource) -> DataFrame:
    """With the events that change the key of their row once more, as a deletion of the row of the former key: another
    row may have that key from then on."""
    assert source.changes, "they are versions"
    former = columns_before(source, [field.name for field in source.fields])
    of_key = columns_before(source, source.changes.key).values()
    if not of_key:
        return events
    now = {column: F.coalesce(was, column) for column, was in former.items()}
    never = {was: F.lit(None).cast(events.schema[was].dataType) for was in former.values()}
    left = events.where(reduce(or_, (F.col(was).isNotNull() for was in of_key)))
    return events.unionByName(left.withColumns({**now, **never, GONE: F.lit(True)}))


def _failure(view: View, changes: Changes, count: int, first: Sequence[Any]) -> Failure:
    """Of a view with so many rows that have moved, of which the first has these values of the key."""
    keys, names = ", ".join(view.keys), changes.key
    sentence = f"{count:,} rows by {', '.join(names)} have several values of {keys}, by which view '{view.name}' is"
    example = ", ".join(f"{name} {value}" for name, value in zip(names, first, strict=True))
    remedy = (
        "declare where payloads have the former row, as changes=Changes(..., before=...), or let the producer send a "
        f"deletion for the old {keys}, and add it to the key of the source's changes"
    )
    if changes.before:
        sentence += f", and '{changes.before}' does not say so"
        remedy = (
            "let the producer send all of the former row, as with a full replica identity, and read the join keys of "
            f"the view in '{changes.before}' too"
        )
    return Failure("moved rows", None, count, sentence, (example,), remedy)
