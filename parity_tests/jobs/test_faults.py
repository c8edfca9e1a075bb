"""Processes that are killed, and tasks that fail: the stream as it is run, ended by the system and not by a test.

What of the rest has a test: see the table in docs/operations.md.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs import sink
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.online import keys
from dualpath.online.connection import connect
from dualpath.parity.views import serve, train, view_groups
from dualpath.repo import Repo
from dualpath.steps import Step
from parity_tests import crash, faults, invariants, logged
from parity_tests.conftest import CHECKOUT, SOURCE, drain
from parity_tests.console.commands import run_json
from parity_tests.fault_injection import FAILURE, WORKER, Fault, targets, writers

LINES = faults.payloads(faults.events())
POISON = [b"hello", b'{"user_id": "ann"', b'{"action":"x"}']


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_driver_that_is_killed_at_every_step_of_a_batch_leaves_no_trace(
    spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path
) -> None:
    """A process has a stream of each repo, and is killed when each stands still at a step of its own. The next one goes
    on after it, and gets files more to read."""
    steps = [*crash.STEPS]
    kills = steps[:6], steps[6:]
    repos, lines = [new_repo() for _ in kills[0]], np.array_split(np.array(LINES, dtype=object), len(kills))
    for number, (kill, piece) in enumerate(zip(kills, lines, strict=True)):
        words = []
        for step, repo in zip(kill, repos, strict=True):
            faults.post(repo, [*piece, *POISON])
            words += [step, str(repo.folder)]
        (folder := tmp_path / str(number)).mkdir()
        # Tasks take turns: a second worker would import all that the first one has, for batches of two tasks.
        line = [sys.executable, "-m", "parity_tests.crash", str(folder), *words]
        ended = subprocess.run(
            line, capture_output=True, text=True, cwd=CHECKOUT, env=os.environ | {"SPARK_MASTER": "local[1,4]"}
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert len([*folder.glob("*/0")]) == len(kill)
    for repo in repos:
        drain(spark, repo)
        assert invariants.violations(spark, repo, LINES, POISON * len(kills)) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_two_streams_that_are_started_by_mistake_the_second_refuses_and_the_first_goes_on(
    spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is another process, and comes when the first is in its batch."""
    repo, words, said = new_repo(), ["stream", "--once", "--files-per-batch", "1", "--json"], []
    faults.post(repo, LINES)

    def second() -> None:
        line = [sys.executable, "-m", "dualpath.cli", *words, "--repo", str(repo.folder)]
        ended = subprocess.run(line, capture_output=True, text=True, cwd=CHECKOUT, timeout=300)
        said.append((ended.returncode, json.loads(ended.stdout)["error"]))

    with monkeypatch.context() as patch:
        faults.crash_at(patch, Step.SERVE, fault=second)
        first = run_json(*words[:-1], "--repo", repo.folder)
    assert first["sources"][SOURCE]["rows_read"] == len(LINES)
    assert said == [(1, f"source '{SOURCE}': another stream is running on this checkpoint; stop it first.")]
    assert invariants.violations(spark, repo, LINES) == []


@pytest.mark.parametrize(("kind", "times"), [(WORKER, 1), (FAILURE, 2)])
@pytest.mark.parametrize("work", ["its rows", "a write to Redis"])
def test_a_task_that_dies_in_the_middle_of_its_work_is_tried_again_and_nothing_counts_twice(
    work: str,
    kind: str,
    times: int,
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Python worker is killed half-way through the rows of a batch, or with half of its records in Redis; and a task
    fails there twice before it succeeds."""
    repo, fault = new_repo(), Fault(tmp_path, kind, times)
    faults.post(repo, [*LINES[:300], *POISON])
    monkeypatch.setattr(sink, "SMALL_BATCH", -1)
    if work == "its rows":
        monkeypatch.setattr(sink, "StagingWriter", writers(fault))
    else:
        monkeypatch.setattr(sink, "FencedWrite", targets(fault))
    drain(spark, repo)
    assert len(list(tmp_path.iterdir())) == times
    assert invariants.violations(spark, repo, LINES[:300], POISON) == []
    assert not repo.storage(SOURCE).folder("staging").exists()
    # What the attempts that died have written is in no commit.
    assert bool(logged.uncommitted(repo.storage(SOURCE))) == (work == "its rows")


@pytest.mark.parametrize("after", ["with its data", "empty"])
def test_a_redis_that_is_killed_in_the_middle_of_a_batch_and_started_again_is_made_whole(
    after: str, spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = new_repo()
    faults.post(repo, LINES, files=3)
    with monkeypatch.context() as faulty:
        fault = lambda: faults.kill_redis(repo, kept=after == "with its data")  # noqa: E731
        faults.crash_at(faulty, Step.WRITE_RECORDS, nth=2, after=True, fault=fault)
        drain(spark, repo, files_per_batch=1)
    assert invariants.violations(spark, repo, LINES) == []


def test_a_redis_that_is_killed_between_two_runs_comes_back_with_every_write_it_acknowledged(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    faults.post(repo, LINES[:300])
    drain(spark, repo)
    before = faults.stored(repo)
    faults.kill_redis(repo, kept=True)
    assert faults.stored(repo) == before
    faults.post(repo, LINES[300:])
    drain(spark, repo)
    assert {found.namespace for _, found in keys.states(connect(repo.redis_address), "shop")} == {"n1"}
    assert invariants.violations(spark, repo, LINES) == []


def test_messages_that_come_up_to_three_times_within_ten_minutes_in_any_order_count_once(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo, sent = new_repo(), faults.redelivered(LINES, random.Random(11))
    faults.post(repo, sent, files=4)
    drain(spark, repo, files_per_batch=1)
    assert len(sent) > 1.8 * len(LINES)
    assert invariants.violations(spark, repo, sent) == []


def test_an_event_of_the_next_hour_is_accepted_and_counts_from_its_own_time_on_in_both_paths(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo, arrival = new_repo(), datetime(2026, 3, 2, 12, tzinfo=UTC)
    ahead = arrival + timedelta(hours=1)
    members = {"user_id": "ann", "action": "view_item", "product_id": "p", "category": "c"}
    times = {"arrival_time": arrival.isoformat(), "event_time": ahead.isoformat()}
    lines = [*LINES[:50], json.dumps(members | times).encode()]
    faults.post(repo, lines)
    drain(spark, repo)
    assert invariants.violations(spark, repo, lines) == []
    nightly(spark, repo, repo.sources[SOURCE], date(2026, 3, 2))
    assert invariants.violations(spark, repo, lines) == []
    moment = int(ahead.timestamp() * 1_000_000)
    as_of = np.array([moment - 3_600_000_000, moment - 1, moment, moment + 1_799_999_999, moment + 1_800_000_000])
    [group] = [f for f in view_groups(repo) if f.views[0].keys == ("user_id",)]
    build(spark, repo, repo.sources[SOURCE])
    for path in (serve, train):
        answer = path(repo, group, [pa.array(["ann"] * len(as_of))], as_of)
        assert answer["user_activity:actions_30min"] == [0, 0, 1, 1, 0]
