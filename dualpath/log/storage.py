"""Where a source's events live on disk, and the ledger that accounts for every row.

Under the root, each source has `landing/` (payload files for the stream), `log/` (accepted events, the truth
that batch and training read), `dead/` (refused rows with a reason), `duplicate/` (events that came again, to explain
answers), `ids/` (those of events accepted of late), `ledger/` (what became of every micro-batch) and `checkpoint/`
(Spark's); in `staging/` is what a batch under way has written, in `dimensions/` the tables that the last batch
looked fields up in, in `packing/` what a night is compacting, in `gate/` what each night's check found. Log, dead
letters and duplicates are Parquet under `query=G/batch=N/`, so that a repeated batch overwrites its own files, and
later, with other batches, under `query=G/batch=A-B/`; the log is further split by `epoch=D`, the arrival day a row is
counted in. Accepted and repeated events have the place they came from beside them.

A day is *closed* by the nightly job. Rows of a closed arrival day that come later belong to the first open
one. A batch notes which days were closed when it began, so a replay gives its rows the same arrival days.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import xxhash

from dualpath.locks import locked
from dualpath.log import erasures, ledger, spans
from dualpath.log.files import write_atomically
from dualpath.log.ledger import Block, Entry
from dualpath.record import UNFENCED, Fence
from dualpath.steps import Step, step

PLACED = ("log", "dead", "duplicate", "ids")
"""Folders in which a batch has one of its own."""


@dataclass(frozen=True)
class Storage:
    """The folders of one source under `root`."""

    root: Path
    source: str

    def folder(self, kind: str) -> Path:
        """`landing`, `staging`, `dimensions`, `packing`, `log`, `dead`, `ids`, `ledger` or `checkpoint`."""
        return self.root / self.source / kind

    @property
    def closed_through(self) -> str:
        """The last closed arrival day, ISO; empty if none is."""
        file = self.folder("ledger") / "sealed"
        return file.read_text() if file.exists() else ""

    def close_day(self, day: date) -> None:
        """Close every arrival day up to `day`; never reopens one."""
        with self._days():
            if day.isoformat() > self.closed_through:
                write_atomically(self.folder("ledger") / "sealed", day.isoformat())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the checkpoint, as a stream does; raises `RunningError` if another process holds it."""
        taken = f"source '{self.source}': another stream is running on this checkpoint; stop it first."
        with locked(self.folder("checkpoint") / "lock", taken):
            yield

    @contextmanager
    def building(self) -> Iterator[None]:
        """Be the only job that builds record files; raises `RunningError` if another one does."""
        taken = f"source '{self.source}': another job is building its record files; run this one when it has ended."
        with locked(self.folder("ledger") / "building", taken):
            spans.keep(self.folder("ledger"))
            yield

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Be the only night that publishes snapshots; raises `RunningError` if another one does."""
        taken = f"source '{self.source}': another night is publishing; run this one when it has ended."
        with locked(self.folder("ledger") / "publishing", taken):
            yield

    @contextmanager
    def compacting(self) -> Iterator[None]:
        """Be the only night that compacts the log; raises `RunningError` if another one does."""
        taken = f"source '{self.source}': another night is compacting the log; run this one when it has ended."
        with locked(self.folder("ledger") / "packing", taken):
            yield

    def begin(self, query: int, batch: int) -> Entry:
        """The entry of a batch that starts, or starts again: the first start decides which days are closed for it."""
        # Whoever closes a day must find every entry that was begun before, and no later one may miss that it is closed.
        with self._days():
            entry = Entry(query, batch, self.closed_through)
            file = ledger.file_of(self.folder("ledger"), entry)
            return ledger.read(file) if file.exists() else ledger.write(self.folder("ledger"), entry)

    def unfinished(self, day: date) -> list[Entry]:
        """Batches that may still write rows of `day` or earlier: begun before it was closed, and not done."""
        return [e for e in self.entries() if not e.done and e.closed_through < day.isoformat()]

    def note(self, entry: Entry, **counts: object) -> Entry:
        """Note that a batch's rows are in the log and the dead-letter table, with their counts."""
        return ledger.write(self.folder("ledger"), replace(entry, logged=True, **counts))  # type: ignore[arg-type]

    def clear(self, entry: Entry) -> None:
        """Remove what an attempt at a batch has left in its folders, before it was noted."""
        for kind in PLACED:
            with suppress(FileNotFoundError):
                shutil.rmtree(self.folder(kind) / entry.name)

    def finish(self, entry: Entry) -> Entry:
        """Note that everything of a batch is written."""
        done = ledger.write(self.folder("ledger"), replace(entry, done=True))
        if entry.batch % ledger.BLOCK == 0:
            ledger.fold(self.folder("ledger"), entry)
        return done

    @step(Step.LEAVE_OFF)
    def leave_off(self) -> None:
        """End the last batch for a generation that does not come back: finish it if the log has its rows.

        If not, it leaves nothing behind, and the next generation reads its rows.
        """
        for entry in self.entries():
            if entry.logged and not entry.done:
                self.finish(entry)
            elif not entry.done:
                self.clear(entry)
                ledger.file_of(self.folder("ledger"), entry).unlink()

    def positions(self, before: int) -> dict[str, int]:
        """The last position that the queries before one have read of each origin."""
        return ledger.positions(self.folder("ledger"), before)

    def entries(self) -> list[Entry]:
        """The latest batches, oldest first: all that are not done, and the done ones that no block replaces yet."""
        return ledger.entries(self.folder("ledger"))

    def blocks(self) -> list[Block]:
        """All finished batches, oldest first: whole thousands in one block, the latest each in its own."""
        return ledger.blocks(self.folder("ledger"))

    def logged(self) -> list[Block]:
        """All batches whose rows are in the log, as `blocks`, and the one that is not finished."""
        return ledger.blocks(self.folder("ledger"), unfinished=True)

    def clocks(self, block: Block) -> dict[int, int]:
        """The clock of each batch of a block that has rows, microseconds UTC."""
        return ledger.clocks(self.folder("ledger"), block)

    def reached(self) -> tuple[Fence, Fence]:
        """The last finished and the last begun batch; `UNFENCED` before the first."""
        *_, before, last = [None, None, *ledger.files(self.folder("ledger"))]
        if last is None:
            return UNFENCED, UNFENCED
        begun = Fence(*ledger.number(last))
        if ledger.read(last).done:
            return begun, begun
        # A batch begins when the one before it is finished.
        return (UNFENCED if before is None else Fence(*ledger.number(before))), begun

    def through(self) -> Mapping[int, int]:
        """The last finished batch of each query."""
        return spans.read(self.folder("ledger")).through

    def complete_through(self, day: str) -> Fence:
        """The last finished batch before the first one that has rows of an arrival day after `day`, ISO."""
        found = spans.read(self.folder("ledger"))
        later = [
            Fence(query, of_query[0][0])
            for arrival_day, by_query in found.arrival_days.items()
            if arrival_day > day
            for query, of_query in by_query.items()
        ]
        first = min(later, default=None)
        finished = [Fence(*each) for each in found.through.items()]
        if first is not None:
            finished = [each for each in finished if each.query < first.query]
            finished += [Fence(first.query, first.batch - 1)] if first.batch else []
        return max(finished, default=UNFENCED)

    def newest_arrival(self) -> int:
        """When the accepted row of the finished batches that arrived last did, microseconds UTC; 0: there is none."""
        return max((block.newest_arrival for block in self.blocks()), default=0)

    def new_namespace(self, above: int) -> str:
        """A name for state in the online store that was never used before, higher than `n{above}`."""
        return f"n{self._next('namespace', above)}"

    def new_publication(self) -> int:
        """A number for a publication of snapshots, higher than all before."""
        return self._next("publication")

    def _next(self, kind: str, above: int = 0) -> int:
        file = self.folder("ledger") / kind
        number = max(above, int(file.read_text()) if file.exists() else 0) + 1
        write_atomically(file, str(number))
        return number

    def digests(self, salt: str) -> dict[str, str]:
        """For each arrival day, the name of the part of record files that is made from the log's batches of now, and
        from what erasures have left of them."""
        found, erased = spans.read(self.folder("ledger")).arrival_days, erasures.of_days(self.folder("ledger"))
        made = {e: " ".join([f"{salt} {each}", *erased.get(e, ())]) for e, each in found.items()}
        return {e: f"{e}-{xxhash.xxh64_hexdigest(text.encode())}" for e, text in made.items()}

    def log_folders(self, arrival_days: Iterable[str] | None = None) -> list[Path]:
        """Folders of finished batches that hold rows of the given arrival days (default: all), oldest first."""
        wanted = None if arrival_days is None else set(arrival_days)
        rows = ((block, block.with_rows(block.arrival_days if wanted is None else wanted)) for block in self.blocks())
        return [folder for block, numbers in rows if numbers for folder in self.folders("log", block, numbers)]

    def folders(self, kind: str, block: Block, numbers: Iterable[int]) -> list[Path]:
        """Where the rows of some batches of a block are: in a folder of each, or, compacted, in one of all."""
        if (compacted := self.compacted(kind, block)).exists():
            return [compacted]
        return [self.folder(kind) / ledger.span(block.query, number, number) for number in numbers]

    def files(self, kind: str, block: Block) -> list[Path]:
        """The files with the rows of a block, of the `log` or the `dead`."""
        return [f for folder in self.folders(kind, block, block.batches) for f in sorted(folder.rglob("*.parquet"))]

    def compacted(self, kind: str, block: Block) -> Path:
        """Where the rows of all of a block are once it is compacted, of the `log` or the `dead`."""
        return self.folder(kind) / f"query={block.query}" / f"batch={block.first}-{block.last}"

    def arrival_days(self) -> list[str]:
        """Every arrival day with finished rows, ascending."""
        return sorted({arrival_day for block in self.blocks() for arrival_day in block.arrival_days})

    def _days(self) -> AbstractContextManager[None]:
        """The lock on closed days and on batches that begin."""
        return locked(self.folder("ledger") / "lock")


def first_open(closed_through: str) -> str:
    """The first day after the closed one; the beginning of time if none is closed.

    >>> first_open("2022-02-28"), first_open("")
    ('2022-03-01', '0001-01-01')
    """
    return (date.fromisoformat(closed_through) + timedelta(days=1)).isoformat() if closed_through else "0001-01-01"
