"""The event log as tests look into it, and write to it without a stream."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from dualpath.files.parquet import parquet, write_rows
from dualpath.files.places import place
from dualpath.jobs import log_compaction
from dualpath.jobs.staging import numbered
from dualpath.log import batches, forms
from dualpath.log import table as table_of_log
from dualpath.log.accounts import SCHEMA, Entry
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.record import Fence
from dualpath.schema import EventSource


def rows(storage: Storage, outcome: str = ACCEPTED) -> pa.Table:
    """The rows of an outcome that finished batches have, each with the columns of its file."""
    tables = [parquet(place(path)).read() for path in storage.paths(outcome)]
    return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})


def entries(storage: Storage) -> list[Entry]:
    """Every batch in the log, oldest first; `done` says whether it is finished."""
    done, _ = storage.reached()
    found = storage.logged().rows.to_pylist()
    return [Entry.read(row, done=Fence(row["query"], row["batch"]) <= done) for row in found]


def uncommitted(storage: Storage) -> set[str]:
    """The files in the log's folder that its latest version does not have."""
    folder = storage.folder("log")
    there = {str(file.relative_to(folder)) for file in folder.glob("outcome=*/**/*") if file.is_file()}
    return there.difference(storage.table.snapshot().actions["path"].to_pylist())


def append(
    storage: Storage,
    source: EventSource,
    files: Mapping[tuple[str, str], pa.Table],
    *,
    batch: Fence | None = None,
    finished: bool = True,
    **counts: Any,
) -> Entry:
    """Write a micro-batch, by default the next of the first query: `files` are rows of an outcome and an arrival day,
    with the columns of files; `counts` are what the entry says of them, besides what can be told from `files`."""
    storage.table.ensure(forms.schema(forms.known(storage, source)))
    _, last = storage.reached()
    fence = batch or Fence(1, last.batch + 1 if last.query else 0)
    entry = storage.begin(*fence)
    written = [write(storage, fence, *place, table) for place, table in files.items()]
    told: dict[str, Any] = {}
    for each in written:
        told[each.outcome] = told.get(each.outcome, 0) + each.rows
    told["rows_read"] = sum(told.values())
    told["arrival_days"] = tuple(sorted({each.arrival_day for each in written if each.outcome == ACCEPTED}))
    entry = storage.note(entry, written, **told | counts)
    return storage.finish(entry) if finished else entry


def write(storage: Storage, fence: Fence, outcome: str, day: str, table: pa.Table) -> DataFile:
    """Write a file of the log that no commit has yet."""
    return table_of_log.write(storage.folder("log"), outcome, day, numbered(table, fence))


def compact(storage: Storage) -> int:
    """Compact every partition that has several files, as a night does, without Spark; answers how many files were
    made. What they replace stays, as it does for hours."""
    with patch.object(log_compaction, "FEW", 1):
        outcomes = (ACCEPTED, DUPLICATE, DEAD_LETTER)
        groups = [each for outcome in outcomes for each in log_compaction._groups(storage, outcome)]
    done = [log_compaction._compact(storage.folder("log"), group) for group in groups]
    assert not any(each.fault for each in done)
    made = [file for each in done for file in each.made]
    storage.table.commit("OPTIMIZE", made, [file for each in done for file in each.before], data_change=False)
    return len(made)


def repeat(storage: Storage, path: str) -> None:
    """Commit the first row of a file once more, which no account counts."""
    [file] = [each for each in storage.files() if path.endswith(each.path)]
    again = file.path.replace("part-", "part-by-hand-")
    write_rows(pq.ParquetFile(path).read().slice(0, 1), storage.folder("log") / again)
    size = (storage.folder("log") / again).stat().st_size
    storage.table.commit("WRITE", [replace(file, path=again, size=size, rows=1)])


def commit(storage: Storage, entry: Entry) -> Entry:
    """Write a finished micro-batch of no rows, with the counts of an entry; the log may be new, of any declaration."""
    storage.table.ensure(pa.schema([*SCHEMA, ("outcome", pa.string()), ("arrival_day", pa.date32())]))
    storage.begin(entry.query, entry.batch)
    batches.commit(storage.table, entry, [])
    return storage.finish(entry)
