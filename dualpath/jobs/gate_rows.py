"""That no row of a source of changes has moved: all its versions name the same entity."""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from dualpath.jobs.gate_report import Failure
from dualpath.schema import EventSource
from dualpath.view import View


def moved(events: DataFrame, source: EventSource, views: Sequence[View]) -> list[Failure]:
    """A failure for each view of whose join keys a row has several values; `events` are all of the log.

    A version replaces the earlier ones of its own entity, so that a row which moves would count for both. Keys that are
    part of the row's key cannot change.
    """
    if source.changes is None:
        return []
    key, found = [source.by_name[name].column for name in source.changes.key], []
    for view in views:
        free = [column for column in view.key_columns if column not in key]
        if not free:
            continue
        several = [F.min(each) != F.max(each) for each in free]
        rows = events.groupBy(*key).agg(*(each.alias(f"__{n}") for n, each in enumerate(several)))
        wrong = rows.where(" OR ".join(f"__{n}" for n in range(len(several)))).select(*key)
        if count := wrong.count():
            names = ", ".join(source.changes.key)
            examples = [
                ", ".join(f"{n} {row[c]}" for n, c in zip(source.changes.key, key, strict=True))
                for row in wrong.orderBy(*key).limit(1).collect()
            ]
            several_of = ", ".join(view.keys)
            sentence = f"{count:,} rows by {names} have several values of {several_of}, by which view '{view.name}' is"
            remedy = (
                f"let the producer send a deletion for the old {', '.join(view.keys)}, and add it to the key of the "
                "source's changes"
            )
            found.append(Failure("moved rows", None, count, sentence, tuple(examples), remedy))
    return found
