"""Where payloads come from. A source answers one question: the unbounded rows after those read before."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


class PayloadSource(Protocol):
    """Anything that can feed the stream."""

    def read(self, spark: SparkSession, after: Mapping[str, int]) -> DataFrame:
        """A streaming frame, one payload a row: `value` string, `origin` string, `position` bigint.

        `after` maps an origin to the last position that earlier generations of the stream have read of it; a
        new generation begins behind those. Positions of an origin ascend.
        """


@dataclass(frozen=True)
class Directory:
    """New `*.jsonl` files of a folder, in the order they appear; `files_per_batch` bounds a micro-batch.

    A line that is not UTF-8 JSON is a row like any other: it ends in the dead-letter table. The origin is the
    file's name; a file is read as a whole, so its position is 0, and a name in `after` is left out for good.
    """

    folder: Path
    files_per_batch: int = 16

    def read(self, spark: SparkSession, after: Mapping[str, int]) -> DataFrame:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = (
            spark.readStream.format("text")
            .option("pathGlobFilter", "*.jsonl")
            .option("lineSep", "\n")
            .option("maxFilesPerTrigger", self.files_per_batch)
            # By default a file a week older than the newest one read is passed over without a word.
            .option("maxFileAge", "36500d")
            .load(str(self.folder))
        )
        origin = F.col("_metadata.file_name").alias("origin")
        rows = lines.select("value", origin, F.lit(0).cast("bigint").alias("position"))
        return rows.where(~F.col("origin").isin(*after)) if after else rows
