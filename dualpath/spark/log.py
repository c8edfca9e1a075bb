"""The event log as a Spark frame, and its files."""

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type

from dualpath import known
from dualpath.columns import EVERY
from dualpath.field import Field
from dualpath.log import forms
from dualpath.log.storage import Storage
from dualpath.schema import EventSource
from dualpath.spark.admit import spark_type


def read_log(
    spark: SparkSession, storage: Storage, source: EventSource, arrival_days: Iterable[str] | None = None
) -> DataFrame:
    """Accepted events of finished batches, of some arrival days (default: all): `event_id`, both times, the fields,
    `late`, `arrival_day`, and as `batch` the `dualpath.known.place` of the micro-batch."""
    return read_files(spark, storage, source, storage.paths(arrival_days=arrival_days))


def read_files(spark: SparkSession, storage: Storage, source: EventSource, paths: Sequence[str]) -> DataFrame:
    """The same of files of the log, whatever declarations wrote them."""
    if not paths:
        declared = {f.column: f.stored for f in source.all_fields}
        return spark.createDataFrame([], f"{_schema(declared)}, arrival_day string, batch bigint")
    found = forms.known(storage, source)
    stored = {f.column: found.readable(source, f) for f in source.all_fields}
    schema = _schema({column: kind for each in stored.values() for column, kind in each.items()})
    files = spark.read.schema(f"{schema}, query int, batch bigint, arrival_day string").option(
        "basePath", str(storage.folder("log"))
    )
    fields = [_value(stored[f.column], f).alias(f.column) for f in source.all_fields]
    place = F.shiftleft(F.col("query").cast("bigint"), known.BATCH_BITS).bitwiseOR(F.col("batch"))
    return files.parquet(*paths).select(*EVERY, *fields, "late", "arrival_day", place.alias("batch"))


def _schema(columns: Mapping[str, pa.DataType]) -> str:
    """A schema with some fields' columns, as Spark writes it."""
    fields = "".join(f", `{name}` {from_arrow_type(kind).simpleString()}" for name, kind in columns.items())
    return f"event_id string, event_time timestamp, arrival_time timestamp{fields}, late boolean"


def _value(stored: Mapping[str, pa.DataType], field: Field) -> Column:
    """A field, of whichever of some columns a file has. A cast is exact, or it raises."""
    found = [F.col(f"`{name}`").cast(spark_type(field)) for name in stored]
    return F.coalesce(*found) if found else F.lit(None).cast(spark_type(field))
