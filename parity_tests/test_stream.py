"""The stream under faults: every run, however disturbed, ends in the bits of an undisturbed one."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

import streaming.job
from dualpath.errors import CollisionError, StateError, UnavailableError
from dualpath.record import Fence, code, layout
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.storage import Entry, Storage
from dualpath.stores import keys, pointer
from dualpath.stores.append import TEXTS, Target
from dualpath.stores.connection import connect, embedded_folder
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from streaming import sink
from streaming.job import alone, start
from streaming.sink import Sink
from streaming.source import Directory

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


def test_the_fates_of_all_rows_add_up_to_the_rows_and_the_files_hold_exactly_them(
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


def half_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second batch reaches half of its keys, then the process dies."""
    whole, calls = sink.currency, []

    def half(*args: Any) -> DataFrame:
        calls.append(1)
        frame = whole(*args)
        return frame.where("pmod(xxhash64(entity), 2) = 0") if len(calls) == 2 else frame

    monkeypatch.setattr(sink, "currency", half)
    faults.crash(monkeypatch, Sink, "append", nth=2, after=True)


def half_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second batch's log is cut short."""
    real, calls = Sink.write, []

    def cut(self: Sink, rows: DataFrame, kind: str, entry: Entry, *partition: str) -> None:
        real(self, rows, kind, entry, *partition)
        calls.append(kind)
        if calls.count("log") == 2 and kind == "log":
            folder = self.storage.folder(kind) / entry.name
            (folder / "_SUCCESS").unlink()
            next(folder.rglob("*.parquet")).unlink()
            raise faults.Crash("half of the log")

    monkeypatch.setattr(Sink, "write", cut)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "after the beginning": lambda m: faults.crash(m, Storage, "begin", nth=2, after=True),
    "before Redis": lambda m: faults.crash(m, Sink, "append", nth=2),
    "with half of the keys in Redis": half_of_the_keys,
    "after Redis": lambda m: faults.crash(m, Sink, "serve", nth=2, after=True),
    "with half of the log": half_of_the_files,
    "after the log": lambda m: faults.crash(m, Sink, "write", nth=3, after=True),
    "after the dead letters": lambda m: faults.crash(m, Sink, "write", nth=4, after=True),
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
