"""A crash at any step of a batch leaves no trace after a restart."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import dualpath.jobs.stream
from dualpath.files.places import Place
from dualpath.jobs import sink
from dualpath.jobs.sink import Sink
from dualpath.jobs.staging import Staged
from dualpath.jobs.stream import start
from dualpath.log import audit, progress
from dualpath.log.accounts import Entry
from dualpath.log.progress import Progress
from dualpath.log.table import DEAD_LETTER, DUPLICATE
from dualpath.online.small_batch import SmallBatch
from dualpath.online.writer import ENTITIES_PER_CALL, TEXTS, WriteCounts
from dualpath.record import UNFENCED, Fence
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.steps import Step
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.stream import LINES, POISON, half_of, leave_out_half


def test_a_stream_stopped_in_the_middle_of_a_batch_goes_on_from_its_checkpoint(
    spark: SparkSession, new_repo: Callable[[], Repo], expected: tuple[Counter[Any], Counter[str]]
) -> None:
    repo = new_repo()
    faults.post(repo, LINES, files=4)
    storage = repo.storage(SOURCE)
    landing = Directory(storage.folder("landing"), files_per_batch=1)
    query = start(spark, repo, repo.sources[SOURCE], landing, interval=timedelta(0))
    faults.until(lambda: len(logged.entries(storage)) >= 2)
    query.stop()
    assert sum(entry.done for entry in logged.entries(storage)) < 4
    drain(spark, repo, files_per_batch=3)
    assert faults.bits(repo) == expected
    assert faults.counts(repo)["rows_read"] == len(LINES)


def half_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second batch reaches half of its keys, then the process dies."""
    whole, calls = sink.write_small_batch, []

    def half(small_batch: SmallBatch, *args: Any) -> dict[str, WriteCounts]:
        calls.append(1)
        return whole(half_of(small_batch) if len(calls) == 2 else small_batch, *args)

    monkeypatch.setattr(sink, "write_small_batch", half)
    faults.crash_at(monkeypatch, Step.SERVE, nth=2, after=True)


def half_of_the_keys_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of batches that are served from the log."""
    monkeypatch.setattr(sink, "SMALL_BATCH", -1)
    leave_out_half(monkeypatch, sink, "record_rows", nth=2)
    faults.crash_at(monkeypatch, Step.SERVE, nth=2, after=True)


def half_of_the_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the second batch's files of ids is in its place, then the process dies."""
    real, calls = Sink.place_ids, []

    def cut(self: Sink, found: Staged, entry: Entry) -> tuple[Place, ...]:
        calls.append(1)
        if len(calls) < 2:
            return real(self, found, entry)
        assert len(found.ids) > 1
        real(self, replace(found, ids=found.ids[:1]), entry)
        raise faults.Crash("half of the ids")

    monkeypatch.setattr(Sink, "place_ids", cut)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "after the beginning": lambda m: faults.crash_at(m, Step.BEGIN, nth=2, after=True),
    "after the pass": lambda m: faults.crash_at(m, Step.STAGE, nth=2, after=True),
    "with half of the ids": half_of_the_ids,
    "before the commit": lambda m: faults.crash_at(m, Step.COMMIT, nth=2),
    "after the commit": lambda m: faults.crash_at(m, Step.COMMIT, nth=2, after=True),
    "before Redis": lambda m: faults.crash_at(m, Step.SERVE, nth=2),
    "with half of the keys in Redis": half_of_the_keys,
    "with half of the keys of the log in Redis": half_of_the_keys_of_the_log,
    "after Redis": lambda m: faults.crash_at(m, Step.SERVE, nth=2, after=True),
    "before the end": lambda m: faults.crash_at(m, Step.FINISH, nth=2),
    "before Spark's commit": lambda m: faults.crash_at(m, Step.FINISH, nth=2, after=True),
}


UNCOMMITTED = {"after the pass", "with half of the ids", "before the commit"}
"""Steps at which files are written that no commit has."""


def crash(step: str, spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stream until it dies at a step."""
    with monkeypatch.context() as faulty:
        STEPS[step](faulty)
        with pytest.raises(StreamingQueryException, match="Crash"):
            drain(spark, repo, files_per_batch=1)


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_of_a_batch_leaves_no_trace_after_a_restart(
    step: str,
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    expected: tuple[Counter[Any], Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo, poisoned = new_repo(), [*LINES[:300], *POISON, *LINES[300:], *POISON]
    faults.post(repo, poisoned, files=2)
    crash(step, spark, repo, monkeypatch)
    drain(spark, repo, files_per_batch=1)
    assert faults.bits(repo) == expected
    found = faults.counts(repo)
    assert (found["rows_read"], found["dead_letter"]) == (len(poisoned), 2 * len(POISON))
    assert found["accepted"] == sum(faults.ids(repo).values())
    storage = repo.storage(SOURCE)
    assert logged.rows(storage, DEAD_LETTER).num_rows == 2 * len(POISON)
    assert len(logged.rows(storage, DUPLICATE)) == found["duplicate"]
    assert audit.faults(storage, storage.accounts(), opened=True) == []
    # What an attempt wrote that has committed nothing is no part of the log.
    assert bool(logged.uncommitted(storage)) == (step in UNCOMMITTED)


def test_a_large_batch_is_written_view_by_view_in_a_call_for_some_hundred_entities(
    spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, real, written = new_repo(), sink.write, []
    monkeypatch.setattr(sink, "SMALL_BATCH", -1)
    monkeypatch.setattr(sink, "write", lambda *args: written.append(real(*args)) or written[-1])
    faults.post(repo, LINES)
    drain(spark, repo)
    [done] = written
    assert done.keys() == {TEXTS, *(view.name for view in repo.views_of(SOURCE))}
    tasks = 2
    for each in done.values():
        assert each.calls <= tasks * (each.parts // ENTITIES_PER_CALL + 1)
        assert each.records > 2 * tasks


class Otherwise(Sink):
    """A repetition of a batch whose shuffle keeps other duplicates: the same ids with another content."""

    def land(self, batch: DataFrame, number: int) -> None:
        other = F.col("event_time") + F.expr("INTERVAL 1 HOUR")
        kept = F.when(F.col("reason").isNull(), other).otherwise(F.col("event_time"))
        super().land(batch.withColumn("event_time", kept), number)


@pytest.mark.parametrize("step", ["before Redis", "with half of the keys in Redis", "after Redis", "before the end"])
def test_the_attempt_that_wrote_the_log_decides_which_duplicates_are_kept(
    step: str,
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    expected: tuple[Counter[Any], Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo = new_repo()
    faults.post(repo, LINES, files=2)
    crash(step, spark, repo, monkeypatch)
    monkeypatch.setattr(dualpath.jobs.stream, "Sink", Otherwise)
    drain(spark, repo, files_per_batch=1)
    assert faults.bits(repo) == expected
    assert faults.misserved(repo, faults.log(repo)) == []


class Again(Sink):
    """Lands every batch, once more when it is done, and once more as if it had never been finished."""

    seen: tuple[Any, ...] = ()

    def land(self, batch: DataFrame, number: int) -> None:
        super().land(batch, number)
        Again.seen += (faults.stored(self.repo), faults.ids(self.repo))
        super().land(batch, number)
        Again.seen += (faults.stored(self.repo), faults.ids(self.repo))
        entry = self.storage.begin(self.query, number)
        done = Fence(self.query, number - 1) if number else UNFENCED
        progress.write(self.storage.folder("ledger"), Progress(done, entry.fence, entry.closed_through))
        super().land(batch, number)
        Again.seen += (faults.stored(self.repo), faults.ids(self.repo))


def test_a_batch_that_is_landed_again_changes_nothing(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    expected: tuple[Counter[Any], Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo = new_repo()
    faults.post(repo, LINES)
    monkeypatch.setattr(dualpath.jobs.stream, "Sink", Again)
    drain(spark, repo)
    first, second, third = zip(Again.seen[:6:2], Again.seen[1:6:2], strict=True)
    assert first == second == third
    assert faults.bits(repo) == expected
