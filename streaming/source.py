"""Where payloads come from. A source answers one question: the unbounded rows of `value`, a JSON string."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession


class PayloadSource(Protocol):
    """Anything that can feed the stream."""

    def read(self, spark: SparkSession) -> DataFrame:
        """A streaming frame with the column `value` string, one payload a row."""


@dataclass(frozen=True)
class Directory:
    """New `*.jsonl` files of a folder, in the order they appear; `files_per_batch` bounds a micro-batch.

    A line that is not UTF-8 JSON is a row like any other: it ends in the dead-letter table.
    """

    folder: Path
    files_per_batch: int = 16

    def read(self, spark: SparkSession) -> DataFrame:
        self.folder.mkdir(parents=True, exist_ok=True)
        return (
            spark.readStream.format("text")
            .option("pathGlobFilter", "*.jsonl")
            .option("lineSep", "\n")
            .option("maxFilesPerTrigger", self.files_per_batch)
            # By default a file a week older than the newest one read is passed over without a word.
            .option("maxFileAge", "36500d")
            .load(str(self.folder))
        )
