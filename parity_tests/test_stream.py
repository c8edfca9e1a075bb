"""The stream under faults: every run, however disturbed, ends in the bits of an undisturbed one."""

import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from redis import ConnectionError as RedisConnectionError
from redis import ResponseError

import dualpath.jobs.stream
from dualpath.errors import CollisionError, StateError, UnavailableError
from dualpath.jobs import sink
from dualpath.jobs.attempt import Found
from dualpath.jobs.nightly import nightly
from dualpath.jobs.sink import Sink
from dualpath.jobs.stream import start
from dualpath.log.generation import present
from dualpath.log.ledger import Entry
from dualpath.log.storage import Storage
from dualpath.online import keys, manifest
from dualpath.online.append import ENTITIES_PER_CALL, TEXTS, Done, Target
from dualpath.online.connection import connect, embedded_folder
from dualpath.online.few import Few
from dualpath.record import Fence, code, layout
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.delivery import version
from dualpath.sources.kafka import Kafka
from dualpath.sources.source import Directory
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain

EVENTS = faults.events()
LINES = faults.payloads(EVENTS)
ACTIVITY = ["user_activity:actions_30min", "user_activity:interests_1h"]


@pytest.fixture(scope="module", autouse=True)
def small(spark: SparkSession) -> Iterator[None]:
    with faults.partitions(spark, 2):
        yield


@pytest.fixture(scope="module")
def calm(spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """An undisturbed run: what every other run must end in."""
    repo = new_repo()
    faults.post(repo, LINES, files=2)
    drain(spark, repo, files_per_batch=1)
    return repo


@pytest.fixture(scope="module")
def expected(calm: Repo) -> tuple[Counter[Any], Counter[str]]:
    return faults.bits(calm)


def test_the_undisturbed_run_serves_what_the_oracle_computes_from_the_payloads(calm: Repo) -> None:
    known = faults.log(calm)
    fields = ["user_id", "action", "product_id", "category", "quantity", "amount", "order_value", "event_time"]
    given = Counter(map(tuple, zip(*(EVENTS[f].to_pylist() for f in fields), strict=True)))
    assert Counter(map(tuple, zip(*(known[f].to_pylist() for f in fields), strict=True))) == Counter(set(given))
    assert faults.misserved(calm, known, rows=200) == []


POISON = [
    b"",
    b"hello",
    b"[1]",
    b'{"user_id": "ann"',
    LINES[0] + LINES[1],
    b'{"user_id":"\xff\xfe","action":"x","event_time":"2026-03-01T10:00:00Z","arrival_time":"2026-03-01T10:00:00Z"}',
    b'{"user_id":"ann","action":"x","event_time":"yesterday","arrival_time":"2026-03-01T10:00:00Z"}',
    b'{"user_id":"ann","action":"x","event_time":"2026-03-01T10:00:00Z"}',
    b'{"action":"x","event_time":"2026-03-01T10:00:00Z","arrival_time":"2026-03-01T10:00:00Z"}',
    b'{"user_id":"ann","action":"x","amount":"NaN","event_time":"2026-03-01T10:00:00Z",'
    b'"arrival_time":"2026-03-01T10:00:00Z"}',
]


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
    dead = ds.dataset([str(f) for f in storage.folder("dead").rglob("*.parquet")]).to_table()
    kept = Counter(dead["payload"].to_pylist())
    assert kept == Counter(p.decode(errors="replace") for p in POISON * 3)
    assert all(dead["reason"].to_pylist())
    for entry in storage.entries():
        rows = len(ds.dataset(str(storage.folder("log") / entry.name)).to_table()) if entry.accepted else 0
        assert entry.done and entry.accepted == rows
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


LINES_CONTENT = [tuple((k, v) for k, v in json.loads(line).items() if k != "arrival_time") for line in LINES]


def test_a_stream_stopped_in_the_middle_of_a_batch_goes_on_from_its_checkpoint(
    spark: SparkSession, new_repo: Callable[[], Repo], expected: tuple[Counter[Any], Counter[str]]
) -> None:
    repo = new_repo()
    faults.post(repo, LINES, files=4)
    storage = repo.storage(SOURCE)
    landing = Directory(storage.folder("landing"), files_per_batch=1)
    query = start(spark, repo, repo.sources[SOURCE], landing, interval=timedelta(0))
    faults.until(lambda: len(storage.entries()) >= 2)
    query.stop()
    assert sum(entry.done for entry in storage.entries()) < 4
    drain(spark, repo, files_per_batch=3)
    assert faults.bits(repo) == expected
    assert faults.counts(repo)["rows_read"] == len(LINES)


def half_of(few: Few) -> Few:
    """The records of every second entity."""
    entities = few.records["entity"].unique().to_pylist()
    return replace(few, records=few.records.filter(pc.is_in(few.records["entity"], pa.array(entities[::2]))))


def half_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second batch reaches half of its keys, then the process dies."""
    whole, calls = sink.send_few, []

    def half(few: Few, *args: Any) -> dict[str, Done]:
        calls.append(1)
        return whole(half_of(few) if len(calls) == 2 else few, *args)

    monkeypatch.setattr(sink, "send_few", half)
    faults.crash(monkeypatch, Sink, "serve", nth=2, after=True)


def half_of_the_keys_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of batches that are served from the log."""
    whole, calls = sink.currency, []

    def half(*args: Any) -> DataFrame:
        calls.append(1)
        frame = whole(*args)
        return frame.where("pmod(xxhash64(entity), 2) = 0") if len(calls) == 2 else frame

    monkeypatch.setattr(sink, "FEW", -1)
    monkeypatch.setattr(sink, "currency", half)
    faults.crash(monkeypatch, Sink, "serve", nth=2, after=True)


def half_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the second batch's files is in its place, then the process dies."""
    real, calls = Sink.place, []

    def cut(self: Sink, found: Found, entry: Entry) -> None:
        calls.append(1)
        if len(calls) < 2:
            return real(self, found, entry)
        assert len(found.files) > 1
        real(self, replace(found, files=found.files[:1]), entry)
        raise faults.Crash("half of the files")

    monkeypatch.setattr(Sink, "place", cut)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "after the beginning": lambda m: faults.crash(m, Storage, "begin", nth=2, after=True),
    "after the pass": lambda m: faults.crash(m, Sink, "write", nth=2, after=True),
    "with half of the files": half_of_the_files,
    "after the files": lambda m: faults.crash(m, Sink, "place", nth=2, after=True),
    "before Redis": lambda m: faults.crash(m, Sink, "serve", nth=2),
    "with half of the keys in Redis": half_of_the_keys,
    "with half of the keys of the log in Redis": half_of_the_keys_of_the_log,
    "after Redis": lambda m: faults.crash(m, Sink, "serve", nth=2, after=True),
    "before the end": lambda m: faults.crash(m, Storage, "finish", nth=2),
    "before Spark's commit": lambda m: faults.crash(m, Storage, "finish", nth=2, after=True),
}


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
    with monkeypatch.context() as faulty:
        STEPS[step](faulty)
        with pytest.raises(StreamingQueryException, match="Crash"):
            drain(spark, repo, files_per_batch=1)
    drain(spark, repo, files_per_batch=1)
    assert faults.bits(repo) == expected
    found = faults.counts(repo)
    assert (found["rows_read"], found["dead_letter"]) == (len(poisoned), 2 * len(POISON))
    assert found["accepted"] == sum(faults.ids(repo).values())
    dead = ds.dataset([str(f) for f in repo.storage(SOURCE).folder("dead").rglob("*.parquet")])
    assert dead.count_rows() == 2 * len(POISON)


def test_a_large_batch_is_written_view_by_view_in_a_call_for_some_hundred_entities(
    spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, real, written = new_repo(), sink.send, []
    monkeypatch.setattr(sink, "FEW", -1)
    monkeypatch.setattr(sink, "send", lambda *args: written.append(real(*args)) or written[-1])
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
    with monkeypatch.context() as faulty:
        STEPS[step](faulty)
        with pytest.raises(StreamingQueryException, match="Crash"):
            drain(spark, repo, files_per_batch=1)
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
        begun = Entry(entry.query, entry.batch, entry.closed_through)
        (self.storage.folder("ledger") / f"{entry.name}.json").write_text(json.dumps(asdict(begun)))
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


def write(repo: Repo, fence: Fence, entity: str, *words: list[int]) -> int:
    """Append records of a product's views under a fence; answers how many keys were written."""
    view = repo.views["product_activity"]
    part = repo.part(view, "n1")
    target = Target(repo.redis_address, repo.project, {view.name: part}, fence)
    rows = pa.record_batch([[view.name] * len(words), ["2026-03-01"] * len(words), [entity] * len(words), list(words)],
                           ["view", "arrival_day", "entity", "words"])  # fmt: skip
    [answer] = target.write([rows])
    return answer["parts"][0].as_py()


def test_a_write_with_an_older_or_equal_fence_is_skipped_and_a_newer_one_lands(calm: Repo) -> None:
    record = [7] * layout(calm.views["product_activity"]).width
    trail = [(2, 5, 1), (2, 5, 0), (2, 4, 0), (1, 9, 0), (1, 2**40, 0), (2, 6, 1), (3, 0, 1), (2, 7, 0), (3, 0, 0)]
    done = [write(calm, Fence(query, batch), "fenced", record) for query, batch, _ in trail]
    assert done == [expected for *_, expected in trail]
    [key] = connect(calm.redis_address).keys("*}fenced")
    value = connect(calm.redis_address).getdel(key)
    assert layout(calm.views["product_activity"]).unpack(value).tolist() == [record] * sum(done)


def test_two_writers_of_one_manifest_do_not_undo_each_other(calm: Repo) -> None:
    """The stream makes an arrival day known; between its look at the manifest and its change, a night publishes."""
    client, nights = connect(calm.redis_address), []
    manifest.place(client, "other", "view", manifest.Manifest("n1"))

    def with_arrival_day(known: manifest.Manifest) -> manifest.Manifest:
        if not nights:
            nights.append(
                manifest.move(client, "other", "view", lambda p: p.at("2026-03-01", 0, "digest", "view_version"))
            )
        return known.with_arrival_days(["2026-03-01", "2026-03-02"])

    moved = manifest.move(client, "other", "view", with_arrival_day)
    assert moved == manifest.read(client, "other", "view")
    assert (moved.snapshot, moved.arrival_days, moved.digest) == ("2026-03-01", ("2026-03-02",), "digest")


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
    batches = [entry for entry in repo.storage(SOURCE).entries() if entry.rows_read]
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
    repo, whole, serve, calls = new_repo(), sink.send_few, Sink.serve, []
    faults.post(repo, LINES)
    folder = embedded_folder(repo.store.config)

    def interrupted(self: Sink, *args: Any) -> None:
        """At first half of the keys are written and Redis goes; the second time it is back."""
        calls.append(1)
        if len(calls) > 1:
            redis.ensure(folder)
            return serve(self, *args)
        with monkeypatch.context() as half:
            half.setattr(sink, "send_few", lambda few, *a: whole(half_of(few), *a))
            serve(self, *args)
        redis.stop(folder)
        raise RedisConnectionError("gone")

    monkeypatch.setattr(Sink, "serve", interrupted)
    drain(spark, repo)
    assert len(calls) > 1 and faults.bits(repo) == expected


def test_a_second_stream_on_one_checkpoint_is_refused(calm: Repo) -> None:
    storage = calm.storage(SOURCE)
    with storage.alone(), pytest.raises(StateError, match="another stream is running on this checkpoint"):
        storage.alone().__enter__()
    with storage.alone():
        pass


@pytest.mark.parametrize("lost", ["checkpoint", "checkpoint/generation", "checkpoint/query=1"])
def test_a_lost_checkpoint_is_refused_before_anything_is_read_twice(
    lost: str, spark: SparkSession, calm: Repo, tmp_path: Path
) -> None:
    folder = calm.root / SOURCE / lost
    before = faults.bits(calm)
    folder.rename(tmp_path / "lost")
    with pytest.raises(StateError, match="the checkpoint is gone but the log has its rows"):
        drain(spark, calm)
    assert faults.bits(calm) == before
    shutil.rmtree(folder, ignore_errors=True)
    (tmp_path / "lost").rename(folder)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (Kafka("localhost:9092", "shop_events"), "the topic shop_events"),
        (Kafka("localhost:9092", pattern="shop_.*"), "the topics shop_.*"),
    ],
)
def test_a_checkpoint_goes_on_only_with_what_it_was_made_from(other: Kafka, name: str, calm: Repo) -> None:
    storage = calm.storage(SOURCE)
    assert present(storage, Directory(calm.root).name) == present(storage, Directory(calm.folder).name)
    said = f"the checkpoint is of a stream that reads the files of a folder, and this one reads {name}. Read what"
    with pytest.raises(StateError, match=re.escape(said)):
        present(storage, other.name)


def test_an_old_checkpoint_whose_batches_hold_other_rows_is_refused(
    spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path
) -> None:
    repo = new_repo()
    checkpoint = repo.storage(SOURCE).folder("checkpoint")
    faults.post(repo, LINES[:10])
    drain(spark, repo)
    shutil.copytree(checkpoint, tmp_path / "backup")
    faults.post(repo, LINES[10:20])
    drain(spark, repo)
    shutil.rmtree(checkpoint)
    shutil.copytree(tmp_path / "backup", checkpoint)
    faults.post(repo, LINES[20:35])
    with pytest.raises(StreamingQueryException, match="the checkpoint is not the one the log was written with"):
        drain(spark, repo)
    assert faults.counts(repo)["rows_read"] == 20


def test_two_texts_with_one_code_stop_the_stream_until_one_is_changed(
    spark: SparkSession, new_repo: Callable[[], Repo], expected: tuple[Counter[Any], Counter[str]]
) -> None:
    repo = new_repo()
    client, texts = connect(repo.redis_address), keys.dictionary(repo.project)
    client.hset(texts, str(code("category_001")), "quite another text")
    faults.post(repo, LINES)
    with pytest.raises(StreamingQueryException, match="'quite another text' and 'category_001' have the same 64-bit"):
        drain(spark, repo)
    assert not any(entry.done for entry in repo.storage(SOURCE).entries())
    client.hdel(texts, str(code("category_001")))
    drain(spark, repo)
    assert faults.bits(repo) == expected


def test_two_new_texts_with_one_code_are_found_within_one_write(calm: Repo) -> None:
    one, other = "category_collide", "lhoxhzctDk89<U/%"
    assert code(one) == code(other)
    rows = pa.record_batch([[TEXTS] * 2, [""] * 2, [one, other], [[code(one)]] * 2],
                           ["view", "arrival_day", "entity", "words"])  # fmt: skip
    target = Target(calm.redis_address, calm.project, {}, Fence(9, 9))
    with pytest.raises(CollisionError, match="have the same 64-bit code"):
        list(target.write([rows]))
    connect(calm.redis_address).hdel(keys.dictionary(calm.project), str(code(one)))


@pytest.fixture
def redeclared(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path) -> Repo:
    """A repo with state, and then another meaning of a view's feature; the old registry is kept in `tmp_path`."""
    repo = new_repo()
    faults.post(repo, LINES[:300])
    drain(spark, repo)
    shutil.copy(repo.folder / "data/registry.db", tmp_path)
    declared = repo.folder / "product_activity.py"
    declared.write_text(declared.read_text().replace("'view_item'", "'purchase'"))
    repo.apply()
    return Repo(repo.folder)


def test_state_of_another_declaration_is_neither_read_nor_added_to_until_it_is_published_anew(
    spark: SparkSession, redeclared: Repo
) -> None:
    before, last = faults.stored(redeclared), redeclared.storage(SOURCE).arrival_days()[-1]
    with pytest.raises(StateError, match="view 'product_activity': the state was written for another declaration"):
        faults.values(redeclared, faults.log(redeclared))
    faults.post(redeclared, LINES[300:])
    with pytest.raises(StateError, match="the online store holds state of another declaration of a view"):
        drain(spark, redeclared)
    source = redeclared.sources[SOURCE]
    with pytest.raises(StateError, match=f"Its last day is {last}: run the night of that day, not of 2026-03-01"):
        nightly(spark, redeclared, source, date(2026, 3, 1))
    assert faults.stored(redeclared) == before

    nightly(spark, redeclared, source, date.fromisoformat(last))
    assert faults.misserved(redeclared, faults.log(redeclared)) == []
    drain(spark, redeclared)
    assert sum(faults.ids(redeclared).values()) == len(set(LINES_CONTENT))
    assert faults.misserved(redeclared, faults.log(redeclared)) == []


def test_after_a_refusal_the_old_declaration_can_still_go_on(
    spark: SparkSession, redeclared: Repo, tmp_path: Path, expected: tuple[Counter[Any], Counter[str]]
) -> None:
    faults.post(redeclared, LINES[300:])
    with pytest.raises(StateError, match="the online store holds state of another declaration of a view"):
        drain(spark, redeclared)
    shutil.copy(tmp_path / "registry.db", redeclared.folder / "data")
    repo = Repo(redeclared.folder)
    drain(spark, repo)
    assert faults.bits(repo) == expected


def test_a_part_with_records_of_another_layout_is_never_appended_to(calm: Repo) -> None:
    width = layout(calm.views["product_activity"]).width
    redis_, part = connect(calm.redis_address), keys.prefix(calm.project, "n1", "product_activity", "e2026-03-01")
    redis_.set(part + keys.tagged("foreign"), b"\1\0\0\0" + bytes(20))
    with pytest.raises(ResponseError, match="FOREIGN"):
        write(calm, Fence(9, 9), "foreign", [7] * width)
    [key] = redis_.keys("*}foreign")
    assert redis_.getdel(key) == b"\1\0\0\0" + bytes(20)
