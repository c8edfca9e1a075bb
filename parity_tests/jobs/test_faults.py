"""Processes that are killed, and tasks that fail: the stream as it is run, ended by the system and not by a test.

What of the rest has a test: see the table in docs/operations.md.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from parity_tests.crash import PAUSE
from parity_tests.fault_injection import FAILURE, WORKER, Fault, targets, writers

LINES = faults.payloads(faults.events())
POISON = [b"hello", b'{"user_id": "ann"', b'{"action":"x"}']
KILLS = [step for step in crash.STEPS if step != PAUSE]


def command(program: str, *words: str | Path, **environ: str) -> subprocess.Popen[str]:
    """`python -m` something, from the checkout."""
    line = [sys.executable, "-m", program, *map(str, words)]
    out = subprocess.PIPE
    return subprocess.Popen(line, stdout=out, stderr=out, text=True, cwd=CHECKOUT, env=os.environ | environ)


def stream(repo: Repo, step: str, folder: Path) -> subprocess.Popen[str]:
    """`dualpath stream --once`, a file a batch, as a process of its own that crashes at a step.

    Its tasks take turns: a second worker would import all that the first one has, for a batch of two tasks.
    """
    folder.mkdir()
    words = ("stream", "--once", "--files-per-batch", "1", "--repo", repo.folder)
    return command("parity_tests.crash", step, folder, *words, SPARK_MASTER="local[1,4]")


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_driver_that_is_killed_at_every_step_of_a_batch_leaves_no_trace(
    spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path
) -> None:
    """Each process goes on after the one that was killed before it, and gets a file more to read. Starting one takes
    many seconds of one core, so two repos have half of the steps each, side by side."""
    halves = KILLS[::2], KILLS[1::2]
    repos = [new_repo() for _ in halves]

    def killed(repo: Repo, steps: Sequence[str]) -> None:
        for step, piece in zip(steps, np.array_split(np.array(LINES, dtype=object), len(steps)), strict=True):
            faults.post(repo, [*piece, *POISON])
            process = stream(repo, step, tmp_path / step)
            assert process.wait(600) == -signal.SIGKILL, (step, process.stderr)

    with ThreadPoolExecutor() as pool:
        list(pool.map(killed, repos, halves))
    for repo, steps in zip(repos, halves, strict=True):
        drain(spark, repo)
        assert invariants.violations(spark, repo, LINES, POISON * len(steps)) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_two_streams_that_are_started_by_mistake_the_second_refuses_and_the_first_goes_on(
    spark: SparkSession, new_repo: Callable[[], Repo], tmp_path: Path
) -> None:
    repo, folder = new_repo(), tmp_path / "first"
    faults.post(repo, LINES)
    os.mkfifo(tmp_path / "pause")
    first = stream(repo, PAUSE, folder)
    (tmp_path / "pause").rename(folder / "pause")
    with (folder / "pause").open("w"):  # opens when the first stream is in its batch
        second = command("dualpath.cli", "stream", "--once", "--repo", repo.folder, "--json")
        said, _ = second.communicate(timeout=300)
    assert second.returncode == 1
    assert "another stream is running on this checkpoint; stop it first" in json.loads(said)["error"]
    assert first.wait(300) == 0
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
