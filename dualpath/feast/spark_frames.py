"""Training sets of Spark frames: keys and instants are cast on the executors, by the parsers of every other path."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import pyarrow as pa
from feast import Field, OnDemandFeatureView
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import ArrayType, LongType, StringType, StructField, StructType

from dualpath import instants
from dualpath.errors import DualpathError, InputError, StaleRecordsError, crossing, restored
from dualpath.feast import training_rows
from dualpath.feast.derived import DerivedView, plain
from dualpath.feast.training_rows import TrainingRows
from dualpath.feast.windowed import Wanted, columns, entity_column, known_column
from dualpath.files.places import Place
from dualpath.known import place
from dualpath.offline import distributed
from dualpath.offline.distributed import AS_OF, Asked
from dualpath.offline.history import History
from dualpath.parts import parts
from dualpath.spark.session import session

GIVEN = "given"
"""The column with a row as its caller gave it."""
ANY = 2**62
"""A place after that of every micro-batch."""


def read(entity_df: DataFrame) -> TrainingRows:
    """The columns of a frame, without rows; raises as `training_rows.read`."""
    return training_rows.read(to_arrow_schema(entity_df.schema, timezone="UTC").empty_table())


def prepared(entity_df: DataFrame, time: str, wanted: Sequence[Wanted]) -> DataFrame:
    """The rows in a column `given`, and what `windowed.columns` tells of them.

    What cannot be a key, an instant or a token is refused as anywhere; rows are counted in their partition.
    """
    several = [len(each.view.sources) > 1 for each in wanted]
    schema = StructType([StructField(GIVEN, entity_df.schema), StructField(AS_OF, LongType())])
    for at, each in enumerate(wanted):
        if entity_column(wanted, at) not in schema.names:
            schema = schema.add(entity_column(wanted, at), StringType())
        if each.rule:
            is_list = each.rule.by == "batch" and several[at]
            schema = schema.add(known_column(at), ArrayType(LongType()) if is_list else LongType())

    def prepare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in batches:
            table = pa.Table.from_struct_array(batch[GIVEN])
            given = dict(zip(table.column_names, table.columns, strict=True))
            with crossing(), _in_partition():
                as_of = instants.parse(given[time], time, first)
                rows = TrainingRows(given, time, as_of, first)
                known = [each.known(rows) for each in wanted]
                found = columns(wanted, as_of, [each.entity(rows) for each in wanted], known)
            yield pa.RecordBatch.from_arrays([batch[GIVEN], *found.values()], names=[GIVEN, *found])
            first += len(batch)

    return _in_one_column(entity_df).mapInArrow(prepare, schema)


def _in_one_column(rows: DataFrame) -> DataFrame:
    """Rows in a column `given`, because Spark hands over no column with a dot in its name."""
    return rows.select(F.struct("*").alias(GIVEN))


def features(
    rows: DataFrame,
    wanted: Sequence[Wanted],
    history: History,
    few: Mapping[str, pa.Array] = MappingProxyType({}),
) -> DataFrame:
    """Rows that have what `windowed.columns` tells, with a column for each feature, in no order.

    `few` is that of `distributed.features`.
    """
    asked = [
        Asked(
            each.view,
            {name: feature_column(at, name) for name in each.names},
            entity_column(wanted, at),
            each.rule.by if each.rule else None,
            known_column(at) if each.rule else None,
        )
        for at, each in enumerate(wanted)
        if each.names
    ]
    found = distributed.features(rows, asked, history, few)
    nulls = {
        feature_column(at, name): F.lit(None).cast(from_arrow_schema(pa.schema([(name, kind)]))[0].dataType)
        for at, each in enumerate(wanted)
        for name, kind in each.nulls.items()
    }
    return found.withColumns(nulls) if nulls else found


def feature_column(at: int, name: str) -> str:
    """The column of a feature, by its view's place: two views may have features of one name."""
    return f"feature{at}_{name}"


def require(wanted: Wanted, history: History, stale: Literal["refuse", "warn"]) -> Wanted:
    """Raise as `History.require`; where only the rows' tokens can tell, they are judged when they are read."""
    if wanted.rule is None or wanted.rule.by != "batch":
        history.require(wanted.view, stale=stale)
        return wanted
    of_view = parts(wanted.view)
    try:
        history.require(wanted.view, through=[ANY] * len(of_view))
    except StaleRecordsError as error:
        complete = tuple(place(history.complete(part)) for part in of_view)
        history.require(wanted.view, through=complete)
        return replace(wanted, rule=replace(wanted.rule, complete=complete, lacking=error.message))
    return wanted


def derived(rows: DataFrame, odfv: OnDemandFeatureView, fields: Mapping[str, Field], full_names: bool) -> DataFrame:
    """Rows with columns of an on-demand view, whose function is called with one batch of rows after another.

    Raises `InputError` for a field whose Arrow type depends on its values.
    """
    kinds = {column: plain(field.dtype) for column, field in fields.items()}
    for column, field in fields.items():
        if kinds[column] is None or not isinstance(odfv, DerivedView):
            raise InputError(
                f"on-demand view '{odfv.name}': '{field.name}' is declared {field.dtype}, which cannot be computed on "
                "Spark; use to_arrow or to_df, or ask for the view's inputs instead."
            )

    def call(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in filter(len, batches):
            table = pa.Table.from_struct_array(batch[GIVEN])
            with crossing():
                made = odfv.transform_arrow(table, full_names)
            for column in fields:
                table = table.append_column(column, made[column])
            yield from table.to_batches()

    added = from_arrow_schema(pa.schema([(column, kind) for column, kind in kinds.items() if kind])).fields
    return _in_one_column(rows).mapInArrow(call, StructType(rows.schema.fields + added))


def of_files(place: Place, schema: pa.Schema, data: Place) -> DataFrame:
    """The frame of the Parquet files at a place, in a session that reads `data` too.

    Raises `InputError` for instants that Spark does not read.
    """
    for field in schema:
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            raise InputError(
                f"entity_df is the path '{place}', whose column '{field.name}' has nanoseconds, which Spark does not "
                "read; write it in microseconds."
            )
    return session("dualpath-training", data=data, also=place).read.parquet(str(place))


@contextmanager
def _in_partition() -> Iterator[None]:
    """Say in which partition of the frame a row was refused."""
    try:
        yield
    except DualpathError as error:
        context = TaskContext.get()
        at = context.partitionId() if context else 0
        raise restored(type(error), f"entity_df, partition {at}: {error.message}") from None
