"""Nights compact the log, and nobody who reads it can tell."""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.dedup.store import DedupStore
from dualpath.errors import RunningError
from dualpath.jobs import log_compaction
from dualpath.jobs.build import build
from dualpath.jobs.log_compaction import compact_log
from dualpath.jobs.nightly import nightly
from dualpath.jobs.staging import numbered
from dualpath.log import audit, snapshot
from dualpath.log import table as log_table
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.log.tail import Tail
from dualpath.parity.check import check
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.spark.log import read_log
from dualpath.steps import Step
from parity_tests import faults, invariants, logged
from parity_tests.conftest import SOURCE, drain

LINES = faults.payloads(faults.events())[:330]
POISON = b"no event"
BATCHES = 11
OUTCOMES = (ACCEPTED, DUPLICATE, DEAD_LETTER)
DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files of a partition are many."""
    monkeypatch.setattr(log_compaction, "FEW", 2)


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose stream has read eleven files, one a batch; some events come twice."""
    repo = new_repo()
    for number in range(BATCHES):
        faults.post(repo, [*LINES[number * 30 : (number + 1) * 30], *LINES[:2], POISON])
    drain(spark, repo, files_per_batch=1)
    return repo


@pytest.fixture
def repo(streamed: Repo, tmp_path: Path) -> Repo:
    """A copy of it, without its Redis."""
    shutil.copytree(streamed.folder, tmp_path / "feature_repo", ignore=shutil.ignore_patterns("redis"))
    return Repo(tmp_path / "feature_repo")


def partitions(storage: Storage) -> dict[tuple[str, str], list[DataFile]]:
    """The files of each partition of rows."""
    found: dict[tuple[str, str], list[DataFile]] = {}
    for outcome in OUTCOMES:
        for file in storage.files(outcome):
            found.setdefault((outcome, file.arrival_day), []).append(file)
    return found


def seen(spark: SparkSession, repo: Repo) -> list[Any]:
    """All that is read of the log and the dead letters, by all that read them."""
    storage, source = repo.storage(SOURCE), repo.sources[SOURCE]
    spoken = [read_log(spark, storage, source), read_log(spark, storage, source, [DAY_2.isoformat()])]
    tails = [Tail(storage, source, position).read(["event_id", "amount"]) for position in ({}, {1: 4}, {1: 9})]
    return [
        audit.faults(storage, storage.accounts(), opened=True),
        *(Counter(map(tuple, rows.collect())) for rows in spoken),
        *(Counter(map(str, rows.to_pylist())) for rows in tails),
        Counter(map(str, faults.log(repo).to_pylist())),
        Counter(map(str, logged.rows(storage, DUPLICATE).to_pylist())),
        Counter(invariants.dead_letters(repo)),
        storage.accounts().rows.to_pylist(),
        storage.digests("salt"),
    ]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What compaction has warned of."""
    return [record.getMessage() for record in caplog.records if record.name == log_compaction.__name__]


def test_what_is_compacted_reads_as_before_and_each_file_says_what_it_holds(spark: SparkSession, repo: Repo) -> None:
    storage, before, small = repo.storage(SOURCE), seen(spark, repo), partitions(repo.storage(SOURCE))
    assert before[0] == [] and sum(before[1].values()) == faults.counts(repo)["accepted"] > 300
    many = {place for place, files in small.items() if len(files) > 2}
    assert {outcome for outcome, _ in many} == {*OUTCOMES}
    assert compact_log(spark, storage) == len(many)
    assert seen(spark, repo) == before
    large = partitions(storage)
    assert {place: len(files) for place, files in large.items()} == {
        place: 1 if place in many else len(files) for place, files in small.items()
    }
    for files in large.values():
        for file in files:
            held = pq.ParquetFile(storage.folder("log") / file.path).read()
            assert file.rows == len(held)
            for column, ends in (("query", file.queries), ("batch", file.batches)):
                assert ends == (min(held[column].to_pylist()), max(held[column].to_pylist()))
    assert compact_log(spark, storage) == 0
    assert partitions(storage) == large
    assert seen(spark, repo) == before


@pytest.mark.parametrize(("hours", "stays"), [(11.9, True), (12.1, False)])
def test_what_was_replaced_stays_for_twelve_hours_for_who_began_to_read_before(
    hours: float, stays: bool, spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old the files are themselves."""
    storage = repo.storage(SOURCE)
    paths, rows = storage.paths(), faults.counts(repo)["accepted"]
    with monkeypatch.context() as earlier:
        now = snapshot.milliseconds
        earlier.setattr(snapshot, "milliseconds", lambda: now() - int(hours * 3_600_000))
        earlier.setattr(storage.table, "vacuum", list)
        assert compact_log(spark, storage) > 0
    replaced = {*paths}.difference(storage.paths())
    ago = time.time() - 24 * 3600
    for each in paths:
        os.utime(each, (ago, ago))
    compact_log(spark, storage)
    assert len(replaced) > 2 and {Path(each).exists() for each in replaced} == {stays}
    assert all(Path(each).exists() for each in {*paths}.difference(replaced))
    read = paths if stays else storage.paths()
    assert ds.dataset(read, format="parquet").count_rows() == rows


def test_files_that_no_commit_has_go_when_they_are_twelve_hours_old(spark: SparkSession, repo: Repo) -> None:
    """Those of a task that died, or of a batch under way, which may still be committed."""
    storage = repo.storage(SOURCE)
    [file, *_] = storage.files()
    for name in ("died", "under-way"):
        path = storage.folder("log") / file.path
        shutil.copy(path, path.with_name(f"part-{name}.parquet"))
    old = path.with_name("part-died.parquet")
    ago = old.stat().st_mtime - 12.1 * 3600
    os.utime(old, (ago, ago))
    before = seen(spark, repo)
    compact_log(spark, storage)
    assert path.with_name("part-under-way.parquet").exists() and not old.exists()
    assert seen(spark, repo) == before


@pytest.mark.parametrize("step", [Step.COMPACT_LOG, Step.COMMIT, Step.VACUUM_LOG])
@pytest.mark.parametrize("after", [False, True])
def test_a_night_that_dies_while_it_compacts_loses_nothing(
    step: Step, after: bool, spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    with monkeypatch.context() as faulty:
        faults.crash_at(faulty, step, after=after)
        with pytest.raises(faults.Crash):
            compact_log(spark, storage)
    assert seen(spark, repo) == before
    committed = step is Step.VACUUM_LOG or after
    assert (compact_log(spark, storage) == 0) == committed
    assert all(len(files) <= 2 for files in partitions(storage).values())
    assert seen(spark, repo) == before
    monkeypatch.setattr(log_table, "GRACE_HOURS", 0)
    compact_log(spark, storage)
    assert logged.uncommitted(storage) == set()
    assert seen(spark, repo) == before


def test_two_nights_do_not_compact_at_once(spark: SparkSession, repo: Repo) -> None:
    storage = repo.storage(SOURCE)
    before = partitions(storage)
    with storage.compacting(), pytest.raises(RunningError, match="another night is compacting the log"):
        compact_log(spark, storage)
    assert partitions(storage) == before


@pytest.mark.parametrize("fault", ["missing", "torn", "other rows"])
def test_a_partition_with_a_file_that_is_not_whole_is_named_and_left_as_it_is(
    fault: str, spark: SparkSession, repo: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    storage, before = repo.storage(SOURCE), partitions(repo.storage(SOURCE))
    place = (ACCEPTED, DAY_1.isoformat())
    file = storage.folder("log") / before[place][1].path
    whole = file.read_bytes()
    if fault == "missing":
        file.unlink()
    elif fault == "torn":
        file.write_bytes(whole[: len(whole) // 2])
    else:
        rows = pq.ParquetFile(file).read()
        pq.write_table(rows.slice(1), file, store_schema=False)
    with caplog.at_level(logging.WARNING):
        made = compact_log(spark, storage)
        assert compact_log(spark, storage) == 0
    found, again = said(caplog)
    assert found == again and found.startswith(f"source '{SOURCE}': ")
    assert file.name in found and found.endswith("these files are not compacted")
    assert made == sum(len(files) > 2 for files in before.values()) - 1
    assert partitions(storage)[place] == before[place]
    file.write_bytes(whole)
    assert compact_log(spark, storage) == 1
    assert len(partitions(storage)[place]) == 1
    assert audit.faults(storage, storage.accounts(), opened=True) == []


def test_files_that_are_large_already_are_left(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = repo.storage(SOURCE)
    before = partitions(storage)
    sizes = sorted(file.size for files in before.values() for file in files)
    monkeypatch.setattr(log_compaction, "LARGE_FILE_BYTES", sizes[0])
    assert compact_log(spark, storage) == 0
    monkeypatch.setattr(log_compaction, "LARGE_FILE_BYTES", sizes[-1])
    assert compact_log(spark, storage) > 0
    [largest] = [file for files in before.values() for file in files if file.size == sizes[-1]][:1]
    assert largest in [file for files in partitions(storage).values() for file in files]


@pytest.mark.parametrize("second", ["the stream", "the night"])
def test_a_night_compacts_beside_a_running_stream_and_both_commit(
    second: str, spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has done its work on the version before the other's commit."""
    repo = new_repo()
    faults.post(repo, LINES[:150], files=5)
    drain(spark, repo, files_per_batch=1)
    storage = repo.storage(SOURCE)
    faults.post(repo, LINES[150:250])
    made: list[int] = []
    night, stream = lambda: made.append(compact_log(spark, storage)), lambda: drain(spark, repo)
    with monkeypatch.context() as meanwhile:
        if second == "the stream":
            faults.crash_at(meanwhile, Step.COMMIT, fault=night)
            stream()
        else:
            faults.crash_at(meanwhile, Step.COMPACT_LOG, fault=stream)
            night()
    assert made[0] > 0 and faults.counts(repo)["rows_read"] == 250
    assert invariants.violations(spark, repo, LINES[:250]) == []


def test_files_of_another_schema_and_more_rows_than_fit_are_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [pa.table({"a": [1, 2]}), pa.table({"a": [3]}), pa.table({"a": [4], "b": ["new"]}), pa.table({"a": [5]})]
    files = []
    for number, table in enumerate(tables):
        pq.write_table(numbered(table, Fence(1, number)), tmp_path / f"{number}.parquet")
        files.append(DataFile(f"{number}.parquet", 1, len(table), ACCEPTED, "", (1, 1), (number, number)))
    [rows] = log_compaction._tables(tmp_path, files)
    assert rows.select(["a", "b"]).to_pylist() == [
        *({"a": a, "b": None} for a in (1, 2, 3)), {"a": 4, "b": "new"}, {"a": 5, "b": None},
    ]  # fmt: skip
    [whole] = log_compaction._compact(tmp_path, files).made
    assert (whole.rows, whole.queries, whole.batches) == (5, (1, 1), (0, 3))
    monkeypatch.setattr(log_compaction, "FILE_ROWS_BYTES", 1)
    assert [len(rows) for rows in log_compaction._tables(tmp_path, files)] == [each.rows for each in files]
    made = log_compaction._compact(tmp_path, files).made
    assert [(each.rows, each.queries, each.batches) for each in made] == [
        (each.rows, each.queries, each.batches) for each in files
    ]


def test_ids_that_are_lost_are_made_of_compacted_batches_too(spark: SparkSession, repo: Repo) -> None:
    storage = repo.storage(SOURCE)

    def recalled() -> list[list[int]]:
        dedup = DedupStore(storage, repo.sources[SOURCE])
        dedup.load(spark)
        return sorted(id for segment in dedup.segments for file in segment.files for id in np.load(file).T.tolist())

    before = recalled()
    assert len(before) == faults.counts(repo)["accepted"]
    compact_log(spark, storage)
    shutil.rmtree(storage.folder("ids"))
    assert recalled() == before


def test_a_night_compacts_and_serves_the_bits_of_the_training_set(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    for number in range(BATCHES):
        faults.post(repo, LINES[number * 30 : (number + 1) * 30])
    drain(spark, repo, files_per_batch=1)
    small = partitions(repo.storage(SOURCE))
    for day in (DAY_1, DAY_2):
        nightly(spark, repo, repo.sources[SOURCE], day)
    assert max(map(len, small.values())) > 10
    assert all(len(files) <= 2 for files in partitions(repo.storage(SOURCE)).values())
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=1_000, oracle_cells=200, seed=0)
    assert proof.cells >= 1_000
    assert (proof.differing, proof.oracle_differing) == (0, 0)
