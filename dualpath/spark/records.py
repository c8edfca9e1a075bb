"""Events to records, as Spark columns: the one translation both Spark paths use."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf

from dualpath.numbers import order
from dualpath.record import Cell, layout, text_expressions
from dualpath.schema import NULL, SATURATED
from dualpath.spelling import excesses
from dualpath.view import View


def entity(view: View) -> Column:
    """The entity's key as one string: `dualpath.entities.name` in Spark."""
    if len(view.keys) == 1:
        return F.col(view.keys[0]).cast("string")
    parts = [F.col(k).cast("string") for k in view.keys]
    return F.concat(*(F.concat(F.length(p).cast("string"), F.lit(":"), p) for p in parts))


@dataclass(frozen=True)
class Translation:
    """A view's columns. They are built once: each is a dozen calls into the JVM, and a micro-batch has little time.

    `columns` are those of events that the others name; `present` says whether an event gives a record. `words` are
    of a single event, `folded_words` of those in a group of `group`, folded by `folds`.
    """

    columns: list[Column]
    present: Column
    entity: Column
    words: Column
    row: Column
    group: list[Column]
    folds: list[Column]
    folded_words: Column


def records(events: DataFrame, view: View, *, fold: bool) -> DataFrame:
    """Records of a view: `entity` string, `arrival_day` string and `words` array<bigint> of the layout's width.

    `events` has the columns of the event log. Events without the entity's keys, or that no feature of the
    view looks at, give no record. With `fold`, a coarse view's events are folded by bucket (the online
    store); without, every event is its own record (the offline store, whose right edges stay exact).
    """
    by = _translation(view)
    found = events.select("arrival_day", *_shared(), *by.columns).where(by.present)
    if not fold or view.resolution == 1:
        return found.select(by.entity, "arrival_day", by.words)
    return (
        found.groupBy(by.entity, "arrival_day", *by.group)
        .agg(*by.folds)
        .select("entity", "arrival_day", by.folded_words)
    )


def records_of_all(events: DataFrame, views: Sequence[View]) -> DataFrame:
    """Records of several views in one pass, none folded: `view` string and the columns of `records`."""
    translations = [_translation(view) for view in views]
    columns = [column for by in translations for column in by.columns]
    rows = F.explode(F.array(*(by.row for by in translations))).alias("row")
    found = events.select("arrival_day", *_shared(), *columns).select("arrival_day", rows).where("row IS NOT NULL")
    return found.select("row.view", "arrival_day", "row.entity", "row.words")


def with_records(rows: DataFrame, views: Sequence[View]) -> DataFrame:
    """Rows, each with the records of its event: `__records`, an array of (`view`, `entity`, `words`, `apart`) or null,
    none folded, where `apart` sets an event stamped ahead of its arrival apart from others of its bucket; and
    `__texts`, an array of the texts that they hold as codes, or null."""
    translations = [_translation(view) for view in views]
    columns = [column for by in translations for column in by.columns]
    # The rows travel in one column, so that a field may have any name.
    found = rows.select(F.struct("*").alias("__row"), *_shared(), *columns, _texts(tuple(views)).alias("__texts"))
    return found.select("__row.*", F.array(*(by.row for by in translations)).alias("__records"), "__texts")


@cache
def _shared() -> list[Column]:
    return [
        F.unix_micros("event_time").alias("time"),
        F.xxhash64("event_id").alias("id"),
        (F.col("event_time") > F.col("arrival_time")).alias("early"),
    ]


@cache
def _translation(view: View) -> Translation:
    kind = layout(view)
    names = [f"{view.name}__{i}" for i in range(len(kind.cells))]
    owner, time = F.col(f"{view.name}__entity"), F.col("time")
    needed = F.lit(False)
    for name, cell in zip(names, kind.cells, strict=True):
        column = F.col(name)
        needed = needed | ((column != 0) if cell.op in ("count", "sum") else column.isNotNull())
    bucket = time - F.pmod(time, F.lit(view.resolution))
    alone = [time, F.col("id")] if view.resolution == 1 else [bucket, time, time]
    # An event stamped ahead of its arrival stays apart, so that no reader at the present must cut a record.
    apart = F.when(F.col("early"), time)
    present, words = owner.isNotNull() & needed, _words(alone, kind.cells, names)
    folded = [F.col("bucket"), F.col("latest"), F.col("earliest")]
    return Translation(
        columns=[
            entity(view).alias(f"{view.name}__entity"),
            *(_cell(cell, view).alias(name) for name, cell in zip(names, kind.cells, strict=True)),
        ],
        present=present,
        entity=owner.alias("entity"),
        words=words.alias("words"),
        row=F.when(
            present,
            F.struct(F.lit(view.name).alias("view"), owner.alias("entity"), words.alias("words"), apart.alias("apart")),
        ),
        group=[
            bucket.alias("bucket"),
            apart.alias("apart"),
            *(F.col(name) for name, cell in zip(names, kind.cells, strict=True) if cell.splits),
        ],
        folds=[
            F.max("time").alias("latest"),
            F.min("time").alias("earliest"),
            *(_fold(c, name).alias(name) for name, c in zip(names, kind.cells, strict=True) if not c.splits),
        ],
        folded_words=_words(folded, kind.cells, names).alias("words"),
    )


def texts(events: DataFrame, views: list[View]) -> DataFrame:
    """Every distinct text the views' records hold as a code: columns `code` bigint, `text` string, `arrival_day`."""
    distinct = (
        events.select("arrival_day", F.explode(_texts(tuple(views))).alias("text")).where("text IS NOT NULL").distinct()
    )
    return distinct.select(F.xxhash64("text").alias("code"), "text", "arrival_day")


@cache
def _texts(views: tuple[View, ...]) -> Column:
    found = [F.expr(views[0].spell(sql, "spark")) for sql in text_expressions(views)]
    return F.array(*found) if found else F.array().cast("array<string>")


def computed(sql: str, view: View) -> Column:
    """An expression of an event. The log may hold events from before it was declared; one that it cannot be computed
    for fails the job, with a sentence."""
    column = F.expr(view.spell(sql, "spark"))
    for excess in excesses([sql], view.source.by_name):
        said = (
            f"view '{view.name}': {excess.calculation} has more than seventeen digits in an event of the log; "
            "calculate with smaller numbers. (event '"
        )
        failed = F.raise_error(F.concat(F.lit(said), F.col("event_id"), F.lit("')")))
        column = F.when(F.expr(excess.condition), failed).otherwise(column)
    return column


def _encoded(sql: str, view: View) -> Column:
    """An expression as an int64 word; null stays null."""
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
    """Doubles as `dualpath.numbers.order` words. Spark has no function for a double's bits; Arrow hands them over."""

    def words(values: pa.Array) -> pa.Array:
        missing = values.is_null().to_numpy(zero_copy_only=False)
        return pa.array(order(values.to_numpy(zero_copy_only=False)), mask=missing)

    return arrow_udf(words, "bigint")(column)  # type: ignore[call-overload]


def _cell(cell: Cell, view: View) -> Column:
    """What one event contributes to a cell."""
    passes = F.coalesce(computed(cell.where, view), F.lit(False)) if cell.where else F.lit(True)
    if cell.op == "count":
        if cell.of is not None:
            passes = passes & computed(cell.of, view).isNotNull()
        return F.when(passes, F.lit(1)).otherwise(F.lit(0)).cast("bigint")
    assert cell.of is not None, "every cell but a count is of an expression"
    word = F.when(passes, _encoded(cell.of, view))
    if cell.op == "sketch":
        # A text's code is its hash already; `xxhash64` of null is not null.
        return word if view.type_of(cell.of).kind == "text" else F.when(word.isNotNull(), F.xxhash64(word))
    if cell.op == "sum":
        return F.coalesce(word, F.lit(0).cast("bigint"))
    if cell.op in ("first", "last"):
        pick = F.struct(
            F.unix_micros("event_time").alias("time"), F.xxhash64("event_id").alias("id"), word.alias("value")
        )
        return F.when(word.isNotNull(), pick)
    return word


def _fold(cell: Cell, name: str) -> Column:
    """Two records' cells into one."""
    match cell.op:
        case "count":
            return F.sum(name)
        case "sum":
            return F.coalesce(F.try_sum(name), F.lit(SATURATED))
        case "min" | "first":
            return F.min(name)
        case _:
            return F.max(name)


def _words(header: list[Column], cells: tuple[Cell, ...], names: list[str]) -> Column:
    """The record's words in the layout's order; `names` are the cells' columns."""
    words, nothing = list(header), F.lit(NULL).cast("bigint")
    for cell, name in zip(cells, names, strict=True):
        if cell.op in ("first", "last"):
            words += [F.coalesce(F.col(f"{name}.{part}"), nothing) for part in ("value", "time", "id")]
        else:
            words.append(F.coalesce(F.col(name), nothing))
    return F.array(*words)
