"""Payloads from files: the lines of those in a folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.files.durable import write_atomically
from dualpath.files.places import Place
from dualpath.sources.delivery import SUFFIX, version
from dualpath.sources.source import NOTHING

KEPT = ".folder"
"""The name of an object that makes a folder of an object store one that exists."""


@dataclass(frozen=True)
class Directory:
    """New `*.jsonl` files of a folder and those below it, in the order they appear.

    Each line is a payload, a JSON object whatever the source's decoder. One that is not UTF-8 JSON ends in the
    dead-letter table. `files_per_batch` bounds a micro-batch.

    The origin of a row is the path of its file below the folder, as a URI spells it. Its position is the version that
    the file had then (`dualpath.sources.delivery`): a file is read as a whole or not at all.
    """

    folder: Place
    files_per_batch: int = 16

    @property
    def name(self) -> str:
        return "the files of a folder"

    def read(self, spark: SparkSession, after: Mapping[str, int] = NOTHING) -> DataFrame:
        if isinstance(self.folder, Path):
            self.folder.mkdir(parents=True, exist_ok=True)
        else:
            write_atomically(self.folder / KEPT, "")  # Spark does not begin to read a folder that is not there
        folder = str(self.folder.absolute())
        lines = (
            spark.readStream.format("text")
            # A subfolder is a folder, even if its name has the form of a partition's.
            .option("recursiveFileLookup", True)
            .option("pathGlobFilter", f"*{SUFFIX}")
            .option("lineSep", "\n")
            .option("maxFilesPerTrigger", self.files_per_batch)
            # By default a file a week older than the newest one read is passed over without a word.
            .option("maxFileAge", "36500d")
            # The path is a pattern to Spark.
            .load(re.sub(r"([][*?{}\\])", r"\\\1", folder))
        )
        jvm: Any = spark._jvm
        path, base = F.col("_metadata.file_path"), jvm.org.apache.hadoop.fs.Path(folder)
        above = F.lit(base.toUri().getRawPath() + "/")
        modified, size = F.unix_millis("_metadata.file_modification_time"), F.col("_metadata.file_size")
        if not isinstance(self.folder, Path):
            modified -= modified % 1000  # a store tells whole seconds
        rows = lines.select(
            "value",
            F.lit(None).cast("string").alias("event_id"),
            F.lit(None).cast("timestamp").alias("arrival_time"),
            F.substring(path, F.instr(path, above) + F.length(above), F.length(path)).alias("origin"),
            version(size, modified).alias("position"),
        )
        return rows.where(~F.col("origin").isin(*after)) if after else rows
