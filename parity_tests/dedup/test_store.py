"""The deduplication store: what is on the disk, whatever was lost there, and when it expires."""

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.dedup import segments, store
from dualpath.dedup.segments import CLOCK, HASH
from dualpath.dedup.store import DedupStore, Segment, hash_range, hashes, placed, stored, write_segment
from dualpath.log import batches, forms
from dualpath.log.accounts import Entry
from dualpath.log.storage import Storage
from dualpath.log.table import BATCH
from dualpath.repo import Repo
from dualpath.steps import Step
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.saved import Saved

LINES = faults.payloads(faults.events())
DAY = timedelta(days=1) // timedelta(microseconds=1)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two segments of a size are enough to be merged."""
    monkeypatch.setattr(segments, "MERGE_FACTOR", 2)


@pytest.fixture
def repo(new_repo: Callable[[], Repo]) -> Repo:
    return new_repo()


def loaded(spark: SparkSession, repo: Repo) -> DedupStore:
    """The store of a process that starts now."""
    storage, source = repo.storage(SOURCE), repo.sources[SOURCE]
    storage.table.ensure(forms.schema(forms.known(storage, source)))
    found = DedupStore(storage, source)
    found.load(spark)
    return found


def land(dedup: DedupStore, query: int, batch: int, *, clock: int = 0, count: int = 3) -> Entry:
    """A finished batch of new ids."""
    storage = dedup.storage
    entry = storage.begin(query, batch)
    hashes = np.random.default_rng([query, batch]).integers(-(2**63), 2**63 - 1, (2, count))
    ids = segments.sort(np.stack([*hashes, np.full(count, clock)]))
    files = placed([write_segment(ids, storage.folder("staging"))], storage.folder("ids") / entry.name)
    counts = {"rows_read": count, "accepted": count, "clock": clock, "arrival_days": ("2026-03-01",)}
    entry = storage.note(entry, [], **counts)
    dedup.add(entry, files)
    dedup.compact_and_expire(clock)
    return storage.finish(entry)


def clocks(dedup: DedupStore) -> list[int]:
    """The clocks of all ids that a later batch is told of."""
    files = dedup.files_before(Entry(10**6, 0))
    return sorted(clock for file in files for clock in np.load(file)[CLOCK].tolist())


def folders(storage: Storage) -> set[str]:
    top = storage.folder("ids")
    return {folder.relative_to(top).as_posix() for folder in top.glob("query=*/*")}


def test_the_segments_of_eight_batches_are_merged_and_loaded_as_they_are(spark: SparkSession, repo: Repo) -> None:
    dedup = loaded(spark, repo)
    for batch in range(9):
        land(dedup, 1, batch, clock=batch)
    land(dedup, 2, 0, clock=9)
    assert folders(dedup.storage) == {"query=1/batches=0-7", "query=1/batch=8", "query=2/batch=0"}
    assert clocks(dedup) == sorted([*range(10)] * 3)
    found = loaded(spark, repo)
    assert found.count == dedup.count == 30
    assert {(each.name, each.files) for each in found.segments} == {(each.name, each.files) for each in dedup.segments}


def test_a_large_segment_has_files_that_each_hold_a_range_of_hashes(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FILE_IDS", 6)
    dedup = loaded(spark, repo)
    for batch in range(8):
        land(dedup, 1, batch, clock=batch)
    [segment] = dedup.segments
    found = [np.load(file)[HASH] for file in sorted(segment.files)]
    assert 2 <= len(found) <= 4 and sum(map(len, found)) == 24
    assert np.concatenate(found).tolist() == sorted(np.concatenate(found).tolist())
    assert [(each.low, each.high) for each in map(stored, sorted(segment.files))] == [(f[0], f[-1]) for f in found]
    assert clocks(loaded(spark, repo)) == sorted([*range(8)] * 3)


def test_a_file_of_an_earlier_version_may_hold_any_hash(tmp_path: Path) -> None:
    ids = segments.sort(np.array([[7, -5], [1, 2], [3, 3]]))
    file = write_segment(ids, tmp_path)
    assert (stored(file).low, stored(file).high) == (-5, 7)
    earlier = stored(file.rename(tmp_path / "0f8fad5bd9cb469fa16570867728950e.npy"))
    assert (earlier.low, earlier.high) == (-(2**63), 2**63 - 1)
    assert earlier.read().tolist() == ids.tolist()


@pytest.mark.parametrize("ranges", [1, 3, 64])
def test_ranges_of_hashes_follow_each_other(ranges: int, spark: SparkSession) -> None:
    rows = spark.range(2_000).select(F.col("id").cast("string").alias("event_id"))
    found = rows.select(hashes()[0], hash_range(ranges)).collect()
    assert all(number == ((hashed + 2**63) >> 32) * ranges >> 32 for hashed, number in found)
    assert {number for _, number in found} == set(range(ranges))


def test_a_batch_is_not_told_of_its_own_ids_nor_of_later_ones(spark: SparkSession, repo: Repo) -> None:
    dedup = loaded(spark, repo)
    entries = [land(dedup, query, batch) for query, batch in ((1, 0), (1, 1), (2, 0))]
    assert [len(dedup.files_before(entry)) for entry in entries] == [0, 1, 2]


def test_ids_go_when_the_last_of_their_batches_is_older_than_duplicates_are_looked_for(
    spark: SparkSession, repo: Repo
) -> None:
    dedup = loaded(spark, repo)
    for batch in range(9):
        land(dedup, 1, batch, clock=batch)
    dedup.compact_and_expire(7 + DAY - 1)
    assert len(folders(dedup.storage)) == 2
    dedup.compact_and_expire(7 + DAY)
    assert folders(dedup.storage) == {"query=1/batch=8"} and clocks(dedup) == [8] * 3
    land(dedup, 1, 9, clock=8 + DAY)
    assert clocks(dedup) == clocks(loaded(spark, repo)) == [8 + DAY] * 3


def test_what_a_crash_leaves_beside_a_merged_segment_or_before_the_ledger_has_it_is_not_loaded(
    spark: SparkSession, repo: Repo, tmp_path: Path
) -> None:
    dedup = loaded(spark, repo)
    top = dedup.storage.folder("ids")
    for batch in range(7):
        land(dedup, 1, batch, clock=batch)
    shutil.copytree(top / "query=1", tmp_path / "before")
    land(dedup, 1, 7, clock=7)
    for batch in (3, 4):
        shutil.copytree(tmp_path / f"before/batch={batch}", top / f"query=1/batch={batch}")
    dedup.storage.begin(1, 8)
    shutil.copytree(tmp_path / "before/batch=3", top / "query=1/batch=8")
    assert clocks(loaded(spark, repo)) == sorted([*range(8)] * 3)
    assert folders(dedup.storage) == {"query=1/batches=0-7"}


def test_after_accounts_are_summed_up_each_batch_is_forgotten_in_its_own_time(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch every third of a day: four are known, whatever was summed up, and nothing is made from the log."""
    monkeypatch.setattr(batches, "SUMMED_UP", 4)
    monkeypatch.setattr(DedupStore, "_from_log", None)
    dedup = loaded(spark, repo)
    for batch in range(14):
        land(dedup, 1, batch, clock=batch * (DAY // 3))
        assert (
            clocks(loaded(spark, repo))
            == clocks(dedup)
            == sorted([n * (DAY // 3) for n in range(max(0, batch - 2), batch + 1)] * 3)
        )
    assert len(dedup.storage.logged()) == 14 > len(dedup.storage.table.snapshot().files(outcome=BATCH))


def test_ids_of_batches_that_the_log_does_not_have_are_not_loaded(
    spark: SparkSession, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the log came back from an older copy: the rows of the last batch will be read again."""
    dedup, asked = loaded(spark, repo), []
    for batch in range(8):
        if batch == 7:
            for kind in ("log", "ledger"):
                shutil.copytree(dedup.storage.folder(kind), tmp_path / kind)
        land(dedup, 1, batch, clock=batch)
    for kind in ("log", "ledger"):
        shutil.rmtree(dedup.storage.folder(kind))
        shutil.copytree(tmp_path / kind, dedup.storage.folder(kind))

    def made(self: DedupStore, spark: SparkSession, query: int, clocks: dict[int, int]) -> Segment:
        asked.append(clocks)
        return Segment(query, 0, 6, 0, 6, ())

    monkeypatch.setattr(DedupStore, "_from_log", made)
    loaded(spark, repo)
    assert asked == [{batch: batch for batch in range(7)}]


def test_a_clock_that_was_once_ahead_makes_nobody_forget_what_came_after_it(spark: SparkSession, repo: Repo) -> None:
    dedup = loaded(spark, repo)
    for batch, clock in enumerate((2 * DAY, 1, 2)):
        land(dedup, 1, batch, clock=clock)
    assert clocks(loaded(spark, repo)) == clocks(dedup) == sorted([2 * DAY, 1, 2] * 3)


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A repo whose stream has read forty lines in one batch."""
    repo = new_repo()
    faults.post(repo, LINES[:40])
    drain(spark, repo)
    return Saved(repo, tmp_path_factory.mktemp("streamed"))


@pytest.fixture(scope="module")
def merged(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """One that has read files of three sizes, so that the first two batches are merged and the third stays alone."""
    repo = new_repo()
    for some in (LINES[:40], LINES[40:80], LINES[80:85]):
        faults.post(repo, some)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segments, "MERGE_FACTOR", 2)
        drain(spark, repo, files_per_batch=1)
    return Saved(repo, tmp_path_factory.mktemp("merged"))


@pytest.mark.parametrize(("small", "left"), [(10**6, 0), (10**6, 200), (0, 0), (0, 200)])
def test_a_file_that_was_cut_off_is_made_from_the_log(
    small: int, left: int, spark: SparkSession, streamed: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both where it would be read and where it would be mapped."""
    monkeypatch.setattr("dualpath.dedup.store.READ_BYTES", small)
    repo = streamed.again()
    before = clocks(loaded(spark, repo))
    [file, *_] = repo.storage(SOURCE).folder("ids").rglob("*.npy")
    os.truncate(file, left)
    assert clocks(loaded(spark, repo)) == before


def test_ids_that_are_lost_while_they_are_made_from_the_log_are_made_again(
    spark: SparkSession, streamed: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = streamed.again()
    before = clocks(loaded(spark, repo))
    shutil.rmtree(repo.storage(SOURCE).folder("ids"))
    with monkeypatch.context() as faulty:
        faults.crash_at(faulty, Step.PLACE_SEGMENTS)
        with pytest.raises(faults.Crash):
            loaded(spark, repo)
    assert clocks(loaded(spark, repo)) == before


@pytest.mark.parametrize("lost", ["ids", "ids/query=1", "ids/query=1/batches=0-1", "ids/query=1/batch=2"])
def test_ids_that_are_lost_are_made_from_the_log(lost: str, spark: SparkSession, merged: Saved, pairs: None) -> None:
    repo = merged.again()
    storage = repo.storage(SOURCE)
    assert folders(storage) == {"query=1/batches=0-1", "query=1/batch=2"}
    before, accepted = clocks(loaded(spark, repo)), faults.counts(repo)["accepted"]
    shutil.rmtree(storage.root / SOURCE / lost)
    after = loaded(spark, repo)
    assert clocks(after) == before and after.count == len(before) == accepted
    faults.post(repo, LINES[:85])
    drain(spark, repo)
    assert faults.counts(repo)["accepted"] == accepted > 70


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before a merge": lambda m: faults.crash_at(m, Step.MERGE_SEGMENTS),
    "before its segment is in its place": lambda m: faults.crash_at(m, Step.PLACE_SEGMENTS),
    "after a merge": lambda m: faults.crash_at(m, Step.MERGE_SEGMENTS, after=True),
    "between two of the old ones": lambda m: faults.crash_at(m, Step.DROP_SEGMENTS, after=True),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_of_a_merge_forgets_nothing(
    step: str, spark: SparkSession, repo: Repo, pairs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(LINES) // 2
    for some in (LINES[:half], LINES[half:]):
        faults.post(repo, some)
    with monkeypatch.context() as faulty:
        STEPS[step](faulty)
        with pytest.raises(StreamingQueryException, match="Crash"):
            drain(spark, repo, files_per_batch=1)
    faults.post(repo, LINES)
    drain(spark, repo)
    counts, once = faults.counts(repo), max(faults.ids(repo).values())
    assert once == 1 and counts["accepted"] == sum(faults.ids(repo).values())
    assert counts["duplicate"] == 2 * len(LINES) - counts["accepted"] >= len(LINES)
    assert faults.misserved(repo, faults.log(repo)) == []
