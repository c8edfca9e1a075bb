"""What a version of a Delta table holds: its files. Those of a source's event log are `DataFile`."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from dualpath.record import Fence

if TYPE_CHECKING:
    from deltalake import DeltaTable

Ends = tuple[int, int]


@dataclass(frozen=True)
class TableFile(ABC):
    """A file of a table: its `path` below it, its bytes and its rows.

    `PARTITIONS` are the columns by which the table's files are split, `RANGES` the integer columns of which a file
    says the least and the most value of its rows.
    """

    PARTITIONS: ClassVar[tuple[str, ...]]
    RANGES: ClassVar[tuple[str, ...]]

    path: str
    size: int
    rows: int

    @property
    @abstractmethod
    def partition(self) -> Mapping[str, str]:
        """Its values of `PARTITIONS`."""

    @property
    @abstractmethod
    def ranges(self) -> Mapping[str, Ends]:
        """Its values of `RANGES`, (least, most)."""

    @classmethod
    def place(cls, *values: str) -> str:
        """The folder of a partition, below the table; `values` are those of `PARTITIONS`.

        >>> DataFile.place("accepted", "2026-03-01")
        'outcome=accepted/arrival_day=2026-03-01'
        """
        return "/".join(f"{name}={value}" for name, value in zip(cls.PARTITIONS, values, strict=True))

    @classmethod
    @abstractmethod
    def of(cls, path: str, size: int, rows: int, partition: tuple[str, ...], ranges: tuple[Ends, ...]) -> Self:
        """One with such values, in the order of `PARTITIONS` and `RANGES`."""

    def added(self, *, data_change: bool) -> dict[str, Any]:
        """The action that adds it."""
        least, most = ({name: ends[side] for name, ends in self.ranges.items()} for side in (0, 1))
        stats = {"numRecords": self.rows, "minValues": least, "maxValues": most}
        times = {"modificationTime": milliseconds()}
        return {"add": self._about(data_change) | times | {"stats": json.dumps(stats)}}

    def removed(self, *, data_change: bool) -> dict[str, Any]:
        """The action that removes it."""
        times = {"deletionTimestamp": milliseconds(), "extendedFileMetadata": True}
        return {"remove": self._about(data_change) | times}

    def _about(self, data_change: bool) -> dict[str, Any]:
        values = dict(self.partition)
        return {"path": self.path, "partitionValues": values, "size": self.size, "dataChange": data_change}


F = TypeVar("F", bound=TableFile)


@dataclass(frozen=True)
class DataFile(TableFile):
    """A file of an event log, with rows of an outcome and an arrival day.

    Its rows are of batches that lie between two numbers, of queries that do: `queries` and `batches`, (least, most).
    """

    PARTITIONS: ClassVar = ("outcome", "arrival_day")
    RANGES: ClassVar = ("query", "batch")

    outcome: str
    arrival_day: str
    queries: Ends
    batches: Ends

    @property
    def partition(self) -> Mapping[str, str]:
        return {"outcome": self.outcome, "arrival_day": self.arrival_day}

    @property
    def ranges(self) -> Mapping[str, Ends]:
        return {"query": self.queries, "batch": self.batches}

    @classmethod
    def of(cls, path: str, size: int, rows: int, partition: tuple[str, ...], ranges: tuple[Ends, ...]) -> Self:
        (outcome, arrival_day), (queries, batches) = partition, ranges
        return cls(path, size, rows, outcome, arrival_day, queries, batches)

    @property
    def first(self) -> Fence:
        """Not after its first batch. A file of a batch that is not finished has no rows of others, and this is it."""
        return Fence(self.queries[0], self.batches[0])

    def overlaps(self, query: int, first: int, last: int) -> bool:
        """Whether it may have rows of some batches of a query."""
        (least, most), (earliest, latest) = self.queries, self.batches
        return least <= query <= most and earliest <= last and first <= latest


@dataclass(frozen=True)
class Snapshot(Generic[F]):
    """A version of a table; `actions` are its files as delta-rs lists them, those of a kind."""

    version: int
    actions: pa.Table
    kind: type[F]

    @classmethod
    def of(cls, kind: type[F], opened: "DeltaTable | None" = None) -> "Snapshot[F]":
        """The version that delta-rs has opened; an empty one of a table that was not made yet."""
        schema, version = _schema(kind), -1 if opened is None else opened.version()
        found = pa.table(opened.get_add_actions(flatten=True)) if opened else schema.empty_table()
        if not found.num_rows:
            return cls(version, schema.empty_table(), kind)
        names = {"path": "path", "size": "size_bytes", "rows": "num_records"}
        names |= {each: f"partition.{each}" for each in kind.PARTITIONS}
        names |= {f"{side} {each}": f"{side}.{each}" for each in kind.RANGES for side in ("min", "max")}
        columns = [found[theirs].cast(schema.field(own).type) for own, theirs in names.items()]
        return cls(version, pa.table(columns, schema=schema), kind)

    def files(self, **partition: str | Iterable[str] | None) -> list[F]:
        """The files with some values of the partition columns (None: any), in the order of their ranges and paths."""
        found = self.actions
        for name, wanted in partition.items():
            if wanted is not None:
                values = [wanted] if isinstance(wanted, str) else [*wanted]
                found = found.filter(pc.is_in(found[name], pa.array(values, pa.string())))
        order = [f"min {each}" for each in self.kind.RANGES]
        found = found.sort_by([(name, "ascending") for name in (*order, "path")])
        columns = {name: found[name].to_pylist() for name in found.column_names}
        ranges = [zip(columns[f"min {each}"], columns[f"max {each}"], strict=True) for each in self.kind.RANGES]
        values_of = zip(*(columns[name] for name in self.kind.PARTITIONS), strict=True)
        ranges_of = zip(*ranges, strict=True) if ranges else ([()] * len(found))
        about = zip(columns["path"], columns["size"], columns["rows"], values_of, ranges_of, strict=True)
        return [self.kind.of(*each) for each in about]


def _schema(kind: type[TableFile]) -> pa.Schema:
    ranges = [(f"{side} {each}", pa.int64()) for each in kind.RANGES for side in ("min", "max")]
    plain = [("path", pa.string()), ("size", pa.int64()), ("rows", pa.int64())]
    return pa.schema([*plain, *((name, pa.string()) for name in kind.PARTITIONS), *ranges])


def milliseconds() -> int:
    """Now, as the protocol spells it."""
    return time.time_ns() // 1_000_000
