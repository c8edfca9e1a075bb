"""A source's event log as a Delta table: its files, its commits, and what a version of it holds.

A commit is a file of the protocol's transaction log, `_delta_log/{version}.json`, which is created if nobody else has:
who wins the version has committed. Commits are written here, because delta-rs reads all of a table's files before each,
and a stream commits every second; tables are made, widened, read, checkpointed and vacuumed by delta-rs.
"""

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dualpath.errors import StateError
from dualpath.log.files import create, sync
from dualpath.steps import Step, step

if TYPE_CHECKING:
    from deltalake import DeltaTable

ACCEPTED, DUPLICATE, DEAD_LETTER, BATCH = "accepted", "duplicate", "dead_letter", "batch"
"""The outcomes of rows, as partitions of the table; `batch` has the account of each batch."""
PARTITIONS = ("outcome", "arrival_day")
VERSION_DIGITS = 20
GRACE_HOURS = 12
"""How long files stay after a commit has removed them, for a job that began before."""
CONFIGURATION = {
    "delta.deletedFileRetentionDuration": f"interval {GRACE_HOURS} hours",
    "delta.logRetentionDuration": "interval 1 days",
    # A commit's own checkpoints and clean-up would be in the way of the stream; see `Table.checkpoint`.
    "delta.checkpointInterval": "1000000000",
    "delta.enableExpiredLogCleanup": "false",
    "delta.dataSkippingStatsColumns": "query,batch",
}


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

    def overlaps(self, query: int, first: int, last: int) -> bool:
        """Whether it may have rows of some batches of a query."""
        (least, most), (earliest, latest) = self.queries, self.batches
        return least <= query <= most and earliest <= last and first <= latest

    def added(self, *, data_change: bool) -> dict[str, Any]:
        """The action that adds it."""
        ends = [{"query": q, "batch": b} for q, b in zip(self.queries, self.batches, strict=True)]
        stats = {"numRecords": self.rows, "minValues": ends[0], "maxValues": ends[1]}
        times = {"modificationTime": _milliseconds()}
        return {"add": self._about(data_change) | times | {"stats": json.dumps(stats)}}

    def removed(self, *, data_change: bool) -> dict[str, Any]:
        """The action that removes it."""
        times = {"deletionTimestamp": _milliseconds(), "extendedFileMetadata": True}
        return {"remove": self._about(data_change) | times}

    def _about(self, data_change: bool) -> dict[str, Any]:
        partition = {"outcome": self.outcome, "arrival_day": self.arrival_day}
        return {"path": self.path, "partitionValues": partition, "size": self.size, "dataChange": data_change}


class ReplacedError(StateError):
    """Another job has removed a file that a commit was to remove."""


def partition(outcome: str, arrival_day: str) -> str:
    """The folder of a partition, below the table.

    >>> partition(ACCEPTED, "2026-03-01")
    'outcome=accepted/arrival_day=2026-03-01'
    """
    return f"outcome={outcome}/arrival_day={arrival_day}"


@dataclass(frozen=True)
class Snapshot:
    """A version of the table; `actions` are its files as delta-rs lists them."""

    version: int
    actions: pa.Table

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


class Table:
    """The Delta table in a folder; the latest version is looked for anew by each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: tuple[Snapshot, tuple[int, int]] | None = None
        self._reached = -1

    def exists(self) -> bool:
        """Whether it was made."""
        return self._commit_file(0).exists() or (self.folder / "_delta_log" / "_last_checkpoint").exists()

    def ensure(self, schema: pa.Schema) -> None:
        """Make the table, or give it the columns of a schema that it lacks."""
        from deltalake import DeltaTable, Schema

        if not self.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                self.folder, schema, mode="ignore", partition_by=[*PARTITIONS], configuration=CONFIGURATION
            )
            self._flush(since=-1)
            sync([self.folder, self.folder.parent])
            return
        table = self.opened()
        present = {field.name for field in table.schema().fields}
        if lacking := [field for field in Schema.from_arrow(schema).fields if field.name not in present]:
            before = table.version()
            table.alter.add_columns(lacking)
            self._flush(before)

    def opened(self) -> "DeltaTable":
        """The table as delta-rs has it."""
        from deltalake import DeltaTable

        return DeltaTable(self.folder)

    def snapshot(self) -> Snapshot:
        """The latest version; an empty one of a table that was not made yet."""
        if not self.exists():
            return Snapshot(-1, EMPTY.empty_table())
        if self._known:
            known, identity = self._known
            if self._identity(known.version) == identity and not self._commit_file(known.version + 1).exists():
                return known
        opened = self.opened()
        self._reached = version = opened.version()
        snapshot = Snapshot(version, _actions(opened))
        found = self._identity(version)
        self._known = (snapshot, found) if found else None
        return snapshot

    @step(Step.COMMIT)
    def commit(
        self,
        operation: str,
        add: Sequence[DataFile],
        remove: Sequence[DataFile] = (),
        *,
        data_change: bool = True,
        transaction: tuple[str, int] | None = None,
    ) -> int:
        """Commit files, which outlive a power failure then; answers the version.

        A commit that others have made is no conflict unless it removes one of the same files, or, since the version
        that this process has seen last, is the same `transaction`, an application's name and a number, or a later one:
        then this raises `StateError`.
        """
        places = {parent for each in add for parent in Path(each.path).parents}
        sync(self.folder / each for each in places)
        about = {"timestamp": _milliseconds(), "operation": operation, "engineInfo": "dualpath"}
        actions: list[dict[str, Any]] = [{"commitInfo": about}]
        if transaction is not None:
            name, number = transaction
            actions.append({"txn": {"appId": name, "version": number, "lastUpdated": _milliseconds()}})
        actions += [each.removed(data_change=data_change) for each in remove]
        actions += [each.added(data_change=data_change) for each in add]
        content = "\n".join(map(json.dumps, actions)).encode()
        version = (self._holding(remove) if remove else self._recent()) + 1
        while not create(self._commit_file(version), content):
            self._check(version, {each.path for each in remove}, transaction)
            version += 1
        self._reached = version
        return version

    def transaction(self, name: str) -> int | None:
        """The number of the last transaction of an application."""
        return self.opened().transaction_version(name) if self.exists() else None

    def checkpoint(self) -> None:
        """Sum the commits up, so that a reader need not open each."""
        table = self.opened()
        table.create_checkpoint()
        self._flush(table.version())

    def vacuum(self, *, hours: float = GRACE_HOURS) -> list[str]:
        """Remove the files that no version of the last hours has, and commits that were summed up a day ago."""
        table = self.opened()
        before = table.version()
        gone: list[str] = table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)  # type: ignore[arg-type]
        self._flush(since=before)
        table.cleanup_metadata()
        return gone

    def _recent(self) -> int:
        """A version that every commit after it still follows; others may have made some."""
        # Commits are cleaned up when they are a day old: in the place of one a new one would be lost.
        with suppress(FileNotFoundError):
            age = time.time() - self._commit_file(self._reached).stat().st_mtime
            if age < GRACE_HOURS * 3600:
                return self._reached
        return self.snapshot().version

    def _holding(self, files: Sequence[DataFile]) -> int:
        """The latest version; raises `StateError` if it lacks some files."""
        snapshot = self.snapshot()
        if gone := {each.path for each in files}.difference(snapshot.actions["path"].to_pylist()):
            raise self._replaced(min(gone))
        return snapshot.version

    def _replaced(self, path: str) -> ReplacedError:
        return ReplacedError(f"{self.folder}: another job has replaced {path} meanwhile; run this one again.")

    def _flush(self, since: int) -> None:
        """Let checkpoints, and the commits after a version, outlive a power failure: delta-rs does not wait for it."""
        folder, commits = self.folder / "_delta_log", list[Path]()
        while (file := self._commit_file(since + 1 + len(commits))).exists():
            commits.append(file)
        sync([*commits, *folder.glob("*checkpoint*"), folder])

    def _check(self, version: int, removing: set[str], transaction: tuple[str, int] | None) -> None:
        for line in self._commit_file(version).read_text().splitlines():
            action = json.loads(line)
            gone, txn = action.get("remove", {}).get("path"), action.get("txn")
            if gone in removing:
                raise self._replaced(gone)
            if txn and transaction and txn["appId"] == transaction[0] and txn["version"] >= transaction[1]:
                raise StateError(f"{self.folder}: {txn['appId']} has committed {txn['version']} already.")

    def _commit_file(self, version: int) -> Path:
        return self.folder / "_delta_log" / f"{version:0{VERSION_DIGITS}}.json"

    def _identity(self, version: int) -> tuple[int, int] | None:
        """What tells a commit from one of the same number in another table that was put into the same folder."""
        try:
            found = self._commit_file(version).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


@cache
def table(folder: Path) -> Table:
    """The table in a folder, with what this process knows of it."""
    return Table(folder)


def _actions(opened: "DeltaTable") -> pa.Table:
    found = pa.table(opened.get_add_actions(flatten=True))
    names = {"path": "path", "size": "size_bytes", "rows": "num_records"}
    names |= {each: f"partition.{each}" for each in PARTITIONS}
    names |= {"query": "min.query", "batch": "min.batch", "most_query": "max.query", "most_batch": "max.batch"}
    if not found.num_rows:
        return EMPTY.empty_table()
    return pa.table([found[theirs].cast(EMPTY.field(own).type) for own, theirs in names.items()], schema=EMPTY)


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
