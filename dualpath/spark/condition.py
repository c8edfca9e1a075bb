"""Which rows are events of a source: its `where`, as Spark columns.

It is judged before all else of a row but that it is JSON. A value that cannot be read counts as null; if the condition
is null because of it, the row is refused for that value, since nobody can tell whose it is.
"""

from collections.abc import Callable
from dataclasses import replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath.expression import columns
from dualpath.field import Field
from dualpath.schema import EventSource
from dualpath.spelling import spell

PASSES, FAULT = "__passes", "__where_fault"


def judged(typed: DataFrame, source: EventSource, refusal: Callable[[Field], Column]) -> DataFrame:
    """Rows with two more columns: whether the condition is true, and, if it is null, what could not be read for it.

    typed: with the columns of the fields. refusal: why a row is refused for a field, or null.
    """
    assert source.where is not None
    read = [source.by_name[name] for name in sorted(columns(source.where))]
    faults = {field.name: refusal(field) for field in read}
    # Any text is one that a condition can compare, also one that is not among the choices.
    known = {
        field.name: F.col(field.column)
        if field.kind == "text"
        else F.when(faults[field.name].isNull(), F.col(field.column))
        for field in read
    }
    apart = {field.name: _apart(field) for field in read}
    compared = typed.select(
        "*",
        *(known[name].alias(field.column) for name, field in apart.items()),
        F.coalesce(*faults.values(), F.lit(None).cast("string")).alias(FAULT),
    )
    passes = F.expr(spell(source.where, "spark", apart))
    return compared.withColumns({PASSES: passes, FAULT: F.when(passes.isNull(), F.col(FAULT))})


def is_other(unreadable: Column) -> Column:
    """Whether a row is of another source; never null.

    unreadable: whether the place where fields of the condition stand could not be read.
    """
    unknown = F.col(PASSES).isNull() & (F.col(FAULT).isNotNull() | unreadable)
    return ~F.coalesce(F.col(PASSES), F.lit(False)) & ~unknown


def _apart(field: Field) -> Field:
    """A field whose column is that of its value in the condition."""
    return replace(field, name=f"__where_{field.name}", path=field.place)
