"""One pass over a micro-batch, in Spark's Python workers: its files, the count of its rows, and, if it is small, its
records. What a pass writes lies apart until the batch is kept, so a pass may die at any row and be done again.
"""

import gc
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dualpath.spark.reach import beyond
from dualpath.spark.records import with_records
from dualpath.stores.few import Few
from dualpath.view import View

BESIDES = ("fate", "payload", "reason", "admitted_at", "epoch")
"""Columns that are about a row and not about the event in it, as are those with two underscores in front."""
DEAD = {"payload": "payload", "reason": "reason", "__origin": "origin", "__position": "position"}
"""Columns of the dead-letter table."""
AT_ONCE = 256_000_000
"""Bytes of rows that a task holds before it writes some down."""
SUMS = ("rows_read", "accepted", "dead_letter", "late", "beyond")
LATEST = ("latest_by", "clock")
ANSWER = pa.schema(
    [
        *((name, pa.int64()) for name in (*SUMS, *LATEST)),
        ("epochs", pa.list_(pa.string())),
        ("positions", pa.map_(pa.string(), pa.int64())),
        ("files", pa.list_(pa.string())),
        ("records", pa.binary()),
    ]
)
OUTPUT = (
    f"{', '.join(f'{name} bigint' for name in (*SUMS, *LATEST))}, epochs array<string>, "
    "positions map<string,bigint>, files array<string>, records binary"
)


@dataclass(frozen=True)
class Found:
    """What a pass found: `fates` is what `dualpath.ledger.Entry` holds of its rows; `files` are those that it wrote,
    below `folder`; `few` are its records, if they were asked for and are few."""

    folder: Path
    fates: dict[str, Any]
    files: list[str]
    few: Few | None


def attempt(rows: DataFrame, folder: Path, *, epoch: Column, keep: int, few: Sequence[View], limit: int) -> Found:
    """Pass over rows of `streaming.fates.fates`, each of which is counted in an `epoch`, and write below `folder`,
    which nobody else writes to. `keep` is as for `beyond`. The records of the views in `few` come along, if a task has
    at most `limit` accepted events.
    """
    judged = rows.select("*", epoch.alias("epoch"), beyond(keep, F.col("admitted_at")).alias("__beyond"))
    if few:
        judged = with_records(judged, few)
    answers = [row.asDict() for row in judged.mapInArrow(Writer(folder, limit if few else -1).write, OUTPUT).collect()]
    fates = {name: sum(answer[name] for answer in answers) for name in SUMS}
    fates |= {name: max((answer[name] for answer in answers), default=0) for name in LATEST}
    fates["duplicate"] = fates["rows_read"] - fates["accepted"] - fates["dead_letter"]
    fates["epochs"] = tuple(sorted({epoch for answer in answers for epoch in answer["epochs"]}))
    # The last of an origin's positions is the one that stays.
    fates["positions"] = dict(sorted(place for answer in answers for place in answer["positions"].items()))
    pieces = [answer["records"] for answer in answers]
    whole = few and None not in pieces
    return Found(folder, fates, [f for a in answers for f in a["files"]], Few.joined(pieces) if whole else None)


@dataclass(frozen=True)
class Writer:
    """What the tasks of a pass do; of up to `limit` events they answer the records, and none if it is negative."""

    folder: Path
    limit: int

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write a task's rows; answers one row of `OUTPUT`."""
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
    def __init__(self, to: Writer) -> None:
        context = TaskContext.get()
        assert context is not None, "tasks run in Spark's workers"
        # A task that is tried again has another id, and so other files.
        self.name = f"part-{context.partitionId():05d}-{context.taskAttemptId()}"
        self.to = to
        self.held: dict[str, list[pa.RecordBatch]] = {}
        self.sizes: Counter[str] = Counter()
        self.files: list[str] = []
        self.counts = dict.fromkeys((*SUMS, *LATEST), 0)
        self.positions: dict[str, int] = {}
        self.epochs: set[str] = set()
        self.few: list[Few] = []

    def take(self, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        accepted = rows.filter(pc.equal(rows["fate"], "accepted"))
        dead = rows.filter(pc.equal(rows["fate"], "dead"))
        self.count(rows, accepted, dead)
        if dead.num_rows:
            self.hold("dead", dead.select(list(DEAD)).rename_columns(list(DEAD.values())))
        if accepted.num_rows:
            self.log(accepted)

    def count(self, rows: pa.RecordBatch, accepted: pa.RecordBatch, dead: pa.RecordBatch) -> None:
        """Add to the counts; every row that was read came once that is not `accepted`."""
        late = accepted.filter(accepted["late"])
        counts = self.counts
        counts["rows_read"] += rows.num_rows - accepted.num_rows
        counts["accepted"] += accepted.num_rows
        counts["dead_letter"] += dead.num_rows
        counts["late"] += late.num_rows
        counts["beyond"] += pc.sum(accepted["__beyond"]).as_py() or 0
        counts["clock"] = max(counts["clock"], _micros(rows["admitted_at"]).max())
        if late.num_rows:
            by = _micros(late["arrival_time"]) - _micros(late["event_time"])
            counts["latest_by"] = max(counts["latest_by"], int(by.max()))
        places = pa.table({"origin": rows["__origin"], "position": rows["__position"]}).drop_null()
        last = places.group_by("origin").aggregate([("position", "max")])
        for origin, position in zip(last["origin"].to_pylist(), last["position_max"].to_pylist(), strict=True):
            self.positions[origin] = max(self.positions.get(origin, position), position)

    def log(self, accepted: pa.RecordBatch) -> None:
        """Accepted rows to the files of their epochs, and their records to those that are answered."""
        if self.counts["accepted"] <= self.to.limit:
            self.few.append(Few.of(accepted.filter(pc.invert(accepted["__beyond"]))))
        columns = [n for n in accepted.schema.names if not n.startswith("__") and n not in BESIDES]
        events = accepted.select(columns)
        for epoch in accepted["epoch"].unique().to_pylist():
            self.epochs.add(epoch)
            self.hold(f"log/epoch={epoch}", events.filter(pc.equal(accepted["epoch"], epoch)))

    def hold(self, place: str, rows: pa.RecordBatch) -> None:
        """Take rows for a file; when too many are held, the most of one place become one."""
        self.held.setdefault(place, []).append(rows)
        self.sizes[place] += rows.nbytes
        if self.sizes.total() > AT_ONCE:
            self.put(max(self.sizes, key=self.sizes.__getitem__))

    def put(self, place: str) -> None:
        """What is held for a place into a file; once this returns it outlives a power failure."""
        path = self.to.folder / place / f"{self.name}-{len(self.files)}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_batches(self.held.pop(place))
        with path.open("wb") as file:
            pq.write_table(table, file, store_decimal_as_integer=True, store_schema=False)
            file.flush()
            os.fsync(file.fileno())
        del self.sizes[place]
        self.files.append(str(path.relative_to(self.to.folder)))

    def end(self) -> dict[str, Any]:
        """The task's answer, when all that is held is in files."""
        for place in sorted(self.held):
            self.put(place)
        whole = self.counts["accepted"] <= self.to.limit
        return self.counts | {
            "epochs": sorted(self.epochs),
            "positions": self.positions,
            "files": self.files,
            "records": Few.packed(self.few) if whole else None,
        }


def _micros(instants: pa.Array) -> np.ndarray:
    return instants.cast(pa.int64()).to_numpy()
