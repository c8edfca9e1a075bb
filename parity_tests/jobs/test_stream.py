"""The stream under faults: every run, however disturbed, ends in the bits of an undisturbed one."""

import os
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame, SparkSession
from redis import ConnectionError as RedisConnectionError

from dualpath.errors import UnavailableError
from dualpath.jobs import sink
from dualpath.jobs.sink import Sink
from dualpath.log.table import DEAD_LETTER
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.delivery import version
from dualpath.sources.directory import Directory
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.stream import EVENTS, LINES, LINES_CONTENT, POISON, half_of

ACTIVITY = ["user_activity:actions_30min", "user_activity:interests_1h"]


def test_the_undisturbed_run_serves_what_the_oracle_computes_from_the_payloads(calm: Repo) -> None:
    known = faults.log(calm)
    fields = ["user_id", "action", "product_id", "category", "quantity", "amount", "order_value", "event_time"]
    given = Counter(map(tuple, zip(*(EVENTS[f].to_pylist() for f in fields), strict=True)))
    assert Counter(map(tuple, zip(*(known[f].to_pylist() for f in fields), strict=True))) == Counter(set(given))
    assert faults.misserved(calm, known, rows=200) == []


def test_the_outcomes_of_all_rows_add_up_to_the_rows_and_the_files_hold_exactly_them(
    spark: SparkSession, new_repo: Callable[[], Repo], expected: tuple[Counter[Any], Counter[str]]
) -> None:
    repo = new_repo()
    faults.post(repo, faults.shuffled(LINES + POISON * 3), files=4)
    drain(spark, repo)
    found, once = faults.counts(repo), len(set(LINES_CONTENT))
    assert found["rows_read"] == len(LINES) + 3 * len(POISON)
    assert found["dead_letter"] == 3 * len(POISON)
    assert found["accepted"] == once < len(LINES)
    assert found["duplicate"] == len(LINES) - once
    lateness = pc.subtract(faults.log(repo)["arrival_time"], faults.log(repo)["event_time"])
    assert found["late"] == pc.sum(pc.greater(lateness, pa.scalar(timedelta(days=1)))).as_py() > 0
    assert faults.bits(repo) == expected
    storage = repo.storage(SOURCE)
    dead = logged.rows(storage, DEAD_LETTER)
    kept = Counter(dead["payload"].to_pylist())
    assert kept == Counter(p.decode(errors="replace") for p in POISON * 3)
    assert all(dead["reason"].to_pylist())
    of_batches = Counter(logged.rows(storage)["batch"].to_pylist())
    for entry in logged.entries(storage):
        assert entry.done and entry.accepted == of_batches[entry.batch]
        assert entry.rows_read == entry.accepted + entry.duplicate + entry.dead_letter


def test_files_that_were_taken_before_are_left_out_and_the_others_are_whole(
    spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path
) -> None:
    repo, rows = new_repo(), []
    faults.post(repo, LINES[:9], files=3)
    landing = Directory(repo.storage(SOURCE).folder("landing"))
    first, second, third = sorted(file.name for file in landing.folder.glob("*.jsonl"))

    def collect(batch: DataFrame, number: int) -> None:
        rows.extend((row.origin, row.position) for row in batch.collect())

    writer = landing.read(spark, {first: 0, third: 0, "topic/0": 5}).writeStream.foreachBatch(collect)
    query = writer.option("checkpointLocation", str(tmp_path)).trigger(availableNow=True).start()
    query.awaitTermination()
    state = (landing.folder / second).stat()
    assert rows == [(second, version(state.st_size, state.st_mtime_ns // 1_000_000))] * 3


def test_events_delivered_three_times_in_any_order_count_once(
    spark: SparkSession, new_repo: Callable[[], Repo], expected: tuple[Counter[Any], Counter[str]]
) -> None:
    repo = new_repo()
    faults.post(repo, faults.shuffled(LINES * 3), files=5)
    drain(spark, repo)
    once = sum(expected[1].values())
    found = faults.counts(repo)
    assert (found["rows_read"], found["accepted"], found["duplicate"]) == (3 * len(LINES), once, 3 * len(LINES) - once)
    assert faults.bits(repo) == expected


@pytest.mark.parametrize("files_per_batch", [1, 3, 100])
def test_how_rows_are_cut_into_batches_changes_nothing(
    files_per_batch: int,
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    expected: tuple[Counter[Any], Counter[str]],
) -> None:
    repo = new_repo()
    faults.post(repo, faults.shuffled(LINES, seed=files_per_batch), files=5)
    drain(spark, repo, files_per_batch=files_per_batch)
    batches = [entry for entry in logged.entries(repo.storage(SOURCE)) if entry.rows_read]
    assert len(batches) == -(-5 // files_per_batch)
    assert faults.bits(repo) == expected


def test_files_that_are_older_than_those_read_before_are_read_too(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    """As after a copy that keeps times: Spark ignores files a week older than the newest, unless told otherwise."""
    repo = new_repo()
    faults.post(repo, LINES[:10])
    drain(spark, repo)
    faults.post(repo, LINES[10:20])
    [*_, old] = sorted(repo.storage(SOURCE).folder("landing").glob("*.jsonl"))
    os.utime(old, (0, 0))
    drain(spark, repo)
    assert faults.counts(repo)["rows_read"] == 20


def test_rows_that_come_days_late_are_served_right_at_once(spark: SparkSession, new_repo: Callable[[], Repo]) -> None:
    repo = new_repo()
    held = random.Random(1).sample(range(len(EVENTS) // 2), 40)
    late, rest = EVENTS.take(pa.array(held)), EVENTS.filter(pa.array(i not in held for i in range(len(EVENTS))))
    faults.post(repo, faults.payloads(rest))
    drain(spark, repo)
    before = faults.values(repo, faults.log(repo))
    now = pa.array([pc.max(EVENTS["arrival_time"]).as_py() + timedelta(days=3)] * len(late), late["arrival_time"].type)
    late = late.set_column(late.column_names.index("arrival_time"), "arrival_time", now)
    faults.post(repo, faults.payloads(late))
    drain(spark, repo)
    known = faults.log(repo)
    assert len(known) == len(set(LINES_CONTENT)) and faults.counts(repo)["late"] > 30
    assert faults.misserved(repo, known, rows=200) == []
    assert faults.values(repo, known) != before


def read(repo: Repo) -> dict[str, Any]:
    return repo.store.get_online_features(ACTIVITY, [{"user_id": "user_000000"}]).to_dict()


@pytest.mark.slow
def test_while_redis_is_away_the_stream_waits_and_readers_are_told(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    expected: tuple[Counter[Any], Counter[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    repo = new_repo()
    faults.post(repo, LINES[:300])
    drain(spark, repo)
    read(repo)
    faults.post(repo, LINES[300:])
    folder = embedded_folder(repo.store.config)
    redis.stop(folder)
    with caplog.at_level("WARNING", "dualpath.jobs.sink"), ThreadPoolExecutor(1) as pool:
        try:
            draining = pool.submit(drain, spark, repo)
            faults.until(lambda: draining.done() or "Redis is away" in caplog.text)
            with pytest.raises(UnavailableError, match="the online store cannot be used"):
                read(repo)
            assert not draining.done()
        finally:
            assert redis.ensure(folder) == repo.redis_address
        draining.result(120)
    assert faults.bits(repo) == expected


def test_redis_that_goes_in_the_middle_of_a_write_costs_nothing(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    expected: tuple[Counter[Any], Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo, whole, write_records, calls = new_repo(), sink.write_small_batch, Sink.write_records, []
    faults.post(repo, LINES)
    folder = embedded_folder(repo.store.config)

    def interrupted(self: Sink, *args: Any) -> None:
        """At first half of the keys are written and Redis goes; the second time it is back."""
        calls.append(1)
        if len(calls) > 1:
            redis.ensure(folder)
            return write_records(self, *args)
        with monkeypatch.context() as half:
            half.setattr(sink, "write_small_batch", lambda small_batch, *a: whole(half_of(small_batch), *a))
            write_records(self, *args)
        redis.stop(folder)
        raise RedisConnectionError("gone")

    monkeypatch.setattr(Sink, "write_records", interrupted)
    drain(spark, repo)
    assert len(calls) > 1 and faults.bits(repo) == expected
