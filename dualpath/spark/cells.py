"""Cells as Spark columns: each operation of `dualpath.cells` is translated once, here."""

from typing import ClassVar

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf

from dualpath import cells
from dualpath.errors import CARRIED, InputError
from dualpath.schema import NULL, SATURATED
from dualpath.view import View
from dualpath.words import order


class SparkCell:
    """A cell as Spark columns. This one holds one word, the encoded value; subclasses say what differs."""

    parts: ClassVar[tuple[str, ...]] = ()
    """Fields of the column, if it is a struct: one a word."""

    def __init__(self, cell: cells.Cell, view: View) -> None:
        self.cell, self.view = cell, view

    def contribution(self) -> Column:
        """What one event adds; null, or the word of nothing, if it adds nothing."""
        return F.when(self.passes, self.word)

    def folded(self, column: Column) -> Column:
        """The aggregate that folds a group's contributions into one; a cell that splits has none."""
        raise NotImplementedError

    def adds(self, column: Column) -> Column:
        """Whether a contribution is more than nothing."""
        return column.isNotNull() if self.cell.nullable else column != self.cell.nothing[0]

    def words(self, column: Column) -> list[Column]:
        """The record's words, of a contribution or of a fold."""
        found = [column[part] for part in self.parts] or [column]
        return [F.coalesce(each, F.lit(NULL).cast("bigint")) for each in found]

    @property
    def passes(self) -> Column:
        """Whether an event passes the condition, and is of a row that is there."""
        changes = self.view.source.changes
        passes = _true(self.cell.where, self.view) if self.cell.where else F.lit(True)
        return passes & ~_true(changes.deleted, self.view) if changes and changes.deleted else passes

    @property
    def word(self) -> Column:
        """The encoded value."""
        assert self.cell.of is not None, "every cell but a count is of an expression"
        return encoded(self.cell.of, self.view)


class Summed(SparkCell):
    """A sum, or `SATURATED` if it leaves 64 bits."""

    def contribution(self) -> Column:
        return F.coalesce(super().contribution(), F.lit(0).cast("bigint"))

    def folded(self, column: Column) -> Column:
        return F.coalesce(F.try_sum(column), F.lit(SATURATED))


class Counted(SparkCell):
    """How many events count."""

    def contribution(self) -> Column:
        there = computed(self.cell.of, self.view).isNotNull() if self.cell.of is not None else F.lit(True)
        return F.when(self.passes & there, F.lit(1)).otherwise(F.lit(0)).cast("bigint")

    def folded(self, column: Column) -> Column:
        return F.sum(column)


class Least(SparkCell):
    """The least value."""

    def folded(self, column: Column) -> Column:
        return F.min(column)


class Greatest(SparkCell):
    """The greatest value."""

    def folded(self, column: Column) -> Column:
        return F.max(column)


class Latest(SparkCell):
    """The value of the event with the greatest (time, code). A struct is compared by its fields in their order."""

    parts = ("value", "time", "id")

    def contribution(self) -> Column:
        word = super().contribution()
        time, name = F.unix_micros("event_time"), identity(self.view)
        return F.when(word.isNotNull(), F.struct(time.alias("time"), name.alias("id"), word.alias("value")))

    def folded(self, column: Column) -> Column:
        return F.max(column)


class Earliest(Latest):
    """The value of the event with the least (time, code)."""

    def folded(self, column: Column) -> Column:
        return F.min(column)


class Hashed(SparkCell):
    """The hash of the value; a text's code is its hash already."""

    def contribution(self) -> Column:
        word = super().contribution()
        text = self.cell.of is not None and self.view.type_of(self.cell.of).kind == "text"
        # `xxhash64` of null is not null.
        return word if text else F.when(word.isNotNull(), F.xxhash64(word))


TRANSLATIONS: dict[type[cells.Cell], type[SparkCell]] = {
    cells.Count: Counted,
    cells.Sum: Summed,
    cells.Min: Least,
    cells.Max: Greatest,
    cells.First: Earliest,
    cells.Last: Latest,
    cells.Dimension: SparkCell,
    cells.Sketch: Hashed,
}


def in_spark(cell: cells.Cell, view: View) -> SparkCell:
    """A view's cell, translated."""
    return TRANSLATIONS[type(cell)](cell, view)


def identity(view: View) -> Column:
    """The code of an event's id: `dualpath.row_versions.identity` in Spark."""
    return marked(F.xxhash64("event_id"), view)


def marked(codes: Column, view: View) -> Column:
    """Codes of a view's source, told from those of other sources."""
    return codes.bitwiseXOR(F.lit(view.mark)) if view.mark else codes


def _true(sql: str, view: View) -> Column:
    return F.coalesce(computed(sql, view), F.lit(False))


def computed(sql: str, view: View) -> Column:
    """An expression of an event.

    The log may hold events from before the expression was declared. An event for which it cannot be computed fails
    the job, with a sentence.
    """
    column = F.expr(view.spell(sql, "spark"))
    for excess in view.excesses([sql]):
        said = (
            f"view '{view.name}': {excess.calculation} has more than seventeen digits in an event of the log; "
            "calculate with smaller numbers. (event '"
        )
        message = F.concat(F.lit(said), F.col("event_id"), F.lit("')"))
        error = F.to_json(F.struct(F.lit(InputError.code).alias("code"), message.alias("message")))
        failed = F.raise_error(F.concat(F.lit(CARRIED), error))
        column = F.when(F.expr(excess.condition), failed).otherwise(column)
    return column


def encoded(sql: str, view: View) -> Column:
    """An expression as an int64 word: `dualpath.words.encode` in Spark. Null stays null."""
    column, kind = computed(sql, view), view.type_of(sql)
    match kind.kind:
        case "text":
            return F.when(column.isNotNull(), F.xxhash64(column))
        case "timestamp":
            return F.unix_micros(column)
        case "decimal":
            return (column.cast(f"decimal(27,{kind.scale})") * F.lit(10**kind.scale)).cast("bigint")
    return ordered(column) if kind.kind == "double" else column.cast("bigint")


def ordered(column: Column) -> Column:
    """Doubles as `dualpath.words.order` words. Spark has no function for a double's bits; Arrow hands them over."""

    def words(values: pa.Array) -> pa.Array:
        missing = values.is_null().to_numpy(zero_copy_only=False)
        return pa.array(order(values.to_numpy(zero_copy_only=False)), mask=missing)

    return arrow_udf(words, "bigint")(column)  # type: ignore[call-overload]
