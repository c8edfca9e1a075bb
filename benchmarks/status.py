"""What `dualpath status` costs after a hundred thousand micro-batches, each with a file of events, every tenth with one
of dead letters.

The log is written by its own writer, but without waiting for the disk. It is as a stream leaves it that no night has
compacted: the last 999 batches have a commit each, and those before are summed up, a thousand at a time, which is how
they are written here. The peer opens the files of all batches, as `--files` does.
"""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow as pa

from benchmarks.measure import Sheet, spell
from benchmarks.place import CHECKOUT
from dualpath.console import status
from dualpath.log import audit, forms, progress
from dualpath.log import batches as log
from dualpath.log.accounts import Entry, clock_day
from dualpath.log.progress import Progress
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, log_table
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.schema import EventSource
from parity_tests import logged

SOURCE = "shop_events"
BATCHES, ROWS, REFUSED_EVERY = 99_999, 20, 10
"""Micro-batches, the accepted rows of each, and which of them have a dead letter."""
SECOND, START = 1_000_000, 1_772_323_200_000_000
DAY, QUERY = "2026-03-01", 1
DATA = shutil.ignore_patterns("data", "__pycache__")
WAYS = {"status": False, "status --files": True}


def run() -> Iterator[Sheet]:
    """Seconds, and files opened, by default and if all files are to be opened."""
    with TemporaryDirectory() as folder:
        repo = Repo(Path(shutil.copytree(CHECKOUT / "feature_repo", Path(folder) / "feature_repo", ignore=DATA)))
        repo.apply()
        fill(repo.storage(SOURCE), repo.sources[SOURCE], BATCHES)
        found = {words: _measured(repo, files) for words, files in WAYS.items()}
    cells = {words: f"{spell(seconds)}, {files:,} files opened" for words, (seconds, files) in found.items()}
    data = {words: {"seconds": seconds, "files_opened": files} for words, (seconds, files) in found.items()}
    yield Sheet(f"the account of a source after {BATCHES:,} micro-batches", cells, data)


def _measured(repo: Repo, files: bool) -> tuple[float, int]:
    """Seconds of a process that knows nothing of the log yet, and how many files were opened."""
    log_table.cache_clear()
    began = time.perf_counter()
    with patch.object(audit, "parquet", wraps=audit.parquet) as opened:
        found = status.report(repo, files=files)
    assert found.data["accepted"] == BATCHES * ROWS and found.data["adds_up"]
    [refused] = found.data["sources"][SOURCE]["dead_letter_reasons"].values()
    assert refused == len(range(0, BATCHES, REFUSED_EVERY))
    return time.perf_counter() - began, opened.call_count


def fill(storage: Storage, source: EventSource, batches: int) -> None:
    """The log of so many batches."""
    storage.table.ensure(forms.schema(forms.known(storage, source)))
    summed_up = batches - batches % log.SUMMED_UP
    with patch.object(os, "fsync"):
        for first in range(0, summed_up, log.SUMMED_UP):
            _summed_up(storage, range(first, first + log.SUMMED_UP))
        storage.table.checkpoint()
        for batch in range(summed_up, batches):
            log.commit(storage.table, *_batch(storage, batch))
        last = Fence(QUERY, batches - 1)
        progress.write(storage.folder("ledger"), Progress(last, last))


def _summed_up(storage: Storage, batches: range) -> None:
    """Micro-batches in one commit, with their accounts in a file a day."""
    made, accounts = list[DataFile](), defaultdict[str, list[pa.Table]](list)
    for batch in batches:
        entry, files = _batch(storage, batch)
        made += files
        accounts[clock_day(entry.clock)].append(entry.row)
    made += [log.write_accounts(storage.table, pa.concat_tables(rows), day) for day, rows in accounts.items()]
    storage.table.commit("STREAMING UPDATE", made, transaction=(f"query-{QUERY}", batches[-1]))


def _batch(storage: Storage, batch: int) -> tuple[Entry, list[DataFile]]:
    """The account of a micro-batch, and its files."""
    refused = int(batch % REFUSED_EVERY == 0)
    events = pa.table({"event_id": [f"{batch}-{n}" for n in range(ROWS)]})
    letter = pa.table({"reason": ["amount is not finite: NaN"]})
    rows = {(ACCEPTED, DAY): events} | ({(DEAD_LETTER, DAY): letter} if refused else {})
    entry = Entry(
        query=QUERY,
        batch=batch,
        rows_read=ROWS + refused,
        accepted=ROWS,
        dead_letter=refused,
        arrival_days=(DAY,),
        clock=START + batch * SECOND,
        reasons={"amount is not finite": 1} if refused else {},
    )
    return entry, [logged.write(storage, entry.fence, *place, table) for place, table in rows.items()]
