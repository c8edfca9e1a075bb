"""Stages a micro-batch: Spark's Python workers deduplicate its rows, write them to files of the log and count them.

Nobody reads a file of the log before it is committed, so a task may die at any row and run again. The records of a
small batch come back with the counts.
"""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from dualpath.dedup.segments import CLOCK, Deduplicator, merged
from dualpath.dedup.store import hash_range, hashes, stored, write_segment
from dualpath.files.places import Place
from dualpath.log.accounts import NUMBERED, clock_day
from dualpath.log.outcomes import COUNTS, GREATEST
from dualpath.log.snapshot import DataFile
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE, write
from dualpath.online.small_batch import SmallBatch
from dualpath.record import Fence
from dualpath.spark.admit import PLACE
from dualpath.spark.records import with_records
from dualpath.spark.retention import out_of_retention
from dualpath.spark.session import shuffle_partitions
from dualpath.view import View

ROW_COLUMNS = ("payload", "reason", "admitted_at", "arrival_day")
"""Columns about a row, not about its event, as are those with two underscores in front."""
LETTER = ("payload", "reason", *PLACE)
"""Columns of a dead letter."""
HELD_BYTES = 256_000_000
"""Size of the rows that a task holds in memory before it writes some to a file."""
LATEST = (*GREATEST, "clock")
WRITTEN = pa.struct(
    [("path", pa.string()), ("size", pa.int64()), ("rows", pa.int64()), ("outcome", pa.string()), ("day", pa.string())]
)
ANSWER = pa.schema(
    [
        *((name, pa.int64()) for name in (*COUNTS, *LATEST)),
        ("arrival_days", pa.list_(pa.string())),
        ("positions", NUMBERED),
        ("reasons", NUMBERED),
        ("files", pa.list_(WRITTEN)),
        ("ids", pa.list_(pa.string())),
        ("records", pa.binary()),
        ("times", pa.binary()),
    ]
)
OUTPUT = from_arrow_schema(ANSWER)
Partition = tuple[str, str]
"""An outcome and an arrival day."""


@dataclass(frozen=True)
class Staged:
    """A staged batch: `outcomes` is what its `Entry` holds of its rows; `files` were written for the log, `ids` to
    staging; `small_batch` are its records, if they were asked for and are few, and `times` then the event and the
    arrival time of each accepted row, microseconds, int64[n, 2]."""

    outcomes: dict[str, Any]
    files: list[DataFile]
    ids: list[Place]
    small_batch: SmallBatch | None
    times: np.ndarray | None


def stage(
    rows: DataFrame, writer: "StagingWriter", *, arrival_day: Column, retention: int | None, views: Sequence[View]
) -> Staged:
    """Stage rows of `dualpath.spark.admit.admit`.

    Args:
        writer: writes the files.
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
    reasons: Counter[str] = Counter()
    for answer in answers:
        reasons.update(answer["reasons"])
    outcomes["reasons"] = dict(reasons)
    pieces = [answer["records"] for answer in answers]
    whole = views and None not in pieces and outcomes["accepted"] <= writer.limit
    return Staged(
        outcomes,
        [writer.file(*each) for answer in answers for each in answer["files"]],
        [writer.staging / each for answer in answers for each in answer["ids"]],
        SmallBatch.joined(pieces) if whole else None,
        np.frombuffer(b"".join(each["times"] for each in answers), np.int64).reshape(-1, 2) if whole else None,
    )


@dataclass(frozen=True)
class StagingWriter:
    """Stages a task's rows of the micro-batch `fence`: events and dead letters in the folder `log`, ids in `staging`.
    It answers the records of up to `limit` events; of none if that is negative.

    An event is a duplicate if its id is in a file of `known`, the deduplication store's, and was accepted within
    `horizon`, microseconds, before the batch's clock. `columns` are those of files that have another name there
    (`dualpath.log.forms`).
    """

    log: Place
    staging: Place
    fence: Fence
    limit: int
    known: tuple[Place, ...]
    horizon: int
    columns: Mapping[str, str]

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write a task's rows; answers one row of `ANSWER`."""
        _settle()
        task = _Task(self)
        for batch in batches:
            task.take(batch)
        yield pa.RecordBatch.from_pylist([task.end()], ANSWER)

    def file(self, path: str, size: int, rows: int, outcome: str, day: str) -> DataFile:
        """A file that a task has written."""
        (query, batch) = self.fence
        return DataFile(path, size, rows, outcome, day, (query, query), (batch, batch))


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
        # A task that is tried again writes other files.
        self.name = f"part-{context.partitionId():05d}-{uuid4().hex}"
        self.to = to
        self.held: dict[Partition, list[pa.RecordBatch]] = {}
        self.sizes: Counter[Partition] = Counter()
        self.files: list[dict[str, Any]] = []
        self.reasons: Counter[str] = Counter()
        self.counts = dict.fromkeys((*COUNTS, *LATEST), 0)
        self.positions: dict[str, int] = {}
        self.arrival_days: set[str] = set()
        self.records: list[SmallBatch] = []
        self.times: list[bytes] = []
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
        day = clock_day(self.counts["clock"])
        if dead.num_rows:
            self.hold((DEAD_LETTER, day), dead.select(LETTER))
            for each in pc.value_counts(pc.list_element(pc.split_pattern(dead["reason"], ":"), 0)).to_pylist():
                self.reasons[each["values"]] += each["counts"]
        if accepted.num_rows:
            self.log(accepted)
        if accepted.num_rows < good.num_rows:
            self.hold((DUPLICATE, day), logged(good.filter(pc.invert(first)), self.to.columns))

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
        counts["clock"] = max(counts["clock"], int(_micros(rows["admitted_at"]).max()))
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
            times = [_micros(accepted[name]) for name in ("event_time", "arrival_time")]
            self.times.append(np.stack(times, axis=1).tobytes())
        events = logged(accepted, self.to.columns)
        days = accepted["arrival_day"].unique()
        for day in days:
            self.arrival_days.add(arrival_day := str(day))
            own = events.filter(pc.equal(accepted["arrival_day"], day)) if len(days) > 1 else events
            self.hold((ACCEPTED, arrival_day), own)

    def hold(self, place: Partition, rows: pa.RecordBatch) -> None:
        """Hold rows for a file of a partition; when too many are held, write the file of the largest one."""
        self.held.setdefault(place, []).append(rows)
        self.sizes[place] += rows.nbytes
        if self.sizes.total() > HELD_BYTES:
            self.write(max(self.sizes, key=self.sizes.__getitem__))

    def write(self, place: Partition) -> None:
        """Write what is held for a partition to a file."""
        rows = numbered(pa.Table.from_batches(self.held.pop(place)), self.to.fence)
        file = write(self.to.log, *place, rows, f"{self.name}-{len(self.files)}")
        del self.sizes[place]
        self.files.append(dict(zip(WRITTEN.names, (file.path, file.size, file.rows, *place), strict=True)))

    def end(self) -> dict[str, Any]:
        """Write all that is held; returns the task's answer."""
        for place in sorted(self.held):
            self.write(place)
        ids = []
        if self.counts["accepted"]:
            assert self.deduplicator is not None, "it has found them new"
            ids.append(write_segment(merged(self.deduplicator.own), self.to.staging).name)
        whole = self.counts["accepted"] <= self.to.limit
        return self.counts | {
            "arrival_days": sorted(self.arrival_days),
            "positions": self.positions,
            "reasons": dict(self.reasons),
            "files": self.files,
            "ids": ids,
            "records": SmallBatch.packed(self.records) if whole else None,
            "times": b"".join(self.times) if whole else None,
        }


def logged(events: pa.RecordBatch, columns: Mapping[str, str]) -> pa.RecordBatch:
    """The columns of events that files keep: those of the event, and the place it came from."""
    own = [n for n in events.schema.names if not n.startswith("__") and n not in ROW_COLUMNS]
    return events.select([*own, *PLACE]).rename_columns([*(columns.get(n, n) for n in own), *PLACE])


def numbered(rows: pa.Table, fence: Fence) -> pa.Table:
    """Rows with the micro-batch that they are of."""
    query, batch = pa.repeat(pa.scalar(fence.query, pa.int32()), len(rows)), pa.repeat(fence.batch, len(rows))
    return rows.append_column("query", query).append_column("batch", batch)


def _micros(instants: pa.Array) -> np.ndarray:
    return instants.cast(pa.int64()).to_numpy()
