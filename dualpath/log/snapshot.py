"""What a version of a source's event log holds: its files."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dualpath.record import Fence

if TYPE_CHECKING:
    from deltalake import DeltaTable

PARTITIONS = ("outcome", "arrival_day")
EMPTY = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("rows", pa.int64()),
        ("outcome", pa.string()),
        ("arrival_day", pa.string()),
        *((name, pa.int64()) for name in ("query", "batch", "most_query", "most_batch")),
    ]
)


@dataclass(frozen=True)
class DataFile:
    """A file of the table: its `path` below it, its bytes, and how many rows it has, of which outcome and arrival day.

    Its rows are of batches that lie between two numbers, of queries that do: `queries` and `batches`, (least, most).
    """

    path: str
    size: int
    rows: int
    outcome: str
    arrival_day: str
    queries: tuple[int, int]
    batches: tuple[int, int]

    @property
    def first(self) -> Fence:
        """Not after its first batch. A file of a batch that is not finished has no rows of others, and this is it."""
        return Fence(self.queries[0], self.batches[0])

    def overlaps(self, query: int, first: int, last: int) -> bool:
        """Whether it may have rows of some batches of a query."""
        (least, most), (earliest, latest) = self.queries, self.batches
        return least <= query <= most and earliest <= last and first <= latest

    def added(self, *, data_change: bool) -> dict[str, Any]:
        """The action that adds it."""
        ends = [{"query": q, "batch": b} for q, b in zip(self.queries, self.batches, strict=True)]
        stats = {"numRecords": self.rows, "minValues": ends[0], "maxValues": ends[1]}
        times = {"modificationTime": milliseconds()}
        return {"add": self._about(data_change) | times | {"stats": json.dumps(stats)}}

    def removed(self, *, data_change: bool) -> dict[str, Any]:
        """The action that removes it."""
        times = {"deletionTimestamp": milliseconds(), "extendedFileMetadata": True}
        return {"remove": self._about(data_change) | times}

    def _about(self, data_change: bool) -> dict[str, Any]:
        partition = {"outcome": self.outcome, "arrival_day": self.arrival_day}
        return {"path": self.path, "partitionValues": partition, "size": self.size, "dataChange": data_change}


@dataclass(frozen=True)
class Snapshot:
    """A version of the table; `actions` are its files as delta-rs lists them."""

    version: int
    actions: pa.Table

    @classmethod
    def of(cls, opened: "DeltaTable") -> "Snapshot":
        """The version that delta-rs has opened."""
        found = pa.table(opened.get_add_actions(flatten=True))
        if not found.num_rows:
            return cls(opened.version(), EMPTY.empty_table())
        names = {"path": "path", "size": "size_bytes", "rows": "num_records"}
        names |= {each: f"partition.{each}" for each in PARTITIONS}
        names |= {"query": "min.query", "batch": "min.batch", "most_query": "max.query", "most_batch": "max.batch"}
        columns = [found[theirs].cast(EMPTY.field(own).type) for own, theirs in names.items()]
        return cls(opened.version(), pa.table(columns, schema=EMPTY))

    def files(self, outcome: str, arrival_days: Iterable[str] | None = None) -> list[DataFile]:
        """The files with rows of an outcome, and of some arrival days (default: all), oldest batches first."""
        wanted = pc.equal(self.actions["outcome"], outcome)
        if arrival_days is not None:
            wanted = pc.and_(wanted, pc.is_in(self.actions["arrival_day"], pa.array([*arrival_days], pa.string())))
        found = self.actions.filter(wanted).sort_by([(name, "ascending") for name in ("query", "batch", "path")])
        columns = [found[name].to_pylist() for name in found.column_names]
        return [
            DataFile(path, size, rows, outcome, day, (q, q_most), (b, b_most))
            for path, size, rows, outcome, day, q, b, q_most, b_most in zip(*columns, strict=True)
        ]


def milliseconds() -> int:
    """Now, as the protocol spells it."""
    return time.time_ns() // 1_000_000
