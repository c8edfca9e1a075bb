"""Whether a source's log is whole: its accounts add up, and its files have the rows that these count."""

from collections.abc import Iterator

import pyarrow as pa

from dualpath.files.parquet import parquet
from dualpath.files.places import Place, sizes
from dualpath.log.accounts import Accounts, span
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.record import UNFENCED, Fence


def faults(storage: Storage, accounts: Accounts, *, opened: bool) -> list[str]:
    """What does not add up: the outcomes of batches, the rows that the log has of them, and its files, of which one may
    be missing or have another size; with `opened`, each file is asked for its rows."""
    accounts, files = _at_once(storage, accounts)
    found = [f"{name}: rows were read, but their outcomes sum up to another number" for name in accounts.wrong()]
    # In this order, for a stream may go on meanwhile.
    done, logged, begun = storage.reached()[0], storage.logged(), storage.reached()[1]
    last = max((Fence(*each) for each in logged.last().items()), default=UNFENCED)
    if done > UNFENCED and not logged.entry(done, done=True):
        found.append(f"{span(done.query, done.batch, done.batch)} was finished, and the log lacks it")
    if last > begun:
        found.append(f"the log has {span(last.query, last.batch, last.batch)}, and the ledger lacks it")
    total, folder = accounts.total(), storage.folder("log")
    paths = [each.path for of in files.values() for each in of]
    there = dict(zip(paths, sizes(folder, paths), strict=True))
    for outcome, of in files.items():
        rows, expected = sum(each.rows for each in of), getattr(total, outcome)
        if rows != expected:
            found.append(f"the log holds {rows:,} rows with the outcome {outcome}, and {expected:,} are counted")
        for each in of:
            found += _faults(folder, each, there[each.path], opened)
    return found


def _at_once(storage: Storage, accounts: Accounts) -> tuple[Accounts, dict[str, list[DataFile]]]:
    """Accounts, and the files of their batches: a stream may finish others meanwhile."""
    while True:
        files = {outcome: storage.files(outcome) for outcome in (ACCEPTED, DUPLICATE, DEAD_LETTER)}
        now = storage.accounts()
        if len(now) == len(accounts):
            return accounts, files
        accounts = now


def _faults(folder: Place, file: DataFile, there: int, opened: bool) -> Iterator[str]:
    """What is wrong with a file that has so many bytes, -1: that is not there."""
    if there < 0:
        yield f"log/{file.path} is missing"
    elif there != file.size:
        yield f"log/{file.path} has {there:,} bytes of {file.size:,}"
    elif opened:
        try:
            rows = parquet(folder / file.path).metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            yield f"log/{file.path} cannot be read ({str(error).splitlines()[0]})"
        else:
            if rows != file.rows:
                yield f"log/{file.path} has {rows:,} rows of {file.rows:,}"
