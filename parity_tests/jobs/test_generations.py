"""A new generation goes on from the log: after a lost checkpoint, days later, and under new declarations."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.console.stream import new_generation
from dualpath.errors import StateError
from dualpath.jobs import rebuild
from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.sources.directory import Directory
from dualpath.steps import Step
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.shop import PIECES, whole
from parity_tests.jobs.stream import LINES

START = datetime(2026, 11, 1, tzinfo=UTC)


def run(spark: SparkSession, repo: Repo, at: datetime = START) -> None:
    """The stream to the end of what has landed, by a clock that stands still."""
    landing = Directory(repo.storage(SOURCE).folder("landing"), 1)
    start(spark, repo, repo.sources[SOURCE], landing, clock=F.lit(at)).awaitTermination()


def outcomes(repo: Repo) -> tuple[int, int, int]:
    found = faults.counts(repo)
    return found["rows_read"], found["accepted"], found["duplicate"]


@pytest.mark.parametrize("unfinished", [None, Step.STAGE, Step.SERVE])
def test_after_a_lost_checkpoint_the_next_generation_goes_on_without_a_gap_or_a_double(
    unfinished: Step | None, spark: SparkSession, saved_shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the last batch was cut off before its rows were in the log, or after."""
    if unfinished:
        faults.post(saved_shop, PIECES[-1])
        with monkeypatch.context() as faulty:
            faults.crash_at(faulty, unfinished)
            with pytest.raises(StreamingQueryException, match="Crash"):
                drain(spark, saved_shop)
    shutil.rmtree(saved_shop.storage(SOURCE).folder("checkpoint") / "query=1")
    with pytest.raises(StateError, match=r"the checkpoint is gone .* Start with `dualpath stream --from-snapshot`"):
        drain(spark, saved_shop)
    new_generation(spark, saved_shop, saved_shop.sources[SOURCE])
    if not unfinished:
        faults.post(saved_shop, PIECES[-1])
    drain(spark, saved_shop)
    whole(spark, saved_shop)
    faults.post(saved_shop, PIECES[0])
    drain(spark, saved_shop)
    whole(spark, saved_shop, len(LINES) + len(PIECES[0]))
    assert {e.query for e in logged.entries(saved_shop.storage(SOURCE))} == {1, 2}


def test_an_event_that_comes_again_is_a_duplicate_for_a_day_whatever_generation_took_it(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo, day = new_repo(), timedelta(days=1)
    faults.post(repo, PIECES[0])
    run(spark, repo)
    rows, accepted, duplicate = outcomes(repo)
    for generation, after in ((2, timedelta(hours=1)), (3, day - timedelta(microseconds=1))):
        new_generation(spark, repo, repo.sources[SOURCE])
        faults.post(repo, PIECES[0])
        run(spark, repo, START + after)
        assert outcomes(repo) == (generation * rows, accepted, duplicate + (generation - 1) * rows)
        whole(spark, repo, generation * rows)
    faults.post(repo, PIECES[0])
    run(spark, repo, START + day)
    assert outcomes(repo) == (4 * rows, 2 * accepted, 2 * (duplicate + rows))


NEW = """        feature("actions_2h", Count(), over=hours(2)),
        feature("last_action", Last("action"), over=hours(2)),
"""


@pytest.fixture
def redeclared(saved_shop: Repo, tmp_path: Path) -> Repo:
    """The same store and log under declarations with two features more."""
    folder = tmp_path / "feature_repo"
    shutil.copytree(saved_shop.folder, folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
    settings = folder / "feature_store.yaml"
    text = settings.read_text().replace('connection_string: ""', f'connection_string: "{saved_shop.redis_address}"')
    settings.write_text(text.replace("  path: data", f"  path: {saved_shop.root}"))
    declared = folder / "user_activity.py"
    declared.write_text(
        declared.read_text().replace('        feature("actions_30min"', NEW + '        feature("actions_30min"')
    )
    declared.write_text(declared.read_text().replace("import Count", "import Count, Last"))
    Repo(folder).apply()
    return Repo(folder)


def test_a_new_feature_is_filled_from_the_log_while_the_old_ones_are_served(
    spark: SparkSession, saved_shop: Repo, redeclared: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, source = faults.log(saved_shop), redeclared.sources[SOURCE]
    before, watched = faults.values(saved_shop, known), []
    with pytest.raises(StateError, match=r"holds state of another declaration of a view; .*--from-snapshot"):
        drain(spark, redeclared)
    real = rebuild.write

    def watch(*args: Any) -> Any:
        done = real(*args)
        watched.append(faults.values(saved_shop, known))
        return done

    with monkeypatch.context() as faulty:
        faulty.setattr(rebuild, "write", watch)
        faults.crash_at(faulty, Step.ADVANCE_MARK)
        with pytest.raises(faults.Crash):
            new_generation(spark, redeclared, source)
    # The one before can still go on, and then the next one after all.
    faults.post(saved_shop, PIECES[-1][:50])
    drain(spark, saved_shop)
    assert watched == [before]
    new_generation(spark, redeclared, source)
    faults.post(saved_shop, PIECES[-1][50:])
    drain(spark, redeclared)
    assert "user_activity:last_action" in faults.values(redeclared, known)
    whole(spark, redeclared)
    with pytest.raises(StateError, match="the state was written for another declaration"):
        faults.values(saved_shop, known)
