"""Training sets on Spark: the same kernel on every partition's entities, one job for all views."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from dualpath.errors import crossing
from dualpath.known import Known
from dualpath.offline.history import PART, RECORDS, History, view_version
from dualpath.offline.training import values
from dualpath.parts import parts
from dualpath.plan import plan
from dualpath.values import arrow_type
from dualpath.view import View

AS_OF = "as_of"
"""The column of the rows' instants, int64 microseconds UTC."""
TOGETHER = 250_000
"""Rows and records of whole entities that are computed at once: some 50 MB."""
BATCH = 10_000
"""Rows that go back to Spark at once."""


@dataclass(frozen=True)
class Asked:
    """What rows ask of a view: `names` says into which column each feature goes.

    `entity` is the column of the rows' entities, string. If rows know less than everything, `by` is that of a
    `dualpath.known.Known` and `known` the column of its limits: bigint, or array<bigint> of a view of several sources.
    """

    view: View
    names: Mapping[str, str]
    entity: str
    by: Literal["arrived", "batch"] | None = None
    known: str | None = None

    @property
    def schema(self) -> pa.Schema:
        """The features' columns."""
        outputs = plan(self.view, tuple(self.names)).outputs
        return pa.schema([(column, arrow_type(outputs[name])) for name, column in self.names.items()])


def features(
    rows: DataFrame, asked: Sequence[Asked], history: History, few: Mapping[str, pa.Array] = MappingProxyType({})
) -> DataFrame:
    """Rows with a column for each feature, in no order.

    Rows and records meet in one partition by entity, where `dualpath.offline.training` does the work; views of one
    entity share a shuffle. `few` has all entities of a column, if they are known and few: then records of others stay
    where they are.
    """
    for entity in dict.fromkeys(each.entity for each in asked):
        rows = _of_entity(rows, entity, [each for each in asked if each.entity == entity], history, few.get(entity))
    return rows


def _of_entity(
    rows: DataFrame, entity: str, asked: Sequence[Asked], history: History, few: pa.Array | None
) -> DataFrame:
    """Rows with the features of some views of one entity."""
    spark, none, names = rows.sparkSession, F.lit(None).cast("bigint"), rows.columns
    sides = [
        rows.select(
            F.col(entity).alias("entity"),
            F.struct(*names).alias("row"),
            none.alias("place"),
            F.lit(None).cast("array<bigint>").alias("words"),
            none.alias("number"),
        )
    ]
    places = [(view, part) for view, each in enumerate(asked) for part in parts(each.view)]
    for place, (view, part) in enumerate(places):
        if paths := history.paths(view_version(part)):
            records = spark.read.schema(from_arrow_schema(RECORDS)).parquet(*paths)
            if few is not None:
                wanted = F.broadcast(spark.createDataFrame(pa.table({"entity": few})))
                records = records.join(wanted, "entity", "left_semi")
            number, row = asked[view].by, F.lit(None).cast(rows.schema)
            columns = ("entity", row.alias("row"), F.lit(place).cast("bigint").alias("place"), "words")
            sides.append(records.select(*columns, (F.col(number) if number else none).alias("number")))
    of_view = [[place for place, (view, _) in enumerate(places) if view == at] for at in range(len(asked))]

    def evaluate(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in _whole_entities(batches):
            is_row = pc.is_null(table["place"])
            mine, records = table.filter(is_row), table.drop_columns("row").filter(pc.invert(is_row))
            if not len(mine):
                continue
            columns = dict(zip(names, pa.concat_arrays(mine["row"].chunks).flatten(), strict=True))
            for each, own in zip(asked, of_view, strict=True):
                with crossing():
                    columns |= _found(each, columns, _of_places(records, own, each.by), history)
            yield from pa.table(columns).to_batches(BATCH)

    added = [field for each in asked for field in from_arrow_schema(each.schema).fields]
    together = reduce(DataFrame.union, sides).repartition("entity").sortWithinPartitions("entity")
    return together.mapInArrow(evaluate, StructType(rows.schema.fields + added))


def _whole_entities(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Tables of whole entities, of batches that are sorted by entity."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) < TOGETHER:
            continue
        table = pa.Table.from_batches(held)
        last = table["entity"][-1]
        # The last one may go on in the next batch. Rows without an entity have no records.
        end = pc.index(table["entity"], last).as_py() if last.is_valid else len(table)
        if end:
            yield table.slice(0, end)
            held = table.slice(end).to_batches()
    if held:
        yield pa.Table.from_batches(held)


def _of_places(records: pa.Table, places: Sequence[int], by: str | None) -> pa.Table:
    """The records of a view, with what `training.values` takes beside the words."""
    own = records.filter(pc.field("place").isin(places))
    own = own.append_column(PART, pc.subtract(own["place"], places[0]))
    return own.append_column(by, own["number"]) if by else own


def _found(asked: Asked, columns: Mapping[str, pa.Array], records: pa.Table, history: History) -> dict[str, pa.Array]:
    known = Known(asked.by, _limits(columns[asked.known])) if asked.by and asked.known else None
    texts = partial(history.texts, [source.name for source in asked.view.sources])
    entity, as_of = columns[asked.entity].cast(pa.string()), columns[AS_OF].to_numpy()
    found = values(asked.view, tuple(asked.names), entity, as_of, records, texts, known)
    return {asked.names[name]: column for name, column in found.items()}


def _limits(column: pa.Array) -> np.ndarray:
    """Numbers as int64[n], or lists of equal length as int64[n, length]."""
    if pa.types.is_integer(column.type):
        return column.to_numpy()
    return column.flatten().to_numpy().reshape(len(column), -1)
