"""A snapshot of a view: its records of all arrival days up to one, from the record files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import xxhash
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from dualpath.offline.history import DICTIONARY, RECORDS, TEXTS, History, view_version
from dualpath.online.manifest import Manifest
from dualpath.online.spark_writer import in_writing_order, text_rows, write
from dualpath.online.writer import Destination, FencedWrite, WriteCounts
from dualpath.record import UNFENCED
from dualpath.repo import Repo
from dualpath.retention import earliest_as_of
from dualpath.spark.retention import out_of_retention
from dualpath.steps import Step, step
from dualpath.view import View
from dualpath.windows import SECOND


@dataclass(frozen=True)
class Snapshot:
    """The snapshot of `view` through `day` (ISO); its record files must be built."""

    repo: Repo
    view: View
    day: str

    @cached_property
    def history(self) -> History:
        """Where its record files are."""
        return History(self.repo.root)

    @property
    def earliest_as_of(self) -> int | None:
        """The earliest instant it can answer, microseconds UTC; None: any."""
        return earliest_as_of(_end_of(self.day), self.repo.online_lookback)

    @cached_property
    def digest(self) -> str:
        """Names the record files it is made from."""
        parts = [
            part.name
            for arrival_day, part in sorted(self.history.index(view_version(self.view)).items())
            if arrival_day <= self.day
        ]
        return xxhash.xxh64_hexdigest(" ".join([view_version(self.view), *parts]).encode())

    def published_in(self, manifest: Manifest) -> Manifest:
        """The manifest with this snapshot in place of all arrival days up to its day."""
        return manifest.at(self.day, self.earliest_as_of, self.digest, view_version(self.view))

    def records(self, spark: SparkSession) -> DataFrame:
        """Its rows for the writer."""
        paths = self.history.paths(view_version(self.view), through=self.day)
        schema = from_arrow_schema(RECORDS)
        found = spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)
        time, retention = F.element_at("words", 1), self.repo.retention(self.view)
        found = found.where(~out_of_retention(time, retention, F.lit(_end_of(self.day))))
        return found.select(
            F.lit(self.view.name).alias("view"), F.lit(self.day).alias("arrival_day"), "entity", "words"
        )


@step(Step.WRITE_SNAPSHOT)
def fill(
    spark: SparkSession, repo: Repo, snapshots: Sequence[Snapshot], namespaces: dict[str, str]
) -> dict[str, WriteCounts]:
    """Write snapshots, and the texts behind their codes, into namespaces by view; returns what
    `spark_writer.write` does."""
    history = History(repo.root)
    paths = [p for s in sorted({s.view.source.name for s in snapshots}) for p in history.paths(f"{DICTIONARY}/{s}")]
    read = spark.read.schema(from_arrow_schema(TEXTS))
    texts = [text_rows(read.parquet(*paths).select("code", "text").distinct())] if paths else []
    destinations: dict[str, Destination] = {
        s.view.name: repo.destination(s.view, namespaces[s.view.name], s.earliest_as_of) for s in snapshots
    }
    to = FencedWrite(repo.redis_address, repo.project, destinations, UNFENCED, kind="s")
    return write(in_writing_order([*(s.records(spark) for s in snapshots), *texts]), to)


def _end_of(day: str) -> int:
    """The first microsecond after a day, UTC."""
    midnight = datetime.combine(date.fromisoformat(day) + timedelta(days=1), datetime.min.time(), UTC)
    return int(midnight.timestamp()) * SECOND
