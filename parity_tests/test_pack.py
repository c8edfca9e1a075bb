"""Nights pack the small files of the log, and nobody who reads it can tell."""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from batch import pack as packing
from batch.build import build
from batch.nightly import nightly
from batch.pack import pack
from dualpath import ledger
from dualpath.console import status
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.spark.log import read_log
from dualpath.storage import Storage
from parity_tests import faults, promise
from parity_tests.conftest import SOURCE, drain
from streaming.remembered import Remembered

LINES = faults.payloads(faults.events())[:330]
POISON = b"no event"
BATCHES = 11
DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture(autouse=True)
def small(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four batches are a block."""
    monkeypatch.setattr(ledger, "BLOCK", 4)
    with faults.partitions(spark, 2):
        yield


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose stream has read eleven files, one a batch, the last two of which are in no block."""
    repo = new_repo()
    with pytest.MonkeyPatch.context() as patched, faults.partitions(spark, 2):
        patched.setattr(ledger, "BLOCK", 4)
        for number in range(BATCHES):
            faults.post(repo, [*LINES[number * 30 : (number + 1) * 30], POISON])
        drain(spark, repo, files_per_batch=1)
    return repo


@pytest.fixture
def repo(streamed: Repo, tmp_path: Path) -> Repo:
    """A copy of it, with its Redis."""
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
        Counter(promise.dead_letters(repo)),
        status.faults(storage),
        status.reasons(storage),
        storage.digests("salt"),
    ]


def test_what_is_packed_reads_as_before_and_what_it_replaces_goes_with_the_next_night(
    spark: SparkSession, repo: Repo
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    assert sum(before[0].values()) == faults.counts(repo)["accepted"] > 300 and before[4] == []
    alone = [str(number) for number in range(BATCHES)]
    assert folders(storage, "log") == folders(storage, "dead") == alone
    assert pack(spark, storage) == 4
    assert seen(spark, repo) == before
    for kind in ("log", "dead"):
        assert set(folders(storage, kind)) == {*alone, "0-3", "4-7"}
    assert pack(spark, storage) == 0
    assert folders(storage, "log") == folders(storage, "dead") == ["0-3", "4-7", "8", "9", "10"]
    assert seen(spark, repo) == before
    assert not storage.folder("packing").exists()
    days = {file.parent.name for file in storage.folder("log").glob("query=1/batch=0-3/*/*.parquet")}
    assert days == {f"epoch={day}" for day in storage.blocks()[0].epochs}


@pytest.mark.parametrize("step", ["_place", "_remove_replaced", "move", "write_rows"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_night_that_dies_while_it_packs_loses_nothing(
    step: str, nth: int, spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    if step == "write_rows":  # in a worker, where no patch reaches
        storage.folder("packing").mkdir(parents=True)
        (storage.folder("packing") / "log-1-0").write_text("half a file")
    else:
        with monkeypatch.context() as faulty:
            faults.crash(faulty, packing, step, nth=nth)
            with pytest.raises(faults.Crash):
                pack(spark, storage)
    assert seen(spark, repo) == before
    pack(spark, storage)
    pack(spark, storage)
    assert seen(spark, repo) == before
    assert folders(storage, "log") == folders(storage, "dead") == ["0-3", "4-7", "8", "9", "10"]


def test_a_removal_that_dies_half_way_is_done_with_the_next_night(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, before = repo.storage(SOURCE), seen(spark, repo)
    pack(spark, storage)
    with monkeypatch.context() as faulty:
        faults.crash(faulty, packing.shutil, "rmtree", nth=3)
        with pytest.raises(faults.Crash):
            pack(spark, storage)
    assert seen(spark, repo) == before
    pack(spark, storage)
    assert folders(storage, "log") == ["0-3", "4-7", "8", "9", "10"]


def test_a_block_with_rows_missing_is_named_and_left_as_it_is(
    spark: SparkSession, repo: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    storage = repo.storage(SOURCE)
    [file, *_] = sorted(storage.folder("log").glob("query=1/batch=5/*/*.parquet"))
    lost = file.read_bytes()
    file.unlink()
    with caplog.at_level(logging.WARNING):
        assert pack(spark, storage) == 3
    [said] = [record.getMessage() for record in caplog.records if record.name == packing.__name__]
    assert said.startswith(f"source '{SOURCE}': the files of query=1/batches=4-7 hold ")
    assert pack(spark, storage) == 0
    assert folders(storage, "log") == ["0-3", "4", "5", "6", "7", "8", "9", "10"]
    file.write_bytes(lost)
    assert pack(spark, storage) == 1


def test_files_that_are_large_already_are_left(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = repo.storage(SOURCE)
    [block, *_] = storage.blocks()
    pile = packing.Pile(storage.folder("log"), block, "log", storage.folder("packing"))
    assert packing._pack(pile) is not None
    monkeypatch.setattr(packing, "LARGE", 10)
    assert packing._pack(pile) is None


def test_files_of_another_schema_and_more_rows_than_fit_are_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [pa.table({"a": [1, 2]}), pa.table({"a": [3]}), pa.table({"a": [4], "b": ["new"]}), pa.table({"a": [5]})]
    files = []
    for number, table in enumerate(tables):
        files.append((number, tmp_path / f"batch={number}.parquet"))
        pq.write_table(table, files[-1][1])
    made = list(packing._tables(files))
    assert [table.to_pylist() for table in made] == [
        [{"a": 1, "__batch": 0}, {"a": 2, "__batch": 0}, {"a": 3, "__batch": 1}],
        [{"a": 4, "b": "new", "__batch": 2}],
        [{"a": 5, "__batch": 3}],
    ]
    monkeypatch.setattr(packing, "AT_ONCE", 1)
    assert [len(table) for table in packing._tables(files)] == [2, 1, 1, 1]


def test_ids_that_are_lost_are_made_of_packed_batches_too(spark: SparkSession, repo: Repo) -> None:
    storage = repo.storage(SOURCE)

    def recalled() -> list[list[int]]:
        remembered = Remembered(storage, repo.sources[SOURCE])
        remembered.recall(spark)
        return sorted(id for part in remembered.parts for file in part.files for id in np.load(file).T.tolist())

    before = recalled()
    assert len(before) == faults.counts(repo)["accepted"]
    pack(spark, storage)
    pack(spark, storage)
    shutil.rmtree(storage.folder("ids"))
    assert recalled() == before


def test_a_night_packs_and_serves_the_bits_of_the_training_set(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    for number in range(BATCHES):
        faults.post(repo, LINES[number * 30 : (number + 1) * 30])
    drain(spark, repo, files_per_batch=1)
    for day in (DAY_1, DAY_2):
        nightly(spark, repo, repo.sources[SOURCE], day)
    assert folders(repo.storage(SOURCE), "log") == ["0-3", "4-7", "8", "9", "10"]
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=1_000, oracle_cells=200, seed=0)
    assert proof.cells >= 1_000
    assert (proof.differing, proof.oracle_differing) == (0, 0)
