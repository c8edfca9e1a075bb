"""A micro-batch in the log: its commit, and its account, which is a row of the log too."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any
from uuid import uuid4

import pyarrow as pa

from dualpath.errors import StateError
from dualpath.files.parquet import dataset
from dualpath.files.places import size
from dualpath.log.accounts import SCHEMA, Accounts, Entry, clock_day
from dualpath.log.snapshot import DataFile, Snapshot
from dualpath.log.table import BATCH, LogTable, ReplacedError, write
from dualpath.record import Fence

SUMMED_UP = 1_000
"""Batches after which their accounts are put into one file, and their commits into a checkpoint."""
LARGE_FILE_BYTES = 1_000_000
"""Size of a file of accounts from which on it is left as it is."""


def commit(table: LogTable, entry: Entry, files: Sequence[DataFile]) -> int:
    """Commit the files of a batch and its account; answers the version.

    Raises `StateError` if the batch is in the log already, and if a file is not there any more.
    """
    for each in files:
        # A stream that stood still for half a day after it had written them finds them vacuumed.
        if size(table.folder / each.path) < 0:
            raise StateError(f"{table.folder / each.path} is gone before it was committed; start the stream again.")
    account = write_accounts(table, entry.row, clock_day(entry.clock))
    done = table.commit("STREAMING UPDATE", [*files, account], transaction=(f"query-{entry.query}", entry.batch))
    _known(table).own[account.path] = entry.row
    return done


def accounts(table: LogTable) -> Accounts:
    """The accounts of all batches in the log."""
    return _known(table).read(table.snapshot())


def sum_up(table: LogTable) -> None:
    """Put the accounts of many batches into one file a day, and the commits into a checkpoint."""
    small: defaultdict[str, list[DataFile]] = defaultdict(list)
    for each in table.snapshot().files(outcome=BATCH):
        if each.size < LARGE_FILE_BYTES:
            small[each.arrival_day].append(each)
    several = {day: files for day, files in small.items() if len(files) > 1}
    made = [write_accounts(table, _read(table, files), day) for day, files in several.items()]
    if made:
        with suppress(ReplacedError):  # a night and the stream may do this at once
            table.commit("OPTIMIZE", made, [*chain(*several.values())], data_change=False)
    _known(table).own = {}  # also of those that a night has summed up
    table.checkpoint()


def changed(
    table: LogTable, batches: Collection[Fence], change: Callable[[Fence, dict[str, Any]], dict[str, Any]]
) -> tuple[list[DataFile], list[DataFile]]:
    """The files with the accounts of some batches, and new ones in which `change` was made to these accounts."""
    before, made = [], []
    for file in table.snapshot().files(outcome=BATCH):
        rows = _read(table, [file]).to_pylist()
        mine = [(row, fence) for row in rows if (fence := Fence(row["query"], row["batch"])) in batches]
        for row, fence in mine:
            row["account"] = change(fence, row["account"])
        if mine:
            before.append(file)
            made.append(write_accounts(table, pa.Table.from_pylist(rows, SCHEMA), file.arrival_day))
    return before, made


@dataclass(frozen=True)
class _Read:
    """The accounts of a version, as they are stored, and the files they are in."""

    snapshot: Snapshot[DataFile]
    paths: frozenset[str]
    stored: pa.Table
    accounts: Accounts


class _Known:
    """The accounts that a process has read; of a later version it reads only the files that are new.

    `own` has the rows of files that it wrote itself, until they are summed up: to open a thousand takes a second.
    """

    def __init__(self, table: LogTable) -> None:
        self.table = table
        self.own: dict[str, pa.Table] = {}
        self.last: _Read | None = None

    def read(self, snapshot: Snapshot[DataFile]) -> Accounts:
        last = self.last  # threads may read at once, each for itself
        if last and last.snapshot is snapshot:
            return last.accounts
        files = snapshot.files(outcome=BATCH)
        paths = frozenset(each.path for each in files)
        known, stored = (last.paths, last.stored) if last and last.paths <= paths else ((), SCHEMA.empty_table())
        new = [each for each in files if each.path not in known]
        stored = pa.concat_tables([stored, _read(self.table, new)])
        self.last = _Read(snapshot, paths, stored, Accounts.of(stored))
        return self.last.accounts


@cache
def _known(table: LogTable) -> _Known:
    return _Known(table)


def _read(table: LogTable, files: list[DataFile]) -> pa.Table:
    own = _known(table).own  # another thread may put others in its place
    mine = [own[each.path] for each in files if each.path in own]
    paths = [str(table.folder / each.path) for each in files if each.path not in own]
    read = [dataset(paths, SCHEMA).to_table()] if paths else []
    return pa.concat_tables([SCHEMA.empty_table(), *mine, *read])


def write_accounts(table: LogTable, rows: pa.Table, day: str) -> DataFile:
    """A new file of accounts of a day."""
    return write(table.folder, BATCH, day, rows, f"batch-{uuid4().hex}")
