"""Where a source's events live, and how far its stream is.

Under the root, each source has `landing/` (payload files for the stream), `log/` (the event log, a Delta table of
`dualpath.log.table`: the truth that batch and training read), `ids/` (those of events accepted of late), `ledger/` (how
far the stream is, which days are closed, forms, erasures) and `checkpoint/` (Spark's, see `generation`); in `staging/`
is what a batch under way has written beside the log, in `dimensions/` the tables that the last batch looked fields up
in, in `gate/` what each night's check found.

The log's partitions are the outcome of a row and an arrival day. Accepted rows have the day they are counted in; what
explains answers (duplicates), refused rows with a reason (dead letters) and the account of each batch have the day of
their batch's clock, UTC. A micro-batch is one commit. A row has its batch in `query` and `batch`.

A day is *closed* by the nightly job. Rows of a closed arrival day that come later belong to the first open one. A batch
notes which days were closed when it began, so a replay gives its rows the same arrival days.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from uuid import uuid4

import xxhash

from dualpath.errors import StateError
from dualpath.files.durable import update
from dualpath.files.locks import locked, require_held
from dualpath.files.places import Place, remove
from dualpath.log import batches, erasures, progress
from dualpath.log.accounts import Accounts, Entry
from dualpath.log.snapshot import DataFile
from dualpath.log.table import ACCEPTED, LogTable, log_table
from dualpath.record import UNFENCED, Fence
from dualpath.steps import Step, step


@dataclass(frozen=True)
class Storage:
    """The folders of one source under `root`; Spark's checkpoints are below `checkpoints`, if that is given."""

    root: Place
    source: str
    checkpoints: Place | None = None

    def folder(self, kind: str) -> Place:
        """`landing`, `staging`, `dimensions`, `log`, `ids`, `ledger`, `gate` or `checkpoint`."""
        return self.root / self.source / kind

    @property
    def table(self) -> LogTable:
        """The event log."""
        return log_table(self.folder("log"))

    @property
    def closed_through(self) -> str:
        """The last closed arrival day, ISO; empty if none is."""
        return progress.read(self.folder("ledger")).closed

    def close_day(self, day: date) -> None:
        """Close every arrival day up to `day`; never reopens one."""
        through = day.isoformat()
        progress.change(self.folder("ledger"), lambda known: replace(known, closed=max(through, known.closed)))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the checkpoint, as a stream does; raises `RunningError` if another process holds it."""
        taken = f"source '{self.source}': another stream is running on this checkpoint; stop it first."
        with locked(self._lock("stream"), taken):
            yield

    @contextmanager
    def building(self) -> Iterator[None]:
        """Be the only job that builds record files; raises `RunningError` if another one does."""
        taken = f"source '{self.source}': another job is building its record files; run this one when it has ended."
        with locked(self._lock("building"), taken):
            yield

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Be the only night that publishes snapshots; raises `RunningError` if another one does."""
        taken = f"source '{self.source}': another night is publishing; run this one when it has ended."
        with locked(self._lock("publishing"), taken):
            yield

    @contextmanager
    def compacting(self) -> Iterator[None]:
        """Be the only night that compacts the log; raises `RunningError` if another one does."""
        taken = f"source '{self.source}': another night is compacting the log; run this one when it has ended."
        with locked(self._lock("compacting"), taken):
            yield

    def require(self, *held: str) -> None:
        """Raise `RunningError` if this process stood still for so long that another one holds one of its locks by now:
        of `stream`, `building`, `publishing` and `compacting`."""
        for name in held:
            require_held(
                self._lock(name),
                f"source '{self.source}': this process stood still, and another job has begun meanwhile; run this one "
                "again when that has ended.",
            )

    def _lock(self, name: str) -> Place:
        return self.folder("checkpoint") / "lock" if name == "stream" else self.folder("ledger") / name

    def begin(self, query: int, batch: int) -> Entry:
        """The entry of a batch that starts, or starts again: the first start decides which days are closed for it.

        What an attempt before has left is removed.
        """
        fence, before = Fence(query, batch), list[progress.Progress]()

        def begun(known: progress.Progress) -> progress.Progress:
            before.append(self._checked(known))
            return replace(known, begun=fence, closed_through=known.closed) if fence > known.begun else known

        known = progress.change(self.folder("ledger"), begun)
        is_new = fence > before[-1].begun
        entry = Entry(query, batch, known.closed_through)
        if is_new:
            return entry
        if logged := batches.accounts(self.table).entry(fence, done=fence <= known.done):
            return logged
        self.clear(entry)
        return entry

    def unfinished(self, day: date) -> bool:
        """Whether a batch may still write rows of `day` or earlier: begun before it was closed, and not done."""
        known = self._progress()
        return known.unfinished is not None and known.closed_through < day.isoformat()

    def note(self, entry: Entry, files: Sequence[DataFile], **counts: object) -> Entry:
        """Commit a batch's files to the log, with their counts: from now on they are the log's."""
        logged = replace(entry, logged=True, **counts)  # type: ignore[arg-type]
        batches.commit(self.table, logged, files)
        return logged

    def clear(self, entry: Entry) -> None:
        """Remove the ids that an attempt at a batch has left, before it was committed."""
        remove(self.folder("ids") / entry.name)

    def finish(self, entry: Entry) -> Entry:
        """Note that everything of a batch is written."""
        progress.change(
            self.folder("ledger"), lambda known: replace(self._checked(known), done=max(entry.fence, known.done))
        )
        if (entry.batch + 1) % batches.SUMMED_UP == 0:
            batches.sum_up(self.table)
        return replace(entry, done=True)

    @step(Step.LEAVE_OFF)
    def leave_off(self) -> None:
        """End the last batch for a generation that does not come back: finish it if the log has its rows.

        If not, it leaves nothing behind, and the next generation reads its rows.
        """
        if fence := self._progress().unfinished:
            if logged := batches.accounts(self.table).entry(fence, done=False):
                self.finish(logged)
            else:
                self.clear(Entry(*fence))
                progress.change(self.folder("ledger"), lambda known: replace(known, begun=known.done))

    def accounts(self) -> Accounts:
        """The accounts of all finished batches."""
        done, _ = self.reached()
        return batches.accounts(self.table).through(done)

    def logged(self) -> Accounts:
        """The accounts of all batches whose rows are in the log: also of one that is not finished."""
        return batches.accounts(self.table)

    def positions(self, before: int) -> dict[str, int]:
        """The last position that the queries before one have read of each origin."""
        return self.accounts().before(before).positions()

    def reached(self) -> tuple[Fence, Fence]:
        """The last finished and the last begun batch; `UNFENCED` before the first."""
        known = self._progress()
        return known.done, known.begun

    def through(self) -> Mapping[int, int]:
        """The last finished batch of each query."""
        return self.accounts().last()

    def complete_through(self, day: str) -> Fence:
        """The last finished batch before the first one that has rows of an arrival day after `day`, ISO."""
        found = self.accounts()
        later = [
            Fence(query, spans[0][0])
            for arrival_day, of in found.spans().items()
            if arrival_day > day
            for query, spans in of.items()
        ]
        first = min(later, default=None)
        finished = [Fence(*each) for each in found.last().items()]
        if first is not None:
            finished = [each for each in finished if each.query < first.query]
            finished += [Fence(first.query, first.batch - 1)] if first.batch else []
        return max(finished, default=UNFENCED)

    def newest_arrival(self) -> int:
        """When the accepted row of the finished batches that arrived last did, microseconds UTC; 0: there is none."""
        return self.accounts().newest_arrival()

    def new_namespace(self, above: int) -> str:
        """A name for state in the online store that was never used before, higher than `n{above}`."""
        return f"n{self._next('namespace', above)}"

    def new_publication(self) -> int:
        """A number for a publication of snapshots, higher than all before."""
        return self._next("publication")

    def _next(self, kind: str, above: int = 0) -> int:
        # The second word makes the text nobody else's.
        made = update(
            self.folder("ledger") / kind,
            lambda text: f"{max(above, int((text.split() or ['0'])[0])) + 1} {uuid4().hex}",
        )
        return int(made.split()[0])

    def digests(self, salt: str) -> dict[str, str]:
        """For each arrival day, the name of the part of record files that is made from the log's batches of now, and
        from what erasures have left of them."""
        found, erased = self.accounts().spans(), erasures.of_days(self.folder("ledger"))
        made = {e: " ".join([f"{salt} {each}", *erased.get(e, ())]) for e, each in found.items()}
        return {e: f"{e}-{xxhash.xxh64_hexdigest(text.encode())}" for e, text in made.items()}

    def files(self, outcome: str = ACCEPTED, arrival_days: Iterable[str] | None = None) -> list[DataFile]:
        """The files of finished batches with rows of an outcome, and of some arrival days (default: all)."""
        done, _ = self.reached()
        return [
            each
            for each in self.table.snapshot().files(outcome=outcome, arrival_day=arrival_days)
            if each.first <= done
        ]

    def events(self, arrival_days: Iterable[str]) -> Counter[str]:
        """How many accepted events of finished batches some arrival days have; a day without any is left out."""
        found: Counter[str] = Counter()
        for file in self.files(ACCEPTED, arrival_days):
            found[file.arrival_day] += file.rows
        return found

    def paths(self, outcome: str = ACCEPTED, arrival_days: Iterable[str] | None = None) -> list[str]:
        """Where those files are."""
        return [str(self.folder("log") / each.path) for each in self.files(outcome, arrival_days)]

    def paths_of(self, batch: Fence) -> list[str]:
        """Where the accepted rows of a batch that is not finished are: in files without rows of others."""
        ends, found = tuple((each, each) for each in batch), self.table.snapshot().files(outcome=ACCEPTED)
        return [str(self.folder("log") / each.path) for each in found if (each.queries, each.batches) == ends]

    def arrival_days(self) -> list[str]:
        """Every arrival day with finished rows, ascending."""
        return self.accounts().arrival_days()

    def _progress(self) -> progress.Progress:
        """How far the stream is; raises `StateError` if nobody knows any more."""
        return self._checked(progress.read(self.folder("ledger")))

    def _checked(self, known: progress.Progress) -> progress.Progress:
        """What was read; raises `StateError` if the log has batches that it does not know."""
        folder = self.folder("ledger")
        # A batch is begun before it is committed: if the log has one, look once more, for it may have come meanwhile.
        if known.begun == UNFENCED and len(self.logged()) and progress.read(folder).begun == UNFENCED:
            raise StateError(f"{folder / 'progress.json'} is gone, and the log is not; put it back from a backup.")
        return known


def first_open(closed_through: str) -> str:
    """The first day after the closed one; the beginning of time if none is closed.

    >>> first_open("2022-02-28"), first_open("")
    ('2022-03-01', '0001-01-01')
    """
    return (date.fromisoformat(closed_through) + timedelta(days=1)).isoformat() if closed_through else "0001-01-01"
