"""What an event says of its row before the change, as Spark columns (`dualpath.changes`)."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from dualpath import paths
from dualpath.row_versions import columns_before
from dualpath.schema import EventSource
from dualpath.spark.elements import ELEMENT
from dualpath.spark.payload import Parses, at
from dualpath.spark.places import Places


def changed(source: EventSource) -> dict[str, Column]:
    """For each column of what a field was before: its value where that differs from the present one, else null."""
    found = columns_before(source, [field.name for field in source.fields])
    return {was: F.when(F.col(was) != F.col(now), F.col(was)) for now, was in found.items()}


def faults(source: EventSource, places: Places) -> list[Column]:
    """What is wrong with the former row as a whole: null, or a reason."""
    if not source.changes or source.changes.before is None:
        return []
    place, value = paths.parse(source.changes.before), "payload"
    if (rest := paths.inside(place, source.each)) is not None:
        place, value = rest, ELEMENT
    said = [places.text(field.places) for field in source.changes.former(source.fields)]

    def parsed(*steps: str) -> Column:
        return at(Parses([(*place, *steps)], "__before").columns(F.col(value))[0], place)

    # One more parse, and only of payloads in which nothing is said of the former row; one more of those that have it.
    text, an_object = parsed(), parsed(paths.MESSAGE).isNotNull()
    wrong = F.concat(F.lit(f"{source.changes.before} is not an object: "), F.substring(text, 1, 80))
    return [F.when(F.coalesce(*said).isNull() & text.isNotNull(), F.when(~an_object, wrong))]
