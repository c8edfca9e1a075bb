"""What `dualpath status` costs after a hundred thousand micro-batches, each with a file of events, every tenth with one
of dead letters.

The ledger is written by its own writer, as the stream has it, but without waiting for the disk. No night has compacted
the log. The peer opens the files of all batches, as `--files` does.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from dualpath.log.ledger import Entry

from benchmarks.measure import Sheet, spell
from benchmarks.place import CHECKOUT
from dualpath.console import status
from dualpath.log import dead_letters, ledger
from dualpath.log.storage import Storage
from dualpath.repo import Repo

SOURCE = "shop_events"
BATCHES, ROWS, REFUSED_EVERY = 100_000, 20, 10
"""Micro-batches, the accepted rows of each, and which of them have a dead letter."""
SECOND, START = 1_000_000, 1_772_323_200_000_000
EPOCH = "2026-03-01"
DATA = shutil.ignore_patterns("data", "__pycache__")
WAYS = {"status": False, "status --files": True}


def run() -> Iterator[Sheet]:
    """Seconds and opened files, by default and if all files are to be opened."""
    with TemporaryDirectory() as folder:
        repo = Repo(Path(shutil.copytree(CHECKOUT / "feature_repo", Path(folder) / "feature_repo", ignore=DATA)))
        repo.apply()
        fill(repo.storage(SOURCE), BATCHES)
        found = {words: _measured(repo, files) for words, files in WAYS.items()}
    cells = {words: f"{spell(seconds)}, {files:,} files opened" for words, (seconds, files) in found.items()}
    data = {words: {"seconds": seconds, "files_opened": files} for words, (seconds, files) in found.items()}
    yield Sheet(f"the account of a source after {BATCHES:,} micro-batches", cells, data)


def _measured(repo: Repo, files: bool) -> tuple[float, int]:
    """Seconds, and how many files of ledger, log and dead letters were opened."""
    _opened.clear()
    began = time.perf_counter()
    with (
        patch.object(pq, "read_metadata", _counted(pq.read_metadata)),
        patch.object(pq, "read_table", _counted(pq.read_table)),
    ):
        found = status.report(repo, files=files)
    assert found.data["accepted"] == BATCHES * ROWS and found.data["adds_up"]
    [refused] = found.data["sources"][SOURCE]["dead_letter_reasons"].values()
    assert refused == len(range(0, BATCHES, REFUSED_EVERY))
    return time.perf_counter() - began, len(_opened)


_opened: list[str] = []


def _counted(reads: Any) -> Any:
    """A function that reads a file in Arrow, whose calls are counted."""

    def reading(file: Path, **named: Any) -> Any:
        _opened.append(str(file))
        return reads(file, **named)

    return reading


def _hear(event: str, given: tuple[Any, ...]) -> None:
    """Count the files of the ledger that Python opens."""
    if event == "open" and "/ledger/" in str(given[0]):
        _opened.append(str(given[0]))


sys.addaudithook(_hear)


def fill(storage: Storage, batches: int) -> None:
    """The ledger, the log and the dead letters of so many batches."""
    with TemporaryDirectory() as folder, patch.object(os, "fsync"):
        event, letter = Path(folder) / "event", Path(folder) / "letter"
        pq.write_table(pa.table({"event_id": [str(n) for n in range(ROWS)]}), event)
        pq.write_table(pa.table({"reason": ["amount is not finite: NaN"]}), letter)
        for batch in range(batches):
            refused = int(batch % REFUSED_EVERY == 0)
            counts = {"accepted": ROWS, "dead_letter": refused, "rows_read": ROWS + refused}
            done: dict[str, Any] = {"logged": True, "done": True, "arrival_days": (EPOCH,)}
            entry = ledger.write(
                storage.folder("ledger"), Entry(1, batch, clock=START + batch * SECOND, **done, **counts)
            )
            _copy(event, storage.folder("log") / entry.name / f"epoch={EPOCH}")
            if refused:
                _copy(letter, storage.folder("dead") / entry.name)
            if batch % ledger.BLOCK == 0:
                ledger.fold(storage.folder("ledger"), entry)
                dead_letters.keep(storage, entry)


def _copy(file: Path, to: Path) -> None:
    to.mkdir(parents=True)
    shutil.copy(file, to / "part-0.parquet")
