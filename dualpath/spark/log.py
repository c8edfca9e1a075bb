"""The event log as a Spark frame, and its files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath import known
from dualpath.log.files import written
from dualpath.log.storage import Storage
from dualpath.schema import EventSource
from dualpath.spark.admit import spark_type


def read_log(
    spark: SparkSession, storage: Storage, source: EventSource, arrival_days: Iterable[str] | None = None
) -> DataFrame:
    """Accepted events of finished batches: `event_id`, both times, the fields, `late`, `arrival_day`, and as
    `batch` the `dualpath.known.place` of the micro-batch."""
    wanted = None if arrival_days is None else list(arrival_days)
    events = read_folders(spark, storage, source, storage.log_folders(wanted))
    return events if wanted is None else events.where(F.col("arrival_day").isin(wanted))


def read_folders(spark: SparkSession, storage: Storage, source: EventSource, folders: Sequence[Path]) -> DataFrame:
    """The same of some batches' folders, finished or not."""
    fields = ", ".join(f"`{f.column}` {spark_type(f)}" for f in source.all_fields)
    schema = f"event_id string, event_time timestamp, arrival_time timestamp, {fields}, late boolean"
    if not folders:
        return spark.createDataFrame([], f"{schema}, arrival_day string, batch bigint")
    # The folders are named `epoch=D`. A compacted row has its batch's number in a column.
    files = spark.read.schema(f"{schema}, __batch bigint, epoch string, query int, batch string").option(
        "basePath", str(storage.folder("log"))
    )
    number = F.coalesce("__batch", F.col("batch").try_cast("bigint"))
    place = F.shiftleft(F.col("query").cast("bigint"), known.BATCH_BITS).bitwiseOR(number)
    found = files.parquet(*map(str, folders)).withColumns({"batch": place, "arrival_day": F.col("epoch")})
    return found.drop("query", "epoch", "__batch")


def write_rows(rows: pa.Table, file: Path) -> None:
    """A new file of the log, or of the dead letters, that outlives a power failure."""
    with written(file) as stream:
        pq.write_table(rows, stream, store_decimal_as_integer=True, store_schema=False)
