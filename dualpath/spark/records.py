"""Makes records of events, as Spark columns: both Spark paths use this translation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath.record import layout, text_expressions
from dualpath.row_versions import naming_before
from dualpath.spark.cells import encoded, identity, in_spark, marked
from dualpath.view import View


def entity(view: View) -> Column:
    """The entity's key as one string: `dualpath.entities.name` in Spark."""
    return _named(map(F.col, view.key_columns))


def _named(columns: Iterable[Column]) -> Column:
    parts = [each.cast("string") for each in columns]
    if len(parts) == 1:
        return parts[0]
    return F.concat(*(F.concat(F.length(p).cast("string"), F.lit(":"), p) for p in parts))


@dataclass(frozen=True)
class Translation:
    """A view's columns. They are built once: each is a dozen calls into the JVM, and a micro-batch has little time.

    `columns` are those of events that the others name; `present` says whether an event gives a record. `row` is its
    record with all that names it, or null; `former_row` the one that deletes the event's row where it was before. None:
    no row moves. `folded_words` are of the events in a group of `group`, folded by `folds`.
    """

    columns: list[Column]
    present: Column
    entity: Column
    row: Column
    former_row: Column | None
    group: list[Column]
    folds: list[Column]
    folded_words: Column


def records(events: DataFrame, views: Sequence[View], *, beside: Sequence[str] = ()) -> DataFrame:
    """Records of views in one pass: `view`, `arrival_day` and `entity` strings, `words` array<bigint> of the layout's
    width.

    `events` has the columns of the event log. Events without the entity's keys, or that no feature of the view looks
    at, give no record. Every event is its own record, so that right edges stay exact (the offline store), and the
    columns `beside` of the event stand beside it.
    """
    translations = [_translation(view) for view in views]
    columns = [column for by in translations for column in by.columns]
    rows = F.explode(_rows(translations)).alias("row")
    found = events.select("arrival_day", *_shared(), *columns, *beside)
    found = found.select("arrival_day", rows, *beside).where("row IS NOT NULL")
    return found.select("row.view", "arrival_day", "row.entity", "row.words", *beside)


def folded_records(events: DataFrame, view: View) -> DataFrame:
    """Records of a coarse view, events folded by bucket, for the online store: the columns of `records` but `view`."""
    by = _translation(view)
    return (
        events.select("arrival_day", *_shared(), *by.columns)
        .where(by.present)
        .groupBy(by.entity, "arrival_day", *by.group)
        .agg(*by.folds)
        .select("entity", "arrival_day", by.folded_words)
    )


def with_records(rows: DataFrame, views: Sequence[View]) -> DataFrame:
    """Rows with two more columns: the records of the row's event, and the texts that they hold as codes.

    `__records` is an array of (`view`, `entity`, `words`, `apart`) or null, none folded. `apart` is the time of an
    event stamped ahead of its arrival, which must not fold with others of its bucket. `__texts` is an array of texts or
    null.
    """
    translations = [_translation(view) for view in views]
    columns = [column for by in translations for column in by.columns]
    # The rows travel in one column, so that a field may have any name.
    found = rows.select(F.struct("*").alias("__row"), *_shared(), *columns, _texts(tuple(views)).alias("__texts"))
    return found.select("__row.*", _rows(translations).alias("__records"), "__texts")


def _rows(translations: Iterable[Translation]) -> Column:
    """The records of an event, an array in which some are null."""
    return F.array(*(row for by in translations for row in (by.row, by.former_row) if row is not None))


@cache
def _shared() -> list[Column]:
    return [
        F.unix_micros("event_time").alias("time"),
        F.xxhash64("event_id").alias("id"),
        (F.col("event_time") > F.col("arrival_time")).alias("early"),
    ]


@cache
def _translation(view: View) -> Translation:
    cells = {f"{view.name}__{i}": in_spark(cell, view) for i, cell in enumerate(layout(view).cells)}
    owner, time = F.col(f"{view.name}__entity"), F.col("time")
    needed = F.lit(False)
    for name, cell in cells.items():
        needed = needed | cell.adds(F.col(name))
    bucket = time - F.pmod(time, F.lit(view.resolution))
    alone = [time, marked(F.col("id"), view)] if view.resolution == 1 else [bucket, time, time]
    if view.source.changes:
        # A version that adds nothing may still replace one that does.
        needed = F.lit(True)
    if view.versions:
        alone += [F.col(f"{view.name}__row"), F.col(f"{view.name}__version")]
    # An event stamped ahead of its arrival stays apart, so that no reader at the present must cut a record.
    apart = F.when(F.col("early"), time)
    held = [word for name, cell in cells.items() for word in cell.words(F.col(name))]
    present, words = owner.isNotNull() & needed, F.array(*alone, *held)

    def row(of: Column, words: Column) -> Column:
        return F.struct(F.lit(view.name).alias("view"), of.alias("entity"), words.alias("words"), apart.alias("apart"))

    former_row = None
    if naming_before(view):
        was = F.col(f"{view.name}__was")
        moved = (was["entity"] != owner) | (was["row"] != F.col(f"{view.name}__row"))
        nothing = [F.lit(word).cast("bigint") for name, cell in cells.items() for word in cell.cell.nothing]
        words_there = F.array(time, marked(F.col("id"), view), was["row"], F.col(f"{view.name}__version"), *nothing)
        former_row = F.when(present & moved, row(was["entity"], words_there))
    return Translation(
        columns=[
            entity(view).alias(f"{view.name}__entity"),
            *(cell.contribution().alias(name) for name, cell in cells.items()),
            *(each.alias(f"{view.name}__{name}") for name, each in _version(view).items()),
        ],
        present=present,
        entity=owner.alias("entity"),
        row=F.when(present, row(owner, words)),
        former_row=former_row,
        group=[
            bucket.alias("bucket"),
            apart.alias("apart"),
            *(F.col(name) for name, cell in cells.items() if cell.cell.splits),
        ],
        folds=[
            F.max("time").alias("latest"),
            F.min("time").alias("earliest"),
            *(cell.folded(F.col(name)).alias(name) for name, cell in cells.items() if not cell.cell.splits),
        ],
        folded_words=F.array("bucket", "latest", "earliest", *held).alias("words"),
    )


def _version(view: View) -> dict[str, Column]:
    """The code of the row's key, and the version, of a view of changes: `dualpath.row_versions.version` in Spark; and
    what was the entity and the row's key before, if a row may move."""
    changes, fields, before = view.source.changes, view.source.by_name, naming_before(view)
    if not view.versions:
        return {}
    if not changes:
        return {"row": identity(view), "version": F.lit(0).cast("bigint")}
    key = [fields[name].column for name in changes.key]
    found = {"row": marked(F.xxhash64(_named(map(F.col, key))), view)}
    if before:
        was = [
            _named(F.coalesce(before[each], each) if each in before else F.col(each) for each in columns)
            for columns in (view.key_columns, key)
        ]
        found["was"] = F.struct(was[0].alias("entity"), marked(F.xxhash64(was[1]), view).alias("row"))
    return found | {"version": encoded(changes.version, view) if changes.version else F.lit(0).cast("bigint")}


def texts(events: DataFrame, views: list[View]) -> DataFrame:
    """Every distinct text the views' records hold as a code: columns `code` bigint, `text` string, `arrival_day`."""
    distinct = (
        events.select("arrival_day", F.explode(_texts(tuple(views))).alias("text")).where("text IS NOT NULL").distinct()
    )
    return distinct.select(F.xxhash64("text").alias("code"), "text", "arrival_day")


@cache
def _texts(views: tuple[View, ...]) -> Column:
    # The parts of views spell an expression alike, but for the types of nulls.
    spelled = {sql: view.spell(sql, "spark") for view in reversed(views) for sql in text_expressions([view])}
    found = [F.expr(spelled[sql]) for sql in sorted(spelled)]
    return F.array(*found) if found else F.array().cast("array<string>")
