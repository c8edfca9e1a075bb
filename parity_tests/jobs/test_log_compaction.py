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
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.dedup.store import DedupStore
from dualpath.errors import StateError
from dualpath.jobs import log_compaction
from dualpath.jobs.build import build
from dualpath.jobs.log_compaction import compact_log
from dualpath.jobs.nightly import nightly
from dualpath.log import ledger
from dualpath.log.storage import Storage
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.spark.log import read_log, write_rows
from dualpath.steps import Step
from parity_tests import faults, invariants
from parity_tests.conftest import SOURCE, drain

LINES = faults.payloads(faults.events())[:330]
POISON = b"no event"
BATCHES = 11
COMPACTED = ["0-3", "4-7", "8", "9", "10"]
DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four batches are a block, and what was replaced goes with the very next night."""
    monkeypatch.setattr(ledger, "BLOCK", 4)
    monkeypatch.setattr(log_compaction, "GRACE_SECONDS", 0)


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose stream has read eleven files, one a batch, the last two of which are in no block."""
    repo = new_repo()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ledger, "BLOCK", 4)
        for number in range(BATCHES):
            faults.post(repo, [*LINES[number * 30 : (number + 1) * 30], POISON])
        drain(spark, repo, files_per_batch=1)
    return repo


@pytest.fixture
def repo(streamed: Repo, tmp_path: Path) -> Repo:
    """A copy of it, without its Redis."""
    shutil.copytree(streamed.folder, tmp_path / "feature_repo", ignore=shutil.ignore_patterns("redis"))
    return Repo(tmp_path / "feature_repo")


def folders(storage: Storage, kind: str) -> list[str]:
    """What batches have folders, in the order of their numbers."""
    names = [folder.name.removeprefix("batch=") for folder in storage.folder(kind).glob("query=1/*")]
    return sorted(names, key=lambda name: int(name.partition("-")[0]))


def seen(spark: SparkSession, repo: Repo) -> list[Any]:
    """All that is read of the log and the dead letters, by all that read them."""
    storage, source = repo.storage(SOURCE), repo.sources[SOURCE]
    spoken = [read_log(spark, storage, source), read_log(spark, storage, source, [DAY_2.isoformat()])]
    return [
        *(Counter(map(tuple, rows.collect())) for rows in spoken),
        Counter(map(str, faults.log(repo).to_pylist())),
        Counter(invariants.dead_letters(repo)),
        status.faults(storage, storage.blocks(), files=True),
        status.reasons(storage, storage.blocks()),
        storage.digests("salt"),
    ]


def test_what_is_compacted_reads_as_before_and_what_it_replaces_goes_with_the_next_night(
    spark: SparkSession, repo: Repo
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    assert sum(before[0].values()) == faults.counts(repo)["accepted"] > 300 and before[4] == []
    alone = [str(number) for number in range(BATCHES)]
    assert folders(storage, "log") == folders(storage, "dead") == alone
    assert compact_log(spark, storage) == 2 * len(log_compaction.KINDS)
    assert seen(spark, repo) == before
    for kind in ("log", "dead"):
        assert set(folders(storage, kind)) == {*alone, "0-3", "4-7"}
    assert {"0-3", "4-7"} <= set(folders(storage, "duplicate"))
    assert compact_log(spark, storage) == 0
    assert folders(storage, "log") == folders(storage, "dead") == COMPACTED
    assert seen(spark, repo) == before
    assert not storage.folder("packing").exists()
    days = {file.parent.name for file in storage.folder("log").glob("query=1/batch=0-3/*/*.parquet")}
    assert days == {f"epoch={day}" for day in storage.blocks()[0].arrival_days}


def test_what_was_replaced_stays_for_who_may_still_read_it(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_compaction, "GRACE_SECONDS", 3_600)
    storage = repo.storage(SOURCE)
    compact_log(spark, storage)
    compact_log(spark, storage)
    assert len(folders(storage, "log")) == BATCHES + 2
    ago = time.time() - 3_601
    for block in storage.blocks()[:2]:
        os.utime(storage.compacted("log", block), (ago, ago))
    compact_log(spark, storage)
    assert folders(storage, "log") == COMPACTED
    assert len(folders(storage, "dead")) == BATCHES + 2


CRASHES: dict[str, Callable[..., None]] = {
    "place": lambda m, **when: faults.crash_at(m, Step.PLACE_COMPACTED, **when),
    "removal": lambda m, **when: faults.crash_at(m, Step.REMOVE_COMPACTED, **when),
    "move": lambda m, **when: faults.crash(m, log_compaction, "move", **when),
    "sync": lambda m, **when: faults.crash(m, log_compaction, "sync", **when),
}


@pytest.mark.parametrize("step", CRASHES)
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_a_night_that_dies_while_it_compacts_loses_nothing(
    step: str, nth: int, after: bool, spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    with monkeypatch.context() as faulty:
        CRASHES[step](faulty, nth=nth, after=after)
        with pytest.raises(faults.Crash):
            compact_log(spark, storage)
    assert seen(spark, repo) == before
    compact_log(spark, storage)
    compact_log(spark, storage)
    assert seen(spark, repo) == before
    assert folders(storage, "log") == folders(storage, "dead") == COMPACTED


def test_a_compacted_folder_that_is_not_whole_is_made_again_while_there_is_what_it_replaced(
    spark: SparkSession, repo: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    compact_log(spark, storage)
    [file, *_] = storage.folder("log").glob("query=1/batch=0-3/*/*.parquet")
    file.unlink()
    with caplog.at_level(logging.WARNING):
        assert compact_log(spark, storage) == 1
    [said] = [record.getMessage() for record in caplog.records if record.name == log_compaction.__name__]
    assert "batch=0-3: the files hold" in said and said.endswith("it is compacted again")
    assert seen(spark, repo) == before
    compact_log(spark, storage)
    assert folders(storage, "log") == COMPACTED
    assert seen(spark, repo) == before


def test_where_neither_the_compacted_folder_nor_what_it_replaced_is_whole_all_is_kept(
    spark: SparkSession, repo: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    storage = repo.storage(SOURCE)
    compact_log(spark, storage)
    [file, *_] = storage.folder("log").glob("query=1/batch=0-3/*/*.parquet")
    file.unlink()
    shutil.rmtree(storage.folder("log") / "query=1/batch=2")
    with caplog.at_level(logging.WARNING):
        assert compact_log(spark, storage) == 0
    [said] = [record.getMessage() for record in caplog.records if record.name == log_compaction.__name__]
    assert said.endswith("what it replaced is not whole either, and all is kept")
    assert sorted(folders(storage, "log")) == sorted(["0-3", "0", "1", "3", "4-7", "8", "9", "10"])


def test_two_nights_do_not_compact_at_once(spark: SparkSession, repo: Repo) -> None:
    storage = repo.storage(SOURCE)
    with storage.compacting(), pytest.raises(StateError, match="another night is compacting the log"):
        compact_log(spark, storage)
    assert len(folders(storage, "log")) == BATCHES


def test_a_removal_that_dies_half_way_is_done_with_the_next_night(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    compact_log(spark, storage)
    with monkeypatch.context() as faulty:
        faults.crash(faulty, log_compaction.shutil, "rmtree", nth=3)
        with pytest.raises(faults.Crash):
            compact_log(spark, storage)
    assert seen(spark, repo) == before
    compact_log(spark, storage)
    assert folders(storage, "log") == COMPACTED


@pytest.mark.parametrize("left", [None, b"torn"])
def test_a_block_with_rows_missing_is_named_and_left_as_it_is(
    left: bytes | None, spark: SparkSession, repo: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    storage = repo.storage(SOURCE)
    [file, *_] = sorted(storage.folder("log").glob("query=1/batch=5/*/*.parquet"))
    whole = file.read_bytes()
    file.unlink()
    if left is not None:
        file.write_bytes(left)
    with caplog.at_level(logging.WARNING):
        assert compact_log(spark, storage) == 2 * len(log_compaction.KINDS) - 1
        assert compact_log(spark, storage) == 0
    [said, again] = [record.getMessage() for record in caplog.records if record.name == log_compaction.__name__]
    assert said == again and said.startswith(f"source '{SOURCE}': query=1/batches=4-7, log/: ")
    assert ("cannot be read" if left else "the files hold") in said
    assert folders(storage, "log") == ["0-3", "4", "5", "6", "7", "8", "9", "10"]
    file.write_bytes(whole)
    assert compact_log(spark, storage) == 1


def test_files_that_are_large_already_are_left(
    spark: SparkSession, repo: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    storage = repo.storage(SOURCE)
    for kind in ("log", "dead"):
        for batch in (0, 4):
            [file, *_] = sorted(storage.folder(kind).glob(f"query=1/batch={batch}/**/*.parquet"))
            os.truncate(file, log_compaction.LARGE_FILE_BYTES + 1)
    with caplog.at_level(logging.WARNING):
        assert compact_log(spark, storage) == 2, "the duplicates of two blocks, which are small"
    assert not [record for record in caplog.records if record.name == log_compaction.__name__]
    assert folders(storage, "log") == folders(storage, "dead") == [str(number) for number in range(BATCHES)]


def test_generations_are_compacted_apart(spark: SparkSession, tmp_path: Path) -> None:
    storage = Storage(tmp_path, "clicks")
    for query, batches in ((1, 6), (2, 3)):
        for batch in range(batches):
            entry = storage.begin(query, batch)
            rows = pa.table({"event_id": [f"{query}-{batch}"]})
            write_rows(rows, storage.folder("log") / f"{entry.name}/epoch=2026-03-01/part.parquet")
            storage.finish(storage.note(entry, rows_read=1, accepted=1, arrival_days=("2026-03-01",)))

    def ids() -> list[str]:
        files = [file for folder in storage.log_folders() for file in folder.rglob("*.parquet")]
        return sorted(each for file in files for each in pq.ParquetFile(file).read()["event_id"].to_pylist())

    before = ids()
    assert len(before) == 9
    assert (compact_log(spark, storage), compact_log(spark, storage)) == (1, 0)
    assert ids() == before
    names = {folder.relative_to(storage.folder("log")).as_posix() for folder in storage.folder("log").glob("*/*")}
    assert names == {f"query=1/batch={n}" for n in ("0-3", "4", "5")} | {f"query=2/batch={n}" for n in range(3)}


def test_files_of_another_schema_and_more_rows_than_fit_are_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [pa.table({"a": [1, 2]}), pa.table({"a": [3]}), pa.table({"a": [4], "b": ["new"]}), pa.table({"a": [5]})]
    files = []
    for number, table in enumerate(tables):
        files.append((number, tmp_path / f"batch={number}.parquet"))
        pq.write_table(table, files[-1][1])
    made = list(log_compaction._tables(files))
    assert [table.to_pylist() for table in made] == [
        [{"a": 1, "__batch": 0}, {"a": 2, "__batch": 0}, {"a": 3, "__batch": 1}],
        [{"a": 4, "b": "new", "__batch": 2}],
        [{"a": 5, "__batch": 3}],
    ]
    monkeypatch.setattr(log_compaction, "FILE_ROWS_BYTES", 1)
    assert [len(table) for table in log_compaction._tables(files)] == [2, 1, 1, 1]


def test_ids_that_are_lost_are_made_of_compacted_batches_too(spark: SparkSession, repo: Repo) -> None:
    storage = repo.storage(SOURCE)

    def recalled() -> list[list[int]]:
        dedup = DedupStore(storage, repo.sources[SOURCE])
        dedup.load(spark)
        return sorted(id for segment in dedup.segments for file in segment.files for id in np.load(file).T.tolist())

    before = recalled()
    assert len(before) == faults.counts(repo)["accepted"]
    compact_log(spark, storage)
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
    for day in (DAY_1, DAY_2):
        nightly(spark, repo, repo.sources[SOURCE], day)
    assert folders(repo.storage(SOURCE), "log") == COMPACTED
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=1_000, oracle_cells=200, seed=0)
    assert proof.cells >= 1_000
    assert (proof.differing, proof.oracle_differing) == (0, 0)
