"""A log in an object store: whoever commits, whatever the store does, each commit is there once or refused."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from threading import Barrier

import pyarrow as pa
import pytest
from obstore.exceptions import PermissionDeniedError

from dualpath.errors import StateError
from dualpath.files import parquet, places
from dualpath.files.objects import ObjectPath
from dualpath.files.places import Place
from dualpath.log import forms, progress
from dualpath.log import table as table_module
from dualpath.log.accounts import clock_day
from dualpath.log.forms import Forms
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, LogTable, Table, write
from dualpath.record import Fence
from dualpath.schema import integer
from parity_tests.evolved import DAY, orders
from parity_tests.files.conftest import key
from parity_tests.startup.s3_faults import Faults

WRITERS, TURNS = 4, 6


def made(folder: Place) -> LogTable:
    """A new log."""
    table: LogTable = Table(folder / "orders/log", DataFile)
    table.ensure(forms.schema(Forms.of(orders())))
    return table


def another(table: LogTable) -> LogTable:
    """What another process has of it: it has looked, and has connections of its own to delta-rs."""
    found = Table(table.folder, DataFile)
    found.snapshot()
    return found


def file(table: LogTable, *names: str, batch: int = 0) -> DataFile:
    """A file of a batch, with a row for each name, that no commit has."""
    rows = {"event_id": [*names], "query": pa.array([1] * len(names), pa.int32()), "batch": [batch] * len(names)}
    return write(table.folder, ACCEPTED, DAY, pa.table(rows))


def read(table: LogTable, files: Sequence[DataFile]) -> Counter[str]:
    paths = [str(table.folder / each.path) for each in files]
    rows = parquet.dataset(paths, pa.schema([("event_id", pa.string())])).to_table()
    return Counter(rows["event_id"].to_pylist())


def ids(table: LogTable) -> Counter[str]:
    """The ids of all rows, for a process that starts now."""
    return read(table, Table(table.folder, DataFile).snapshot().files())


def test_writers_that_race_beside_a_compaction_all_land(remote: ObjectPath) -> None:
    """All see the same version before they begin."""
    table = made(remote)
    small = [file(table, f"old {number}") for number in range(3)]
    table.commit("WRITE", small)
    writers = [another(table) for _ in range(WRITERS + 1)]
    barrier = Barrier(WRITERS + 1)

    def work(number: int) -> list[int]:
        own = writers[number]
        files = [file(own, f"{number} {turn}", batch=turn) for turn in range(TURNS)]
        barrier.wait()
        if number == WRITERS:
            return [own.commit("OPTIMIZE", [file(own, "old 0", "old 1", "old 2")], small, data_change=False)]
        return [own.commit("WRITE", [each], transaction=(f"q{number}", turn)) for turn, each in enumerate(files)]

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        versions = [version for found in threads.map(work, range(WRITERS + 1)) for version in found]
    assert sorted(versions) == list(range(2, WRITERS * TURNS + 3))
    wanted = {f"{number} {turn}" for number in range(WRITERS) for turn in range(TURNS)}
    assert ids(table) == Counter({*wanted, "old 0", "old 1", "old 2"})


def test_a_batch_counts_once_whoever_repeats_it(remote: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a process that is told of an older version, as by a listing that lags behind."""
    table = made(remote)
    early, lagging = another(table), another(table)
    before = lagging.opened()
    monkeypatch.setattr(lagging, "opened", lambda: before)
    table.commit("WRITE", [file(table, "first")], transaction=("query-1", 5))
    table.commit("WRITE", [file(table, "of another")], transaction=("query-2", 1))
    for writer in (table, early, another(table), lagging):
        for number in (4, 5):
            with pytest.raises(StateError, match="query-1 has committed 5 already"):
                writer.commit("WRITE", [file(writer, "again")], transaction=("query-1", number))
    assert lagging.commit("WRITE", [file(table, "next")], transaction=("query-1", 6)) == 3
    assert ids(table) == Counter(["first", "of another", "next"])


def test_two_compactions_of_the_same_files_are_one(remote: ObjectPath) -> None:
    table = made(remote)
    table.commit("WRITE", small := [file(table, "a"), file(table, "b")])
    late = another(table)
    table.commit("OPTIMIZE", [file(table, "a", "b")], small, data_change=False)
    with pytest.raises(table_module.ReplacedError):
        late.commit("OPTIMIZE", [file(table, "a", "b")], small, data_change=False)
    assert ids(table) == Counter(["a", "b"])


def test_what_is_checkpointed_vacuumed_and_widened_is_read_by_all(
    remote: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made(remote)
    table.commit("WRITE", small := [file(table, "a"), file(table, "b")], transaction=("q", 0))
    table.commit("OPTIMIZE", [file(table, "a", "b")], small)
    file(table, "of a task that died")
    assert table.vacuum() == [] and read(table, small) == ids(table)
    table.checkpoint()
    assert places.size(table.folder / "_delta_log/_last_checkpoint") > 0
    monkeypatch.setattr(table_module, "GRACE_HOURS", 0)
    assert len(table.vacuum()) == 3
    monkeypatch.undo()
    table.ensure(forms.schema(Forms.of(orders(integer("x")))))
    assert "x" in {field.name for field in another(table).opened().schema().fields}
    table.commit("WRITE", [file(table, "c")], transaction=("q", 1))
    gone = file(table, "of another task that died")
    table.remove_unused()
    assert places.size(table.folder / gone.path) == -1
    assert ids(table) == Counter(["a", "b", "c"]) and another(table).transaction("q") == 1


def committed(storage: Storage, number: int) -> None:
    """A batch with one row, begun, committed and finished as the stream does it."""
    entry = storage.begin(1, number)
    found = file(storage.table, str(number), batch=number)
    entry = storage.note(entry, [found], rows_read=1, accepted=1, arrival_days=(DAY,))
    storage.finish(entry)


def test_a_batch_asks_for_nothing_that_its_process_knows(faults: Faults, faulty: ObjectPath) -> None:
    """Also not while others commit: only then it looks at what they have committed."""
    storage = Storage(faulty, "orders")
    made(faulty)
    for number in range(2):
        committed(storage, number)
    faults.seen.clear()
    committed(storage, 2)
    assert [
        (method, asked.removeprefix(key(faulty / "orders")).rpartition("/")[0]) for method, asked in faults.seen
    ] == [
        ("PUT", "/ledger"),
        ("PUT", f"/log/outcome=accepted/arrival_day={DAY}"),
        ("HEAD", f"/log/outcome=accepted/arrival_day={DAY}"),
        ("PUT", f"/log/outcome=batch/arrival_day={clock_day(0)}"),
        ("HEAD", "/log/_delta_log"),
        ("PUT", "/log/_delta_log"),
        ("HEAD", "/log/_delta_log"),
        ("PUT", "/ledger"),
    ]
    another(storage.table).commit("WRITE", [file(storage.table, "of another")])
    ledger = storage.folder("ledger")
    progress.write(ledger, replace(progress.read(ledger), closed="2026-02-28"))
    faults.seen.clear()
    committed(storage, 3)
    # Each of two puts was refused, compared with what is there, and made again of that.
    assert Counter(method for method, _ in faults.seen) == {"PUT": 5 + 2, "HEAD": 3, "GET": 2 * 2}
    assert storage.closed_through == "2026-02-28"


def is_whole(storage: Storage, batches: int) -> bool:
    """Whether each of so many batches counts once, for a process that starts now."""
    rows = Table(storage.folder("log"), DataFile)
    found = read(rows, rows.snapshot().files(outcome=ACCEPTED))
    total = storage.accounts().total()
    return found == Counter(map(str, range(batches))) and (total.batches, total.accepted) == (batches, batches)


def test_a_batch_counts_once_if_answers_are_lost_or_the_store_slows_down(faults: Faults, faulty: ObjectPath) -> None:
    storage = Storage(faulty, "orders")
    made(faulty)
    for number, prefix in enumerate(("log/_delta_log", "ledger/progress.json", "log/outcome=", "")):
        faults.lose_answers(2, prefix=key(faulty / "orders" / prefix))
        committed(storage, 2 * number)
        faults.slow_down(4, prefix=key(faulty / "orders" / prefix))
        committed(storage, 2 * number + 1)
    assert is_whole(storage, 8)


@pytest.mark.parametrize("kind", ["ledger", "log/outcome=", "log/_delta_log"])
def test_a_batch_counts_once_if_the_credentials_expire_in_its_midst(
    kind: str, faults: Faults, faulty: ObjectPath
) -> None:
    storage = Storage(faulty, "orders")
    made(faulty)
    committed(storage, 0)
    with faults.expired(prefix=key(faulty / "orders" / kind)), pytest.raises(PermissionDeniedError):
        committed(storage, 1)
    committed(storage, 1)
    assert is_whole(storage, 2)


def test_a_reader_reads_on_beside_a_compaction_and_a_vacuum(faults: Faults, faulty: ObjectPath) -> None:
    table = made(faulty)
    table.commit("WRITE", small := [file(table, "a"), file(table, "b")])
    with ThreadPoolExecutor() as threads:
        with faults.held(method="GET", prefix=key(table.folder / small[0].path)) as held:
            reader = threads.submit(ids, table)
            assert held.arrived.wait(60)
            table.commit("OPTIMIZE", [file(table, "a", "b")], small, data_change=False)
            assert table.vacuum() == []
        assert reader.result() == Counter(["a", "b"])


def test_a_day_is_closed_before_a_batch_begins_or_after(somewhere: Place) -> None:
    """Of each batch and the days that are closed meanwhile, one comes first, and both keep to it."""
    storage, days = Storage(somewhere, "orders"), [date(2026, 3, 1) + timedelta(days=n) for n in range(8)]
    barrier, begun = Barrier(2), list[str]()
    made(somewhere)

    def night() -> None:
        for day in days:
            barrier.wait()
            storage.close_day(day)

    def stream() -> None:
        for number, _ in enumerate(days):
            barrier.wait()
            begun.append(storage.begin(1, number).closed_through)

    with ThreadPoolExecutor(2) as threads:
        for each in (threads.submit(night), threads.submit(stream)):
            each.result()
    known = progress.read(storage.folder("ledger"))
    assert (known.closed, known.begun) == (days[-1].isoformat(), Fence(1, len(days) - 1))
    for number, (found, day) in enumerate(zip(begun, days, strict=True)):
        before = days[number - 1].isoformat() if number else ""
        assert found in (before, day.isoformat())


def test_a_closed_day_is_never_opened_again(somewhere: Place) -> None:
    storage = Storage(somewhere, "clicks")
    storage.close_day(date(2026, 3, 2))
    storage.close_day(date(2026, 3, 1))
    assert storage.closed_through == "2026-03-02"
