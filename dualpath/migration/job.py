"""Migrates a source: block by block into the Delta table, a commit each, then the old files go.

It may be cut off anywhere and goes on where it was. Every file that is written is read again and compared with what it
was made of, before it is committed; nothing is removed before the table has the rows, the outcomes and the digests of
arrival days that the ledger has.
"""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dualpath.errors import StateError
from dualpath.files.durable import write_atomically
from dualpath.files.places import read_text
from dualpath.log import batches, erasures, forms, progress
from dualpath.log.accounts import Entry, Total, clock_day
from dualpath.log.outcomes import COUNTS, GREATEST
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE, write
from dualpath.migration import former
from dualpath.migration.former import KINDS, Block
from dualpath.record import UNFENCED, Fence
from dualpath.schema import EventSource
from dualpath.steps import Step, step

APPLICATION = "migration"
OUTCOMES = (ACCEPTED, DUPLICATE, DEAD_LETTER)
LETTER = {"origin": "__origin", "position": "__position"}
"""Columns of dead letters, and their names now."""


@dataclass(frozen=True)
class Migrated:
    """What was brought over of a source: its batches with their outcomes, and how many files of rows it has now."""

    source: str
    total: Total
    files: int


def migrate(storage: Storage, source: EventSource, say: Callable[[str], None] = lambda _: None) -> Migrated | None:
    """Bring a source over; None: there is nothing of the previous version.

    Raises `RunningError` while a stream or a night is running, and `StateError`, before anything is removed, if the
    files do not have the rows that the ledger counts.
    """
    if not former.exists(storage):
        return None
    with storage.alone(), storage.building(), storage.publishing(), storage.compacting():
        if not progress.exists(storage.folder("ledger")):
            _bring_all(storage, source, say)
        # From here on a stream may go on, whatever is left of the previous version.
        _remove(storage)
        storage.table.checkpoint()
        files = sum(len(storage.files(outcome)) for outcome in OUTCOMES)
        return Migrated(storage.source, storage.accounts().total(), files)


def _bring_all(storage: Storage, source: EventSource, say: Callable[[str], None]) -> None:
    """Commit all blocks that are not committed yet, and note how far the stream was once all is proven."""
    found, table = former.blocks(storage), storage.table
    table.ensure(forms.schema(forms.kept(storage) or forms.Forms.of(source)))
    done = table.transaction(APPLICATION)
    for number, block in enumerate(found):
        if done is None or number > done:
            say(f"{storage.source}: {block.name}, {number + 1} of {len(found)}")
            _bring(storage, block, number)
    _note_erasures(storage)
    _prove(storage, found)
    _note_progress(storage)


@step(Step.MIGRATE_BLOCK)
def _bring(storage: Storage, block: Block, number: int) -> None:
    """Commit the rows and the accounts of a block."""
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    reasons: defaultdict[int, Counter[str]] = defaultdict(Counter)
    made: list[DataFile] = []
    for outcome in OUTCOMES:
        for file, batch, day in former.files(storage, block, outcome):
            rows = _numbered(pq.ParquetFile(file).read(), block.query, batch)
            for each in pc.value_counts(rows["batch"]).to_pylist():
                counts[each["values"]][outcome] += each["counts"]
            if outcome == ACCEPTED:
                for each in pc.value_counts(rows.filter(rows["late"])["batch"]).to_pylist():
                    counts[each["values"]]["late"] += each["counts"]
            if outcome == DEAD_LETTER:
                for at, reason in zip(rows["batch"].to_pylist(), rows["reason"].to_pylist(), strict=True):
                    reasons[at][reason.partition(":")[0]] += 1
            made += [_written(storage, outcome, day or clock_day(block.clock), rows)] if len(rows) else []
    for outcome in (ACCEPTED, DEAD_LETTER):
        if (there := sum(each[outcome] for each in counts.values())) != (expected := getattr(block, outcome)):
            raise StateError(
                f"source '{storage.source}': {block.name} holds {there:,} rows under {KINDS[outcome]}/ of "
                f"{expected:,}; restore them, or correct the ledger, with the previous version, then migrate."
            )
    entries = [_entry(block, each, counts[each], reasons[each]) for each in range(block.first, block.last + 1)]
    entries[-1] = _with_rest(entries, block)
    accounts = pa.concat_tables(each.row for each in entries)
    made.append(batches.write_accounts(storage.table, accounts, clock_day(block.clock)))

    storage.table.commit("MIGRATE", made, transaction=(APPLICATION, number))


def _entry(block: Block, batch: int, counts: Counter[str], reasons: Counter[str]) -> Entry:
    """What can be told of a batch from its rows."""
    told = {name: counts[name] for name in (*OUTCOMES, "late")}
    rows_read = sum(counts[outcome] for outcome in OUTCOMES)
    made = Entry(block.query, batch, logged=True, clock=block.clock_of(batch), arrival_days=block.days_of(batch))
    return replace(made, rows_read=rows_read, reasons=dict(reasons), **told)  # type: ignore[arg-type]


def _with_rest(entries: list[Entry], block: Block) -> Entry:
    """The last batch with what the ledger knows of the block alone, so that sums stay.

    Duplicates that a still earlier version did not keep count as erased: they were read, and are not there.
    """
    rest: dict[str, Any] = {name: getattr(block, name) for name in (*GREATEST, "clock", "positions")}
    for name in (*COUNTS, "erased"):
        others = sum(getattr(each, name) for each in entries[:-1])
        rest[name] = getattr(block, name) - others
    lacking = rest["duplicate"] - entries[-1].duplicate
    rest |= {"duplicate": entries[-1].duplicate, "erased": rest["erased"] + lacking}
    return replace(entries[-1], **rest)


def _numbered(rows: pa.Table, query: int, batch: int | None) -> pa.Table:
    """Rows with the columns that the table has."""
    numbers = rows["__batch"] if batch is None else pa.repeat(pa.scalar(batch, pa.int64()), len(rows))
    rows = rows.select([name for name in rows.column_names if name != "__batch"])
    if "reason" in rows.column_names:
        rows = rows.rename_columns([LETTER.get(name, name) for name in rows.column_names])
    queries = pa.repeat(pa.scalar(query, pa.int32()), len(rows))
    return rows.append_column("query", queries).append_column("batch", numbers)


def _written(storage: Storage, outcome: str, day: str, rows: pa.Table) -> DataFile:
    made = write(storage.folder("log"), outcome, day, rows)
    file = storage.folder("log") / made.path
    if not pq.ParquetFile(file).read().equals(rows):
        raise StateError(f"{file} has other rows than were written; look at the disk, then migrate again.")
    return made


@step(Step.NOTE_PROGRESS)
def _note_progress(storage: Storage) -> None:
    """How far the stream was."""
    entries = former.entries(storage)
    unfinished = next((each for each in entries if not each.done), None)
    ends = (Fence(each.query, each.last) for each in former.blocks(storage))
    done = max((each for each in ends if unfinished is None or each < unfinished.fence), default=UNFENCED)
    begun, closed = (unfinished.fence, unfinished.closed_through) if unfinished else (done, "")
    sealed = former.folder(storage, "ledger") / "sealed"
    progress.write(storage.folder("ledger"), progress.Progress(done, begun, closed, read_text(sealed)))


def _note_erasures(storage: Storage) -> None:
    """Erasures say how many rows they have removed in all."""
    file = erasures.file_of(storage.folder("ledger"))
    if file.exists():
        plain = json.loads(file.read_text())
        for each in plain:
            each["rows"] = each.get("rows", 0) + sum(each.pop(outcome, 0) for outcome in OUTCOMES)
        write_atomically(file, json.dumps(plain, indent=1))


def _prove(storage: Storage, found: list[Block]) -> None:
    """Raise `StateError` unless the table has what the ledger counts, batch by batch."""
    accounts = storage.logged()
    total = accounts.total()
    for name in COUNTS:
        was, now = sum(getattr(each, name) for each in found), getattr(total, name)
        if name != "duplicate" and was != now:
            raise StateError(f"source '{storage.source}': {name} is {now:,}, and was {was:,}.")
    for outcome in OUTCOMES:
        there = sum(each.rows for each in storage.table.snapshot().files(outcome=outcome))
        if there != getattr(total, outcome):
            raise StateError(f"source '{storage.source}': the log has {there:,} rows {outcome}, and some are missing.")
    if wrong := accounts.wrong():
        raise StateError(f"source '{storage.source}': {wrong[0]}: the outcomes do not add up.")
    names = ((each, batch) for each in found for batch in range(each.first, each.last + 1))
    expected = {Fence(each.query, batch): each.days_of(batch) for each, batch in names}
    rows = accounts.rows.select(["query", "batch", "arrival_days"]).to_pylist()
    if {Fence(row["query"], row["batch"]): tuple(row["arrival_days"]) for row in rows} != expected:
        raise StateError(f"source '{storage.source}': the batches with rows of an arrival day are not those of before.")


@step(Step.REMOVE_FORMER)
def _remove(storage: Storage) -> None:
    """Remove the files of the previous version, the ledger last."""
    ledger = former.folder(storage, "ledger")
    gone = [*former.folder(storage, "log").glob("query=*")]
    gone += [former.folder(storage, kind) for kind in ("dead", "duplicate", "packing")]
    gone += [ledger / "reasons", ledger / "blocks", *ledger.glob("query=*")]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("spans.json", "packing", "sealed"):
        (ledger / name).unlink(missing_ok=True)
