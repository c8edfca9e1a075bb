"""Compaction of a log that tests have written: of several generations, of batches under way, of accounts."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.declare import event_source
from dualpath.errors import StateError
from dualpath.jobs import log_compaction
from dualpath.jobs.log_compaction import compact_log
from dualpath.log import audit, batches
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, BATCH
from dualpath.log.tail import Tail
from dualpath.record import Fence
from dualpath.schema import text
from dualpath.steps import Step
from parity_tests import faults, logged

DAY = "2026-03-01"
NOON = 1_772_366_400_000_000
CLICKS = event_source("clicks", fields=[text("user_id")], arrival_time=None)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files of a partition are many."""
    monkeypatch.setattr(log_compaction, "FEW", 2)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path, CLICKS.name)


def land(storage: Storage, query: int, batch: int, **named: Any) -> None:
    """A batch with one event, which has its numbers in its id."""
    noon = pa.array([datetime(2026, 3, 1, 12, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    columns = {"event_id": [f"{query}-{batch}"], "event_time": noon, "arrival_time": noon, "user_id": ["ann"]}
    rows = pa.table(columns | {"late": [False]})
    logged.append(storage, CLICKS, {(ACCEPTED, DAY): rows}, batch=Fence(query, batch), clock=NOON, **named)


def ids(storage: Storage) -> list[str]:
    return sorted(logged.rows(storage)["event_id"].to_pylist())


def test_generations_are_compacted_into_one_file_and_read_apart(spark: SparkSession, storage: Storage) -> None:
    for query, count in ((1, 6), (2, 3)):
        for batch in range(count):
            land(storage, query, batch)
    before = ids(storage)
    assert len(before) == 9
    assert (compact_log(spark, storage), compact_log(spark, storage)) == (1, 0)
    assert ids(storage) == before
    [file] = storage.files()
    assert (file.queries, file.batches) == ((1, 2), (0, 5))
    new = Tail(storage, CLICKS, {1: 3, 2: 1}).read(["event_id"])
    assert sorted(new["event_id"].to_pylist()) == ["1-4", "1-5", "2-2"]


def test_rows_of_a_batch_that_is_not_finished_stay_in_files_of_their_own(spark: SparkSession, storage: Storage) -> None:
    """Also if its number lies between those of an earlier generation: its rows alone are served again."""
    for query, count in ((1, 6), (2, 3)):
        for batch in range(count):
            land(storage, query, batch)
    land(storage, 2, 3, finished=False)
    [path] = storage.paths_of(Fence(2, 3))
    assert compact_log(spark, storage) == 1
    assert storage.paths_of(Fence(2, 3)) == [path]
    assert "2-3" not in ids(storage) and len(ids(storage)) == 9
    storage.finish(storage.begin(2, 3))
    assert "2-3" in ids(storage)
    assert audit.faults(storage, storage.accounts(), opened=True) == []


def test_a_batch_that_is_committed_while_files_are_listed_is_not_among_them(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(storage, 1, 0)
    real = Storage.reached

    def reached(self: Storage) -> tuple[Fence, Fence]:
        found = real(self)
        monkeypatch.setattr(Storage, "reached", real)
        land(storage, 1, 1, finished=False)
        return found

    monkeypatch.setattr(Storage, "reached", reached)
    assert [file.batches for file in storage.files()] == [(0, 0)]


def test_an_account_that_is_finished_while_the_log_is_audited_is_no_fault(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(storage, 1, 0)
    before = storage.accounts()
    land(storage, 1, 1)
    assert audit.faults(storage, before, opened=True) == []


def test_accounts_are_summed_up_into_a_file_a_day_and_say_the_same(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many batches each: the stream does it, and whoever reads opens one file for all of them."""
    monkeypatch.setattr(batches, "SUMMED_UP", 4)
    for batch in range(3):
        land(storage, 1, batch)
    assert len(storage.table.snapshot().files(outcome=BATCH)) == 3
    before = storage.accounts().rows.to_pylist()
    land(storage, 1, 3)
    [file] = storage.table.snapshot().files(outcome=BATCH)
    assert (file.rows, file.queries, file.batches) == (4, (1, 1), (0, 3))
    assert storage.accounts().rows.to_pylist()[:3] == before
    last = json.loads((storage.folder("log") / "_delta_log" / "_last_checkpoint").read_text())
    assert last["version"] == storage.table.snapshot().version
    for batch in range(4, 9):
        land(storage, 1, batch)
    assert len(storage.table.snapshot().files(outcome=BATCH)) == 2
    assert [entry.fence for entry in logged.entries(storage)] == [Fence(1, batch) for batch in range(9)]
    assert storage.accounts().total().accepted == 9
    assert audit.faults(storage, storage.accounts(), opened=True) == []
    # A process that starts now, and has read nothing before.
    assert Counter(ids(Storage(storage.root / ".." / storage.root.name, CLICKS.name))) == Counter(ids(storage))


def test_a_stream_and_a_night_that_sum_up_at_once_count_each_batch_once(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch in range(5):
        land(storage, 1, batch)
    with monkeypatch.context() as meanwhile:
        faults.crash_at(meanwhile, Step.COMMIT, fault=lambda: batches.sum_up(storage.table))
        batches.sum_up(storage.table)
    assert storage.accounts().total().accepted == len(storage.accounts()) == 5
    assert len(storage.table.snapshot().files(outcome=BATCH)) == 1


def test_a_log_that_nobody_knows_the_progress_of_is_no_empty_one(storage: Storage) -> None:
    """A stream would fill the online store with nothing, and go on."""
    for batch in range(2):
        land(storage, 1, batch)
    file = storage.folder("ledger") / "progress.json"
    kept = file.read_bytes()
    file.unlink()
    for asked in (storage.reached, storage.accounts, storage.files, lambda: storage.begin(1, 2), storage.leave_off):
        with pytest.raises(StateError, match=r"progress\.json is gone, and the log is not; put it back from a backup"):
            asked()
    file.write_bytes(kept)
    assert len(storage.accounts()) == 2
