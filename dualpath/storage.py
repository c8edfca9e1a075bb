"""Where a source's events live on disk, and the ledger that accounts for every row.

Under the root, each source has `landing/` (payload files for the stream), `log/` (accepted events, the truth
that batch and training read), `dead/` (refused rows with a reason), `ledger/` (one entry per micro-batch) and
`checkpoint/` (Spark's). Log and dead letters are Parquet under `query=G/batch=N/`, so that a repeated batch
overwrites its own files; the log is further split by `epoch`, the arrival day a row is counted in.

A day is *sealed* by the nightly job. Rows of a sealed arrival day that come later belong to the first open
one. A batch notes the seal it started under, so a replay gives its rows the same epochs.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import xxhash

from dualpath.errors import StateError
from dualpath.record import UNFENCED, Fence


@dataclass(frozen=True)
class Entry:
    """One micro-batch: the seal it started under, how far it is, and the fate of every row it read.

    `logged`: its rows are in the log and the dead-letter table, and the counts below are theirs; from then on
    the log says what its rows are. `done`: the online store has acknowledged their records too.
    """

    query: int
    batch: int
    sealed: str = ""
    logged: bool = False
    done: bool = False
    rows_read: int = 0
    accepted: int = 0
    duplicate: int = 0
    dead_letter: int = 0
    late: int = 0
    latest_by: int = 0
    epochs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its folder below the log, and (with `.json`) its file in the ledger."""
        return f"query={self.query}/batch={self.batch}"


@dataclass(frozen=True)
class Storage:
    """The folders of one source under `root`."""

    root: Path
    source: str

    def folder(self, kind: str) -> Path:
        """`landing`, `log`, `dead`, `ledger` or `checkpoint`."""
        return self.root / self.source / kind

    @property
    def sealed(self) -> str:
        """The last sealed arrival day, ISO; empty if none is."""
        file = self.folder("ledger") / "sealed"
        return file.read_text() if file.exists() else ""

    def seal(self, day: date) -> None:
        """Close every arrival day up to `day`; never reopens one."""
        with self._locked():
            if day.isoformat() > self.sealed:
                write_atomically(self.folder("ledger") / "sealed", day.isoformat())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the checkpoint, as a stream does; raises `StateError` if another process holds it."""
        self.folder("checkpoint").mkdir(parents=True, exist_ok=True)
        with (self.folder("checkpoint") / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(
                    f"source '{self.source}': another stream is running on this checkpoint; stop it first."
                ) from None
            yield

    def begin(self, query: int, batch: int) -> Entry:
        """The entry of a batch that starts, or starts again: the first start decides the seal."""
        # Whoever seals a day must find every entry that was begun before, and no later one may miss the seal.
        with self._locked():
            entry = Entry(query, batch, self.sealed)
            file = self._file(entry)
            if file.exists():
                return _read(file)
            write_atomically(file, json.dumps(asdict(entry)))
            return entry

    def unfinished(self, day: date) -> list[Entry]:
        """Batches that may still write rows of `day` or earlier: begun before it was sealed, and not done."""
        return [e for e in self.entries() if not e.done and e.sealed < day.isoformat()]

    def note(self, entry: Entry, **counts: object) -> Entry:
        """Note that a batch's rows are in the log and the dead-letter table, with their counts."""
        return self._write(replace(entry, logged=True, **counts))  # type: ignore[arg-type]

    def finish(self, entry: Entry) -> Entry:
        """Note that everything of a batch is written."""
        return self._write(replace(entry, done=True))

    def entries(self) -> list[Entry]:
        """All batches, oldest first."""
        files = self.folder("ledger").glob("query=*/batch=*.json")
        return sorted(map(_read, files), key=lambda e: (e.query, e.batch))

    def reached(self) -> tuple[Fence, Fence]:
        """The last finished and the last begun batch; `UNFENCED` before the first."""
        names = self.folder("ledger").glob("query=*/batch=*.json")
        last = [_read(file) for file in sorted(names, key=_number)[-2:]]
        fences = [UNFENCED, *(Fence(e.query, e.batch) for e in last)]
        # A batch begins when the one before it is finished.
        return fences[-1 if not last or last[-1].done else -2], fences[-1]

    def new_namespace(self, above: int) -> str:
        """A name for state in the online store that was never used before, higher than `n{above}`."""
        file = self.folder("ledger") / "namespace"
        number = max(above, int(file.read_text()) if file.exists() else 0) + 1
        write_atomically(file, str(number))
        return f"n{number}"

    def digests(self, salt: str) -> dict[str, str]:
        """For each epoch, the name of the part of record files that is made from the log's batches of now."""
        batches: dict[str, list[str]] = {}
        for entry in self.entries():
            for epoch in entry.epochs if entry.done else ():
                batches.setdefault(epoch, []).append(entry.name)
        return {e: f"{e}-{xxhash.xxh64_hexdigest(' '.join([salt, *names]).encode())}" for e, names in batches.items()}

    def log_folders(self, epochs: Iterable[str] | None = None) -> list[Path]:
        """Folders of finished batches that hold rows of the given epochs (default: all), oldest first."""
        wanted = None if epochs is None else set(epochs)
        folder = self.folder("log")
        return [
            folder / e.name
            for e in self.entries()
            if e.done and e.epochs and (wanted is None or wanted.intersection(e.epochs))
        ]

    def epochs(self) -> list[str]:
        """Every epoch with finished rows, ascending."""
        return sorted({epoch for e in self.entries() if e.done for epoch in e.epochs})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the seal and the beginnings; the system lets go of the lock if the process dies."""
        self.folder("ledger").mkdir(parents=True, exist_ok=True)
        with (self.folder("ledger") / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, entry: Entry) -> Entry:
        write_atomically(self._file(entry), json.dumps(asdict(entry)))
        return entry

    def _file(self, entry: Entry) -> Path:
        return self.folder("ledger") / f"{entry.name}.json"


def first_open(sealed: str) -> str:
    """The first day after the sealed one; the beginning of time if none is sealed.

    >>> first_open("2022-02-28"), first_open("")
    ('2022-03-01', '0001-01-01')
    """
    return (date.fromisoformat(sealed) + timedelta(days=1)).isoformat() if sealed else "0001-01-01"


def write_atomically(file: Path, text: str) -> None:
    """Write a small file so that a reader, or a crash, sees the old or the new one whole.

    It outlives a power failure once this returns: the file and its place in the folder are both on the disk.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _number(file: Path) -> tuple[int, ...]:
    """The query and the batch of an entry's file."""
    return tuple(int(part.partition("=")[2]) for part in (file.parent.name, file.stem))


def _read(file: Path) -> Entry:
    plain = json.loads(file.read_text())
    return Entry(**{**plain, "epochs": tuple(plain["epochs"])})
