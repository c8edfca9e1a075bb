"""What a micro-batch's commit to the log costs, beside delta-rs's own, while the table grows.

Both commit one file of events, which is there already, and write the account of the batch. delta-rs's way is its own
transaction, on a table that it holds open and brings up to date.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.transaction import AddAction

from benchmarks.measure import Figure, take_turns
from dualpath.log import batches
from dualpath.log.accounts import SCHEMA, Entry
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, log_table

COMMITS, SHOWN = 2_000, 200
DAY, START = "2026-03-01", 1_772_323_200_000_000
COLUMNS = pa.schema([*SCHEMA, ("outcome", pa.string()), ("arrival_day", pa.date32())])


def run() -> Iterator[Figure]:
    """The first and the last commits of a table."""
    with TemporaryDirectory() as folder:
        peers = {"dualpath": _ours(Path(folder) / "ours"), "delta-rs": _theirs(Path(folder) / "theirs")}
        yield take_turns(f"a commit, of the first {SHOWN}", peers, range(SHOWN), warm_up=10)
        take_turns("more", peers, range(SHOWN, COMMITS - SHOWN))
        yield take_turns(f"a commit, of the last {SHOWN} of {COMMITS:,}", peers, range(COMMITS - SHOWN, COMMITS))


def _entry(number: int) -> Entry:
    return Entry(1, number, clock=START + number, rows_read=100, accepted=100, arrival_days=(DAY,))


def _file(number: int) -> DataFile:
    path = f"outcome={ACCEPTED}/arrival_day={DAY}/part-{number}.parquet"
    return DataFile(path, 1_000, 100, ACCEPTED, DAY, (1, 1), (number, number))


def _ours(root: Path) -> Callable[[int], None]:
    storage = Storage(root, "shop")
    storage.table.ensure(COLUMNS)
    (storage.folder("log") / f"outcome={ACCEPTED}/arrival_day={DAY}").mkdir(parents=True)

    def commit(number: int) -> None:
        (storage.folder("log") / _file(number).path).touch()
        storage.note(_entry(number), [_file(number)])
        if number and number % batches.SUMMED_UP == 0:
            batches.sum_up(storage.table)

    return commit


def _theirs(root: Path) -> Callable[[int], None]:
    table = DeltaTable.create(root, COLUMNS, partition_by=[*DataFile.PARTITIONS])
    aside = log_table(root)

    def commit(number: int) -> None:
        files = [_file(number), batches.write_accounts(aside, _entry(number).row, DAY)]
        actions = [
            AddAction(each.path, each.size, each.partition, 0, True, each.added(data_change=True)["add"]["stats"])
            for each in files
        ]
        table.update_incremental()
        about = CommitProperties(app_transactions=[Transaction("query-1", number)])
        table.create_write_transaction(actions, "append", COLUMNS, [*DataFile.PARTITIONS], commit_properties=about)

    return commit
