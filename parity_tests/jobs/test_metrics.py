"""The stream's own numbers: each row once, the same by HTTP, in the file and in what `status --watch` shows."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import generate_latest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from redis import ConnectionError as RedisConnectionError
from rich.console import Console

import dualpath.jobs.stream
from dualpath.console.live import ARRIVAL_AGE, EVENT_AGE, Reading, Watch, read
from dualpath.errors import UnavailableError
from dualpath.jobs.build import build
from dualpath.jobs.histogram import EDGES
from dualpath.jobs.metrics import FILE, Meter, Metrics
from dualpath.jobs.sink import Sink
from dualpath.jobs.stream import start
from dualpath.log.accounts import Entry
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.prometheus import exposed
from dualpath.sources.directory import Directory
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run_json

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
LINES = [*faults.payloads(faults.events()), b"no event"]


class Twice(Sink):
    """Lands every batch, and again as after a crash before Spark's commit."""

    def land(self, batch: DataFrame, number: int) -> None:
        super().land(batch, number)
        super().land(batch, number)


@dataclass(frozen=True)
class Streamed:
    """A repo after a stream, and what was measured."""

    repo: Repo
    metrics: Metrics
    reading: Reading


@pytest.fixture(scope="module")
def streamed(spark: SparkSession, new_repo: Callable[[], Repo]) -> Streamed:
    repo, metrics = new_repo(), Metrics()
    storage = repo.storage(SOURCE)
    faults.post(repo, LINES, files=2)
    landing = Directory(storage.folder("landing"), files_per_batch=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dualpath.jobs.stream, "Sink", Twice)
        start(spark, repo, repo.sources[SOURCE], landing, metrics=metrics).awaitTermination()

    def reported() -> Reading | None:
        found = read(storage)
        ended = found.by("phase", "dualpath_batch_phase_seconds_count").get("triggerExecution") if found else 0
        return found if ended == len(logged.entries(storage)) else None

    return Streamed(repo, metrics, faults.until(reported))


def test_every_row_counts_once_though_its_batch_was_landed_again(streamed: Streamed) -> None:
    found, counts = streamed.reading, faults.counts(streamed.repo)
    outcomes = found.by("outcome", "dualpath_rows_total")
    assert outcomes == {name: counts[name] for name in ("accepted", "duplicate", "dead_letter")} | {"skipped": 0}
    assert sum(outcomes.values()) == len(LINES)
    assert found.value("dualpath_late_rows_total") == counts["late"] > 0
    assert found.value("dualpath_state_rows") == counts["accepted"]
    assert found.value("dualpath_spark_input_rows_total") >= len(LINES)
    stored = sum(faults.records(streamed.repo).values())
    assert (
        sum(n for view, n in found.by("view", "dualpath_records_total").items() if view in streamed.repo.views)
        == stored
    )
    assert all(n > 0 for n in found.by("view", "dualpath_redis_write_seconds_total").values())


def test_ages_are_those_of_the_log_at_the_acknowledgement(streamed: Streamed) -> None:
    """The fixture's batches are acknowledged within minutes, so ages of days must fall into the buckets of now."""
    log = faults.log(streamed.repo)
    for name, column in ((EVENT_AGE, "event_time"), (ARRIVAL_AGE, "arrival_time")):
        assert streamed.reading.value(f"{name}_count") == len(log)
        now = streamed.reading.value("dualpath_reported_timestamp_seconds")
        mean = now - float(np.mean(log[column].cast(pa.int64()).to_numpy())) / 1e6
        assert streamed.reading.value(f"{name}_sum") / len(log) == pytest.approx(mean, abs=300)
    newest = max(log["arrival_time"].to_pylist()).timestamp()
    assert streamed.reading.value("dualpath_newest_arrival_timestamp_seconds") == newest


def test_a_whole_array_of_ages_falls_into_the_buckets_of_its_values() -> None:
    metrics, ages = Metrics(), np.array([-1, 0, 0.01, 0.011, 0.3, 4, 86_400, 1e6])
    metrics.event_age.labels("s").observe_many(ages[:3])
    metrics.event_age.labels("s").observe_many(ages[3:])
    [family] = metrics.event_age.collect()
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    naive = [sum(age <= edge for age in ages) for edge in (*EDGES, float("inf"))]
    assert list(buckets.values()) == naive
    assert list(map(float, buckets)) == [*EDGES, float("inf")]


COUNTED = """
import os
from pathlib import Path
import feast
from dualpath.jobs.metrics import Metrics
Metrics().batches.labels("s").inc()
metrics = Metrics()
metrics.batches.labels("s").inc()
print(metrics.registry.get_sample_value("dualpath_batches_total", {"source": "s"}))
files = list(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir())
print(len(files) > 0, any(b"dualpath" in file.read_bytes() for file in files))
"""


@pytest.mark.parametrize("inherited", [True, False])
def test_numbers_begin_at_zero_and_in_no_file_though_feast_was_imported_first(inherited: bool, tmp_path: Path) -> None:
    """Feast sets the variable, here or in a parent process, with which prometheus_client keeps numbers in files."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
    env |= {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if inherited else {}
    said = subprocess.run([sys.executable, "-c", COUNTED], env=env, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["1.0", "True False"]  # the files are of Feast's own numbers


def test_metrics_are_served_over_http_until_the_stream_ends(streamed: Streamed) -> None:
    with exposed(streamed.metrics.registry, 0) as port:
        served = urlopen(f"http://127.0.0.1:{port}/metrics").read()
        assert served == generate_latest(streamed.metrics.registry)
        with pytest.raises(UnavailableError, match=f"the metrics cannot be served on port {port}"):
            exposed(streamed.metrics.registry, port).__enter__()
    with pytest.raises(OSError):
        urlopen(f"http://127.0.0.1:{port}/metrics")


def test_a_redis_that_is_away_shows_until_it_answers(streamed: Streamed, tmp_path: Path) -> None:
    metrics, seen = Metrics(), []
    meter = Meter(metrics, SOURCE, tmp_path / FILE)
    sink = Sink(streamed.repo, streamed.repo.sources[SOURCE], 1, meter)

    def step() -> None:
        seen.append(metrics.registry.get_sample_value("dualpath_redis_away", {"source": SOURCE}))
        if len(seen) < 3:
            raise RedisConnectionError("gone")

    sink.patiently(step)
    assert seen == [0, 1, 1]
    assert metrics.registry.get_sample_value("dualpath_redis_away", {"source": SOURCE}) == 0
    assert metrics.registry.get_sample_value("dualpath_redis_retries_total", {"source": SOURCE}) == 2


REPORT: dict[str, Any] = {
    "numInputRows": 100,
    "processedRowsPerSecond": 50.0,
    "durationMs": {"addBatch": 300, "triggerExecution": 400},
    "sources": [{"endOffset": {"t": {"0": 5, "1": 9}}, "latestOffset": {"t": {"0": 25, "1": 10, "2": 4}}}],
}


def test_rows_that_kafka_still_has_are_the_lag_until_the_stream_is_idle(tmp_path: Path) -> None:
    metrics, log = Metrics(), tmp_path / "log"
    meter = Meter(metrics, "s", tmp_path / FILE, clock=lambda: NOON.timestamp())

    def lag() -> list[float | None]:
        names = ("lag_rows", "lag_rows_of_a_partition", "lag_seconds")
        return [metrics.registry.get_sample_value(f"dualpath_{name}", {"source": "s"}) for name in names]

    meter.progress(REPORT)
    assert lag() == [21, 20, pytest.approx(np.nan, nan_ok=True)]  # nothing is servable yet
    times = pa.array([NOON - timedelta(minutes=2), NOON - timedelta(minutes=3)], pa.timestamp("us", "UTC"))
    log.mkdir()
    pq.write_table(pa.table({"event_time": times, "arrival_time": times}), log / "a.parquet")
    meter.landed(Entry(1, 0, accepted=2), [str(log / "a.parquet")])
    meter.progress(REPORT)
    assert lag() == [21, 20, 120]
    meter.idle()
    assert lag() == [0, 0, 0]


def written(repo: Repo, metrics: Metrics, at: float) -> Meter:
    """A meter of a repo that never streamed, whose clock stands."""
    return Meter(metrics, SOURCE, repo.storage(SOURCE).folder("ledger") / FILE, clock=lambda: at)


def frame(watch: Watch, at: float) -> str:
    console = Console(width=100, file=StringIO())
    console.print(watch.frame(at))
    return console.file.getvalue()


def test_a_frame_shows_the_last_minute_of_a_stream(new_repo: Callable[[], Repo], tmp_path: Path) -> None:
    repo, metrics = new_repo(), Metrics()
    watch = Watch(repo)
    assert "No stream of this repo has run yet" in frame(watch, 0)
    meter = written(repo, metrics, 1_000)
    meter.landed(Entry(1, 0, dead_letter=5, late=1, latest_by=7_200_000_000), [])
    metrics.arrival_age.labels(SOURCE).observe_many(np.full(100, 3.0))
    meter.progress(REPORT)
    assert "servable after" in frame(watch, 1_001)
    meter.clock = lambda: 1_010
    metrics.arrival_age.labels(SOURCE).observe_many(np.full(100, 0.45))
    meter.landed(Entry(1, 0, dead_letter=20), [])
    meter.remembers(100_000)
    meter.progress(REPORT)
    shown = " ".join(frame(watch, 1_010).split())
    assert "stream 2 batches in 10.0 s redis answers rows/s 2 lag 21 rows, - newest arrival none yet" in shown
    assert "state 100,000 ids, 2 MiB" in shown
    assert "25 0 0 25 0 1 0 2.0 h" in shown
    assert "event time - - arrival time 450 ms 499 ms" in shown
    assert "triggerExecution 400 ms addBatch 300 ms" in shown
    meter.waiting()
    assert "redis AWAY; the stream waits for it" in " ".join(frame(watch, 1_011).split())
    assert "silent for 1.5 min" in frame(watch, 1_100)
    assert run_json("status", "--repo", repo.folder)["streams"][SOURCE]["redis_away"] == 1


def test_a_stream_that_was_started_again_is_shown_from_its_start(new_repo: Callable[[], Repo], tmp_path: Path) -> None:
    repo = new_repo()
    watch = Watch(repo)
    written(repo, Metrics(), 1_000).landed(Entry(1, 0, dead_letter=500), [])
    frame(watch, 1_000)
    again = written(repo, Metrics(), 1_020)
    again.clock = lambda: 1_022
    again.landed(Entry(1, 0, dead_letter=10), [])
    assert "rows/s 5 " in " ".join(frame(watch, 1_022).split())


def test_watching_for_a_program_is_refused(new_repo: Callable[[], Repo]) -> None:
    said = run_json("status", "--watch", "--repo", new_repo().folder, code=1)["error"]
    assert said == "--watch is for people and --json for programs; leave one of them out."


RECENT = """
from entities import user
from sources import shop_events

from dualpath.aggregates import Count, Last
from dualpath.declare import feature, feature_view
from dualpath.windows import days, hours

recent = feature_view(
    "recent",
    entity=user,
    source=shop_events,
    features=[
        feature("actions_1h", Count(), over=hours(1)),
        feature("actions_2d", Count(), over=days(2)),
        feature("last_2d", Last("action"), over=days(2)),
    ],
)
"""


@pytest.fixture(scope="module")
def forgetful(spark: SparkSession, applied: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """A repo of one view, which looks back two days, and an online store with a lookback of one hour.

    It has streamed, at noon, events of `ann` from now to four days ago and events of `bob` that are all out of reach.
    """
    folder = tmp_path_factory.mktemp("forgetful") / "feature_repo"
    shutil.copytree(applied, folder, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for name in ("engagement", "product_activity", "services", "user_activity", "user_orders"):
        (folder / f"{name}.py").unlink()
    (folder / "recent.py").write_text(RECENT)
    settings = folder / "feature_store.yaml"
    settings.write_text(settings.read_text().replace("online_lookback_seconds: null", "online_lookback_seconds: 3600"))
    repo = Repo(folder)
    repo.apply()
    ages = {"ann": (0, 1, 40, 49, 49.5, 60, 96), "bob": (49.25, 50)}
    events = [
        {"user_id": user, "action": f"a{age}", "event_time": (NOON - timedelta(hours=age)).isoformat()}
        for user, each in ages.items()
        for age in each
    ]
    faults.post(repo, [json.dumps(each | {"arrival_time": NOON.isoformat()}).encode() for each in events])
    landing, clock = Directory(repo.storage(SOURCE).folder("landing")), F.lit(NOON)
    try:
        start(spark, repo, repo.sources[SOURCE], landing, clock=clock).awaitTermination()
        build(spark, repo, repo.sources[SOURCE])
        yield repo
    finally:
        redis.stop(embedded_folder(repo.store.config))


def test_events_that_no_window_reaches_are_logged_and_counted_but_not_served(forgetful: Repo) -> None:
    [entry] = [each for each in logged.entries(forgetful.storage(SOURCE)) if each.rows_read]
    assert (entry.rows_read, entry.accepted, entry.out_of_retention) == (9, 9, 6)
    assert len(faults.log(forgetful)) == 9
    assert Counter(entity for _, entity, *_ in faults.records(forgetful).elements()) == {"ann": 3}
    said = run_json("status", "--repo", forgetful.folder)
    assert (said["out_of_retention"], said["adds_up"]) == (6, True)
    assert read(forgetful.storage(SOURCE)).value("dualpath_out_of_retention_rows_total") == 6


def test_values_without_the_events_that_no_window_reaches_are_those_of_training(forgetful: Repo) -> None:
    instants = [NOON - timedelta(hours=1), NOON - timedelta(minutes=30), NOON, NOON + timedelta(days=1)]
    asked = [{"user_id": user, "event_timestamp": at} for user in ("ann", "bob") for at in instants]
    features = ["recent:actions_1h", "recent:actions_2d", "recent:last_2d"]
    forgetful.store._get_provider().online_store.clock = lambda: int(NOON.timestamp()) * 1_000_000
    served = forgetful.store.get_online_features(features, asked).to_dict()
    trained = forgetful.store.get_historical_features(pd.DataFrame(asked), features).to_df()
    trained = trained.set_index(["user_id", "event_timestamp"]).loc[[tuple(row.values()) for row in asked]]
    for name in ("actions_1h", "actions_2d", "last_2d"):
        assert served[name] == [None if pd.isna(v) else v for v in trained[name]]
    assert served["actions_2d"] == [2, 2, 3, 2, 0, 0, 0, 0]


def test_where_a_view_remembers_everything_nothing_is_out_of_reach(streamed: Streamed) -> None:
    assert streamed.repo.retention(*streamed.repo.views_of(SOURCE)) is None
    assert streamed.reading.value("dualpath_out_of_retention_rows_total") == 0
