"""A snapshot of a view: its records of all arrival days up to one, from the record files.

It extends the one that is served, by the records of the days after it, if that was made of the same record files, for
the same declaration and the same retention. Otherwise it is written as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

import xxhash
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from dualpath.offline.history import DICTIONARY, RECORDS, TEXTS, History, view_version
from dualpath.offline.record_files import Part
from dualpath.online.extent import Publication
from dualpath.online.manifest import Manifest
from dualpath.online.removal import ArrivalDays
from dualpath.online.spark_writer import in_writing_order, text_rows, write
from dualpath.online.writer import Destination, FencedWrite, WriteCounts
from dualpath.repo import Repo
from dualpath.retention import earliest_as_of
from dualpath.spark.retention import out_of_retention
from dualpath.steps import Step, step
from dualpath.view import View
from dualpath.windows import SECOND

PART = r"/([^/]+)-[0-9a-f]{8}/arrival_day=([0-9-]{10})/"
"""The view, by its version, and the arrival day in the path of a record file."""


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

    def digest(self, through: str) -> str:
        """Names what the snapshot through a day is made from: record files, and how long they matter."""
        version, view = view_version(self.view), self.view
        kept = [view.lookback, view.bounded_lookback, self.repo.online_lookback]
        parts = [part.name for arrival_day, part in sorted(self._index.items()) if arrival_day <= through]
        return xxhash.xxh64_hexdigest(" ".join([version, *map(str, kept), *parts]).encode())

    @cached_property
    def _index(self) -> Mapping[str, Part]:
        return self.history.index(view_version(self.view))

    def extends(self, known: Manifest) -> bool:
        """Whether it has all that the served snapshot has, in the same form."""
        return known.snapshot != "" and known.digest == self.digest(known.snapshot)

    def published_in(self, known: Manifest) -> Manifest:
        """The manifest with this snapshot in place of all arrival days up to its day."""
        base = (known.base or known.snapshot) if self.extends(known) else ""
        return known.at(self.day, self.earliest_as_of, self.digest(self.day), view_version(self.view), base=base)

    def destination(self, known: Manifest, number: int) -> Destination:
        """Where its records go, in the publication of that number."""
        publication = Publication(number, self.day, known if self.extends(known) else None)
        made = self.repo.destination(self.view, known.namespace, self.earliest_as_of)
        return replace(made, publication=publication)

    def records(self, spark: SparkSession, after: str) -> DataFrame:
        """Its rows for the writer, of the arrival days after one."""
        paths, schema = self.paths(after), from_arrow_schema(RECORDS)
        found = spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)
        time, retention = F.element_at("words", 1), self.repo.retention(self.view)
        found = found.where(~out_of_retention(time, retention, F.lit(_end_of(self.day))))
        return found.select(
            F.lit(self.view.name).alias("view"), F.lit(self.day).alias("arrival_day"), "entity", "words"
        )

    def paths(self, after: str) -> list[str]:
        """Its record files of the arrival days after one."""
        return self.history.paths(view_version(self.view), through=self.day, after=after)


@step(Step.WRITE_SNAPSHOT)
def fill(
    spark: SparkSession, repo: Repo, snapshots: Sequence[Snapshot], manifests: Mapping[str, Manifest], number: int
) -> dict[str, WriteCounts]:
    """Write snapshots, and the texts behind their codes, beside what the manifests name by view, in the publication of
    a number. Returns what `spark_writer.write` does."""
    known = [manifests[s.view.name] for s in snapshots]
    after = [before.snapshot if s.extends(before) else "" for s, before in zip(snapshots, known, strict=True)]
    history, since = History(repo.root), min(after)
    paths = [
        path
        for source in sorted({s.view.source.name for s in snapshots})
        for path in history.paths(f"{DICTIONARY}/{source}", after=since)
    ]
    read = spark.read.schema(from_arrow_schema(TEXTS))
    texts = [text_rows(read.parquet(*paths).select("code", "text").distinct())] if paths else []
    records = [s.records(spark, each) for s, each in zip(snapshots, after, strict=True)]
    destinations = {s.view.name: s.destination(before, number) for s, before in zip(snapshots, known, strict=True)}
    to = FencedWrite(repo.redis_address, repo.project, destinations)
    return write(in_writing_order([*records, *texts]), to)


@step(Step.EXPIRE_SUPERSEDED)
def expire_taken_in(
    spark: SparkSession, repo: Repo, snapshots: Sequence[Snapshot], manifests: Mapping[str, Manifest], after: str
) -> None:
    """Let the arrival days after one expire that published snapshots have taken in."""
    if paths := [path for snapshot in snapshots for path in snapshot.paths(after)]:
        to = ArrivalDays(repo.redis_address, repo.project, {name: each.namespace for name, each in manifests.items()})
        part = F.regexp_extract("_metadata.file_path", PART, 0).alias("part")
        found = spark.read.schema(from_arrow_schema(RECORDS)).parquet(*paths).select(part, "entity").distinct()
        view, day = (F.regexp_extract("part", PART, group) for group in (1, 2))
        found.select(view, day, "entity").mapInArrow(to.expire, "nothing boolean").collect()


def _end_of(day: str) -> int:
    """The first microsecond after a day, UTC."""
    midnight = datetime.combine(date.fromisoformat(day) + timedelta(days=1), datetime.min.time(), UTC)
    return int(midnight.timestamp()) * SECOND
