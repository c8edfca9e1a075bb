"""Delta tables: their files, their commits, and what a version of them holds; a source's event log is one.

A commit is a file of the protocol's transaction log, `_delta_log/{version}.json`, which is created if nobody else has:
who wins the version has committed. Commits are written here, because delta-rs reads all of a table's files before each,
and a stream commits every second; tables are made, widened, read, checkpointed and vacuumed by delta-rs.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Generic, Literal
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from dualpath.errors import StateError
from dualpath.files.durable import create, sync
from dualpath.files.locks import Check, unchecked
from dualpath.files.parquet import write_rows
from dualpath.files.places import Identity, Place, below, delta_options, identity, read_text, relative
from dualpath.log.snapshot import DataFile, F, Snapshot, milliseconds
from dualpath.steps import Step, step

if TYPE_CHECKING:
    from deltalake import DeltaTable

ACCEPTED, DUPLICATE, DEAD_LETTER, BATCH = "accepted", "duplicate", "dead_letter", "batch"
"""The outcomes of rows, as partitions of the table; `batch` has the account of each batch."""
VERSION_DIGITS = 20
COMMITS_TO_OPEN = 100
"""So many commits a reader of record files opens at most."""
GRACE_HOURS = 12
"""How long files stay after a commit has removed them, for a job that began before."""
CONFIGURATION = {
    "delta.deletedFileRetentionDuration": f"interval {GRACE_HOURS} hours",
    "delta.logRetentionDuration": "interval 1 days",
    # A commit's own checkpoints and clean-up would be in the way of the stream; see `Table.checkpoint`.
    "delta.checkpointInterval": "1000000000",
    "delta.enableExpiredLogCleanup": "false",
}


class ReplacedError(StateError):
    """Another job has removed a file that a commit was to remove."""


def write(folder: Place, outcome: str, day: str, rows: pa.Table, name: str = "") -> DataFile:
    """Write rows, which say their `query` and `batch`, to a new file of a log that no commit has yet; `name` is that of
    the file, by default a new one."""
    path = f"{DataFile.place(outcome, day)}/{name or f'part-{uuid4().hex}'}.parquet"
    size = write_rows(rows, folder / path)
    queries, batches = (pc.min_max(rows[each]).as_py() for each in DataFile.RANGES)
    ends = [(each["min"], each["max"]) for each in (queries, batches)]
    return DataFile(path, size, len(rows), outcome, day, *ends)


class Table(Generic[F]):
    """The Delta table in a folder, with files of a kind; the latest version is looked for anew by each call."""

    def __init__(self, folder: Place, kind: type[F]) -> None:
        self.folder, self.kind = folder, kind
        self._known: tuple[Snapshot[F], Identity] | None = None
        self._committed: tuple[int, Identity] | None = None
        self._numbers: dict[str, int] = {}

    def exists(self) -> bool:
        """Whether it was made."""
        return self._commit_file(0).exists() or (self.folder / "_delta_log" / "_last_checkpoint").exists()

    def ensure(self, schema: pa.Schema) -> None:
        """Make the table, or give it the columns of a schema that it lacks; one without files takes any schema."""
        from deltalake import Schema

        if not self.exists():
            self._make(schema, "ignore")
            self._flush(since=-1)
            sync([self.folder, self.folder.parent])
            return
        table, wanted = self.opened(), Schema.from_arrow(schema).fields
        before, present = table.version(), {field.name: field for field in table.schema().fields}
        lacking = [field for field in wanted if field.name not in present]
        if not self.snapshot().actions.num_rows:
            if [*present.values()] != wanted:
                self._make(schema, "overwrite")
        elif lacking:
            table.alter.add_columns(lacking)
        self._flush(before)

    def opened(self) -> "DeltaTable":
        """The table as delta-rs has it."""
        from deltalake import DeltaTable

        return DeltaTable(str(self.folder), storage_options=delta_options(self.folder))

    def snapshot(self) -> Snapshot[F]:
        """The latest version; an empty one of a table that was not made yet."""
        if self._known:
            known, last = self._known
            if self._identity(known.version) == last and not self._commit_file(known.version + 1).exists():
                return known
        if not self.exists():
            return Snapshot.of(self.kind)
        snapshot = Snapshot.of(self.kind, self.opened())
        found = self._identity(snapshot.version)
        self._known = (snapshot, found) if found else None
        return snapshot

    @step(Step.COMMIT)
    def commit(
        self,
        operation: str,
        add: Sequence[F],
        remove: Sequence[F] = (),
        *,
        data_change: bool = True,
        transaction: tuple[str, int] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> int:
        """Commit files, which outlive a power failure then; answers the version.

        A commit that others have made meanwhile is no conflict unless it removes one of the same files. Raises
        `StateError` for that, for a `transaction`, an application's name and a number, if the table has that number or
        a later one of the application, and if there is no table.
        """
        places = {parent for each in add for parent in PurePosixPath(each.path).parents}
        sync(self.folder / each for each in places)
        about: dict[str, Any] = {"timestamp": milliseconds(), "operation": operation, "engineInfo": "dualpath"}
        about["operationParameters"] = dict(parameters or {})
        actions: list[dict[str, Any]] = [{"commitInfo": about}]
        if transaction is not None:
            name, number = transaction
            actions.append({"txn": {"appId": name, "version": number, "lastUpdated": milliseconds()}})
        actions += [each.removed(data_change=data_change) for each in remove]
        actions += [each.added(data_change=data_change) for each in add]
        content = "\n".join(map(json.dumps, actions)).encode()
        version = (self._holding(remove) if remove else self._recent()) + 1
        self._refuse(transaction)
        while not create(self._commit_file(version), content):
            self._look_at(version, {each.path for each in remove})
            self._refuse(transaction)
            version += 1
        if made := self._identity(version):
            self._committed = version, made
        self._numbers |= [transaction] if transaction else []
        return version

    def transaction(self, name: str) -> int | None:
        """The number of the last transaction of an application."""
        return self.opened().transaction_version(name) if self.exists() else None

    def sum_up(self) -> None:
        """Make a checkpoint, and clean up, once many commits have come since the last one."""
        last = read_text(self.folder / "_delta_log" / "_last_checkpoint")
        before = json.loads(last)["version"] if last else 0
        if self.snapshot().version - before >= COMMITS_TO_OPEN:
            self.checkpoint()
            self.opened().cleanup_metadata()

    def checkpoint(self) -> None:
        """Sum the commits up, so that a reader need not open each."""
        table = self.opened()
        table.create_checkpoint()
        self._flush(table.version())

    def vacuum(self) -> list[str]:
        """Remove the files that no version of the last `GRACE_HOURS` has, and commits that were summed up a day ago."""
        table = self.opened()
        before = table.version()
        gone = table.vacuum(GRACE_HOURS, dry_run=False, enforce_retention_duration=False, full=True)
        self._flush(since=before)
        table.cleanup_metadata()
        return gone

    def remove_unused(self, alone: Check = unchecked) -> None:
        """Remove every file that the latest version does not have, whatever its age: nobody else may write, and whoever
        reads an older version loses it.

        Only files that were there while nobody else could write, which `alone` is asked for after they were listed: one
        that stands still meanwhile takes nothing from whoever has begun to write.
        """
        if not self.exists():
            return
        there = {relative(file, self.folder) for file in below(self.folder)}
        alone()
        unused = there.difference(self.snapshot().actions["path"].to_pylist())
        for path in unused:
            if path.startswith(f"{self.kind.PARTITIONS[0]}="):
                (self.folder / path).unlink()

    def _make(self, schema: pa.Schema, mode: Literal["ignore", "overwrite"]) -> None:
        from deltalake import DeltaTable

        if isinstance(self.folder, Path):
            self.folder.mkdir(parents=True, exist_ok=True)
        about = CONFIGURATION | {"delta.dataSkippingStatsColumns": ",".join(self.kind.RANGES)}
        partitions = [*self.kind.PARTITIONS]
        DeltaTable.create(
            str(self.folder),
            schema,
            mode=mode,
            partition_by=partitions,
            configuration=about,
            storage_options=delta_options(self.folder),
        )

    def _recent(self) -> int:
        """A version that every commit after it still follows, and of which this process knows the transactions."""
        if self._committed:
            version, made = self._committed
            # Commits are cleaned up when they are a day old: in the place of one a new one would be lost.
            if self._identity(version) == made and time.time() - made[1] / 1e9 < GRACE_HOURS * 3600:
                return version
        return self._latest().version

    def _latest(self) -> Snapshot[F]:
        """The latest version, of which this process knows no transactions yet; raises `StateError` if there is none."""
        self._numbers = {}
        if (snapshot := self.snapshot()).version < 0:
            raise StateError(f"{self.folder}: there is no table any more; put it back, or start again.")
        return snapshot

    def _holding(self, files: Sequence[F]) -> int:
        """The latest version; raises `StateError` if it lacks some files."""
        snapshot = self._latest()
        if gone := {each.path for each in files}.difference(snapshot.actions["path"].to_pylist()):
            raise self._replaced(min(gone))
        return snapshot.version

    def _replaced(self, path: str) -> ReplacedError:
        return ReplacedError(f"{self.folder}: another job has replaced {path} meanwhile; run this one again.")

    def _flush(self, since: int) -> None:
        """Let checkpoints, and the commits after a version, outlive a power failure: delta-rs does not wait for it."""
        folder, commits = self.folder / "_delta_log", list[Path]()
        if not isinstance(folder, Path):
            return
        while (file := folder / self._name(since + 1 + len(commits))).exists():
            commits.append(file)
        sync([*commits, *folder.glob("*checkpoint*"), folder])

    def _look_at(self, version: int, removing: set[str]) -> None:
        """Know the transactions of another's commit; raises `StateError` if it removes one of some files."""
        for line in self._commit_file(version).read_text().splitlines():
            action = json.loads(line)
            gone, txn = action.get("remove", {}).get("path"), action.get("txn")
            if gone in removing:
                raise self._replaced(gone)
            if txn and txn["appId"] in self._numbers:
                self._numbers[txn["appId"]] = max(self._numbers[txn["appId"]], txn["version"])

    def _refuse(self, transaction: tuple[str, int] | None) -> None:
        """Raise `StateError` if the table has a transaction, or a later one of its application."""
        if transaction is None:
            return
        name, number = transaction
        if name not in self._numbers:
            found = self.transaction(name)
            self._numbers[name] = -1 if found is None else found
        if self._numbers[name] >= number:
            raise StateError(f"{self.folder}: {name} has committed {self._numbers[name]} already.")

    def _commit_file(self, version: int) -> Place:
        return self.folder / "_delta_log" / self._name(version)

    @staticmethod
    def _name(version: int) -> str:
        return f"{version:0{VERSION_DIGITS}}.json"

    def _identity(self, version: int) -> Identity | None:
        """What tells a commit from one of the same number in another table that was put into the same folder."""
        return identity(self._commit_file(version))


LogTable = Table[DataFile]


@cache
def log_table(folder: Place) -> LogTable:
    """The event log in a folder, with what this process knows of it."""
    return Table(folder, DataFile)
