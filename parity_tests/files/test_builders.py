"""Of two builders of record files in an object store, one of which stands still, none removes what the other makes."""

import pyarrow as pa
import pytest

from dualpath.errors import RunningError
from dualpath.files import leases, objects
from dualpath.files.objects import ObjectPath
from dualpath.files.parquet import write_rows
from dualpath.files.places import Place, size
from dualpath.log.storage import Storage
from dualpath.offline import record_files
from dualpath.offline.record_files import RecordFile, RecordTable

SCHEMA = pa.schema([("a", pa.int64())])
DAYS = ("2026-03-01", "2026-03-02")
LOST = "this process stood still, and another job has begun meanwhile"


def staged(folder: Place, *days: str) -> Place:
    for day in days:
        write_rows(pa.table({"a": [1, 2]}, SCHEMA), folder / f"arrival_day={day}/part.parquet")
    return folder


def publish(table: RecordTable, storage: Storage, *days: str, number: int) -> None:
    parts = {day: f"{day}-{number}" for day in days}
    folder = staged(storage.root / f"staged-{number}", *days)
    record_files.publish(table, SCHEMA, folder, parts, 2 * len(days), number, lambda: storage.require("building"))


def made_by_another(table: RecordTable, storage: Storage) -> RecordFile:
    """A file that the builder that has taken the lease is about to commit."""
    lease = storage.folder("ledger") / "building"
    assert isinstance(lease, ObjectPath)
    objects.put(lease, b"of another process 1")
    [file] = [*(staged(storage.root / "of another", DAYS[1]) / f"arrival_day={DAYS[1]}").iterdir()]
    return record_files.placed(table, file, 2, (DAYS[1], "of another", "all"))


@pytest.fixture
def table(remote: ObjectPath) -> RecordTable:
    return record_files.record_table(remote / "records/seen")


def test_what_is_superseded_and_what_a_builder_that_died_has_left_is_removed(
    table: RecordTable, remote: ObjectPath
) -> None:
    storage = Storage(remote, "orders")
    with storage.building():
        publish(table, storage, *DAYS, number=1)
        before = table.snapshot().files()
        [died] = [*(staged(remote / "died", DAYS[0]) / f"arrival_day={DAYS[0]}").iterdir()]
        left = record_files.placed(table, died, 2, (DAYS[0], "died", "all"))
        publish(table, storage, *DAYS, number=2)
    assert [size(table.folder / each.path) for each in (*before, left)] == [-1] * 3
    assert record_files.lost(table) == [] and len(record_files.index(table)) == 2


def test_a_builder_that_stands_still_after_its_commit_leaves_what_the_next_one_is_about_to_commit(
    table: RecordTable, remote: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, real, found = Storage(remote, "orders"), table.commit, list[RecordFile]()
    monkeypatch.setattr(leases, "BEAT_SECONDS", 60.0)

    def commit(*arguments: object, **more: object) -> int:
        done = real(*arguments, **more)  # type: ignore[arg-type]
        found.append(made_by_another(table, storage))
        return done

    with storage.building():
        publish(table, storage, DAYS[0], number=1)
        monkeypatch.setattr(table, "commit", commit)
        with pytest.raises(RunningError, match=LOST):
            publish(table, storage, DAYS[0], number=2)
    monkeypatch.undo()
    table.commit("WRITE", found)
    assert record_files.lost(table) == []
    assert [part.name for part in record_files.index(table).values()] == [f"{DAYS[0]}-2", "of another"]


def test_a_builder_that_stood_still_before_its_commit_publishes_nothing(
    table: RecordTable, remote: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(remote, "orders")
    monkeypatch.setattr(leases, "BEAT_SECONDS", 60.0)
    with storage.building():
        publish(table, storage, DAYS[0], number=1)
        made_by_another(table, storage)
        with pytest.raises(RunningError, match=LOST):
            publish(table, storage, DAYS[0], number=2)
    assert [part.name for part in record_files.index(table).values()] == [f"{DAYS[0]}-1"]


def test_what_was_seen_before_another_one_began_is_removed_however_long_that_takes(
    table: RecordTable, remote: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still after it has seen that it is alone."""
    storage, found = Storage(remote, "orders"), list[RecordFile]()
    monkeypatch.setattr(leases, "BEAT_SECONDS", 60.0)

    def alone() -> None:
        storage.require("building")
        found.append(made_by_another(table, storage))

    with storage.building():
        publish(table, storage, *DAYS, number=1)
        table.remove_unused(alone)
    table.commit("WRITE", found)
    assert record_files.lost(table) == []
