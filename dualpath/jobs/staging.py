"""Stages a micro-batch: Spark's Python workers deduplicate its rows, write them to staging files and count them.

Nobody reads staging files before they are in the log, so a task may die at any row and run again. The records of
a small batch come back with the counts.
"""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from dualpath.dedup.segments import CLOCK, Deduplicator, merged
from dualpath.dedup.store import hash_range, hashes, stored, write_segment
from dualpath.log.outcomes import COUNTS, GREATEST
from dualpath.online.small_batch import SmallBatch
from dualpath.spark.admit import PLACE
from dualpath.spark.log import write_rows
from dualpath.spark.records import with_records
from dualpath.spark.retention import out_of_retention
from dualpath.spark.session import shuffle_partitions
from dualpath.view import View

ROW_COLUMNS = ("payload", "reason", "admitted_at", "arrival_day")
"""Columns about a row, not about its event, as are those with two underscores in front."""
DEAD_LETTER = {"payload": "payload", "reason": "reason", "__origin": "origin", "__position": "position"}
"""Columns of the dead-letter table."""
HELD_BYTES = 256_000_000
"""Size of the rows that a task holds in memory before it writes some to a file."""
LATEST = (*GREATEST, "clock")
ANSWER = pa.schema(
    [
        *((name, pa.int64()) for name in (*COUNTS, *LATEST)),
        ("arrival_days", pa.list_(pa.string())),
        ("positions", pa.map_(pa.string(), pa.int64())),
        ("files", pa.list_(pa.string())),
        ("records", pa.binary()),
    ]
)
OUTPUT = from_arrow_schema(ANSWER)


@dataclass(frozen=True)
class Staged:
    """A staged batch: `outcomes` is what a ledger's `Entry` holds of its rows; `files` were written below `folder`;
    `small_batch` are its records, if they were asked for and are few."""

    folder: Path
    outcomes: dict[str, Any]
    files: list[str]
    small_batch: SmallBatch | None


def stage(
    rows: DataFrame, writer: "StagingWriter", *, arrival_day: Column, retention: int | None, views: Sequence[View]
) -> Staged:
    """Stage rows of `dualpath.spark.admit.admit`.

    Args:
        writer: writes to a folder of its own.
        arrival_day: the day in which a row is counted, a date.
        retention: as for `out_of_retention`.
        views: those whose records come back, if no more events are accepted than the writer's limit.
    """
    # All rows of an id are with one task, which accepts one of them. Its ids are of one range of hashes, so it opens
    # only the files of that range.
    tasks = shuffle_partitions(rows.sparkSession)
    judged = rows.repartitionById(tasks, hash_range(tasks)).select(
        "*",
        arrival_day.alias("arrival_day"),
        out_of_retention(F.unix_micros("event_time"), retention, F.unix_micros("admitted_at")).alias(
            "__out_of_retention"
        ),
        *hashes(),
    )
    if views:
        judged = with_records(judged, views)
    answers = [row.asDict() for row in judged.mapInArrow(writer.write, OUTPUT).collect()]
    outcomes = {name: sum(answer[name] for answer in answers) for name in COUNTS}
    outcomes |= {name: max((answer[name] for answer in answers), default=0) for name in LATEST}
    outcomes["arrival_days"] = tuple(
        sorted({arrival_day for answer in answers for arrival_day in answer["arrival_days"]})
    )
    # The last of an origin's positions is the one that stays.
    outcomes["positions"] = dict(sorted(place for answer in answers for place in answer["positions"].items()))
    pieces = [answer["records"] for answer in answers]
    whole = views and None not in pieces and outcomes["accepted"] <= writer.limit
    return Staged(
        writer.folder, outcomes, [f for a in answers for f in a["files"]], SmallBatch.joined(pieces) if whole else None
    )


@dataclass(frozen=True)
class StagingWriter:
    """Stages a task's rows below `folder`, and answers the records of up to `limit` events; of none if it is negative.

    An event is a duplicate if its id is in a file of `known`, the deduplication store's, and was accepted within
    `horizon`, microseconds, before the batch's clock. `columns` are those of files that have another name there
    (`dualpath.log.forms`).
    """

    folder: Path
    limit: int
    known: tuple[Path, ...]
    horizon: int
    columns: Mapping[str, str]

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write a task's rows; answers one row of `ANSWER`."""
        _settle()
        task = _Task(self)
        for batch in batches:
            task.take(batch)
        yield pa.RecordBatch.from_pylist([task.end()], ANSWER)


@cache
def _settle() -> None:
    """Take what is imported out of the garbage collector's sight: Spark's workers call it after every task, and it
    took longer over modules than a small task takes."""
    gc.collect()
    gc.freeze()


class _Task:
    """The rows of one task of Spark: those it holds, the files it has written, and their counts."""

    def __init__(self, to: StagingWriter) -> None:
        context = TaskContext.get()
        assert context is not None, "tasks run in Spark's workers"
        # A task that is tried again has another id, and so other files.
        self.name = f"part-{context.partitionId():05d}-{context.taskAttemptId()}"
        self.to = to
        self.held: dict[str, list[pa.RecordBatch]] = {}
        self.sizes: Counter[str] = Counter()
        self.files: list[str] = []
        self.counts = dict.fromkeys((*COUNTS, *LATEST), 0)
        self.positions: dict[str, int] = {}
        self.arrival_days: set[str] = set()
        self.records: list[SmallBatch] = []
        self.deduplicator: Deduplicator | None = None

    def take(self, rows: pa.RecordBatch) -> None:
        """Deduplicate and count some rows, and hold them for files."""
        if not rows.num_rows:
            return
        refused = rows["reason"].is_valid()
        good, dead = rows.filter(pc.invert(refused)), rows.filter(refused)
        if "__skipped" in rows.schema.names:
            good = good.filter(pc.invert(good["__skipped"]))
        first = self.first(good)
        accepted = good.filter(first)
        self.count(rows, good, accepted, dead)
        if dead.num_rows:
            self.hold("dead", dead.select(list(DEAD_LETTER)).rename_columns(list(DEAD_LETTER.values())))
        if accepted.num_rows:
            self.log(accepted)
        if accepted.num_rows < good.num_rows:
            self.hold("duplicate", logged(good.filter(pc.invert(first)), self.to.columns))

    def first(self, events: pa.RecordBatch) -> pa.Array:
        """Which events came for the first time; bool[n]."""
        if not events.num_rows:
            return pa.array([], pa.bool_())
        ids = np.stack([events["__hash"], events["__check"], _micros(events["admitted_at"])])
        if self.deduplicator is None:  # the clock is the same all through a batch
            since = int(ids[CLOCK, 0]) - self.to.horizon
            self.deduplicator = Deduplicator(map(stored, self.to.known), since)
        return pa.array(self.deduplicator.new(ids))

    def count(self, rows: pa.RecordBatch, good: pa.RecordBatch, accepted: pa.RecordBatch, dead: pa.RecordBatch) -> None:
        """Add to the counts."""
        late = accepted.filter(accepted["late"])
        counts = self.counts
        counts["rows_read"] += rows.num_rows
        counts["accepted"] += accepted.num_rows
        counts["duplicate"] += good.num_rows - accepted.num_rows
        counts["dead_letter"] += dead.num_rows
        if "__skipped" in rows.schema.names:
            counts["skipped"] += pc.sum(rows["__skipped"]).as_py()
            counts["further"] += pc.sum(rows["__further"]).as_py()
        counts["late"] += late.num_rows
        counts["out_of_retention"] += pc.sum(accepted["__out_of_retention"]).as_py() or 0
        if accepted.num_rows:
            counts["newest_arrival"] = max(counts["newest_arrival"], int(_micros(accepted["arrival_time"]).max()))
        counts["clock"] = max(counts["clock"], _micros(rows["admitted_at"]).max())
        if late.num_rows:
            by = _micros(late["arrival_time"]) - _micros(late["event_time"])
            counts["latest_by"] = max(counts["latest_by"], int(by.max()))
        places = pa.table({"origin": rows["__origin"], "position": rows["__position"]}).drop_null()
        last = places.group_by("origin").aggregate([("position", "max")])
        for origin, position in zip(last["origin"].to_pylist(), last["position_max"].to_pylist(), strict=True):
            self.positions[origin] = max(self.positions.get(origin, position), position)

    def log(self, accepted: pa.RecordBatch) -> None:
        """Hold accepted rows for the files of their arrival days, and their records for the answer."""
        if self.counts["accepted"] <= self.to.limit:
            self.records.append(SmallBatch.of(accepted.filter(pc.invert(accepted["__out_of_retention"]))))
        events = logged(accepted, self.to.columns)
        days = accepted["arrival_day"].unique()
        for day in days:
            self.arrival_days.add(arrival_day := str(day))
            own = events.filter(pc.equal(accepted["arrival_day"], day)) if len(days) > 1 else events
            self.hold(f"log/epoch={arrival_day}", own)

    def hold(self, place: str, rows: pa.RecordBatch) -> None:
        """Hold rows for a file of a folder; when too many are held, write the file of the largest folder."""
        self.held.setdefault(place, []).append(rows)
        self.sizes[place] += rows.nbytes
        if self.sizes.total() > HELD_BYTES:
            self.write(max(self.sizes, key=self.sizes.__getitem__))

    def write(self, place: str) -> None:
        """Write what is held for a folder to a file."""
        path = self.to.folder / place / f"{self.name}-{len(self.files)}.parquet"
        table = pa.Table.from_batches(self.held.pop(place))
        write_rows(table, path)
        del self.sizes[place]
        self.files.append(str(path.relative_to(self.to.folder)))

    def end(self) -> dict[str, Any]:
        """Write all that is held; returns the task's answer."""
        for place in sorted(self.held):
            self.write(place)
        if self.counts["accepted"]:
            assert self.deduplicator is not None, "it has found them new"
            ids = write_segment(merged(self.deduplicator.own), self.to.folder / "ids")
            self.files.append(str(ids.relative_to(self.to.folder)))
        whole = self.counts["accepted"] <= self.to.limit
        return self.counts | {
            "arrival_days": sorted(self.arrival_days),
            "positions": self.positions,
            "files": self.files,
            "records": SmallBatch.packed(self.records) if whole else None,
        }


def logged(events: pa.RecordBatch, columns: Mapping[str, str]) -> pa.RecordBatch:
    """The columns of events that files keep: those of the event, and the place it came from."""
    own = [n for n in events.schema.names if not n.startswith("__") and n not in ROW_COLUMNS]
    return events.select([*own, *PLACE]).rename_columns([*(columns.get(n, n) for n in own), *PLACE])


def _micros(instants: pa.Array) -> np.ndarray:
    return instants.cast(pa.int64()).to_numpy()
