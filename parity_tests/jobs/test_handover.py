"""State that was lost, or is of yesterday's code, comes back from the log: whole, counted once, and never half read."""

import os
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.console import status
from dualpath.console.stream import new_generation
from dualpath.errors import StateError, UnavailableError
from dualpath.jobs import rebuild, sink
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.log import audit
from dualpath.online import high_water_mark, keys, manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from dualpath.steps import Step
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.stream import leave_out_half
from parity_tests.saved import Saved

LINES = faults.payloads(faults.events())
PIECES = [LINES[i : i + 200] for i in range(0, len(LINES), 200)]
DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def evening(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A repo whose stream has read all but the last piece."""
    repo = new_repo()
    for piece in PIECES[:-1]:
        faults.post(repo, piece)
    drain(spark, repo)
    return Saved(repo, tmp_path_factory.mktemp("evening"))


@pytest.fixture(scope="module")
def morning(spark: SparkSession, evening: Saved, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The same after a night."""
    repo = evening.again()
    nightly(spark, repo, repo.sources[SOURCE], DAY_1)
    return Saved(repo, tmp_path_factory.mktemp("morning"))


@pytest.fixture(params=["evening", "morning"], ids=["without a snapshot", "with a snapshot"])
def shop(request: pytest.FixtureRequest) -> Repo:
    """A repo whose stream has read all but the last piece, before and after a night."""
    return request.getfixturevalue(request.param).again()


def read(repo: Repo) -> Any:
    return repo.store.get_online_features(["user_activity:actions_30min"], [{"user_id": "user_000000"}]).to_dict()


def whole(spark: SparkSession, repo: Repo, lines: int = len(LINES)) -> None:
    """Every row has one outcome, the log holds every event once, and served is trained is the oracle's."""
    found = faults.counts(repo)
    assert found["rows_read"] == lines == found["accepted"] + found["duplicate"] + found["dead_letter"]
    assert max(faults.ids(repo).values()) == 1 and sum(faults.ids(repo).values()) == found["accepted"]
    assert audit.faults(repo.storage(SOURCE), repo.storage(SOURCE).accounts(), opened=True) == []
    assert online(repo) == "whole"
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=2_000, oracle_cells=200)
    assert proof.passed, proof.examples


def online(repo: Repo) -> str:
    return status.report(repo).data["online_store"][SOURCE]


def test_an_emptied_redis_is_refused_by_readers_and_rebuilt_by_the_next_batch(
    spark: SparkSession, shop: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    read(shop)
    connect(shop.redis_address).flushall()
    assert online(shop) == "lost"
    for reader in (shop, Repo(shop.folder)):
        with pytest.raises(StateError, match="the online store has no state, because nothing was streamed yet or"):
            read(reader)
    with pytest.raises(StateError, match="the online store has lost writes; `dualpath stream` rebuilds it"):
        nightly(spark, shop, shop.sources[SOURCE], DAY_2)
    faults.post(shop, PIECES[-1])
    drain(spark, shop)
    assert "Redis has lost writes; rebuilding its state as n2" in caplog.text
    whole(spark, shop)
    nightly(spark, shop, shop.sources[SOURCE], DAY_2)
    whole(spark, shop)


def test_a_redis_that_comes_back_with_an_older_dump_is_noticed_and_rebuilt(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    folder = embedded_folder(repo.store.config)
    dump, kept = folder / "appendonly.aof", folder / "kept.aof"
    faults.post(repo, PIECES[0])
    drain(spark, repo)
    redis.stop(folder)
    shutil.copy(dump, kept)
    redis.ensure(folder)
    faults.post(repo, PIECES[1])
    drain(spark, repo)
    read(repo)

    os.kill(connect(repo.redis_address).info()["process_id"], signal.SIGKILL)
    faults.until(lambda: redis.running(folder) is None)
    shutil.copy(kept, dump)
    assert redis.ensure(folder) == repo.redis_address
    assert manifest.read(connect(repo.redis_address), repo.project, "user_activity") is not None
    assert online(repo) == "lost"
    with pytest.raises(StateError, match="the online store has lost writes that were served before"):
        read(repo)
    for piece in PIECES[2:]:
        faults.post(repo, piece)
    drain(spark, repo)
    read(repo)
    whole(spark, repo)


def half_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild reaches half of its keys, then the process dies."""
    leave_out_half(monkeypatch, rebuild, "record_rows")
    faults.crash_at(monkeypatch, Step.REBUILD_RECORDS, after=True)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "with nothing written": lambda m: faults.crash_at(m, Step.REBUILD_RECORDS),
    "with half of the keys written": half_of_the_keys,
    "before the high-water mark": lambda m: faults.crash_at(m, Step.ADVANCE_MARK),
    "before the manifests": lambda m: faults.crash_at(m, Step.ADVANCE_MARK, after=True),
    # Each view's manifest is placed twice: while its state is rebuilt, and when it is.
    "between two manifests": lambda m: faults.crash_at(m, Step.PLACE_MANIFEST, nth=5),
    "before the old parts go": lambda m: faults.crash_at(m, Step.EXPIRE_SUPERSEDED),
}


@pytest.fixture(scope="module")
def begun(spark: SparkSession, new_repo: Callable[[], Repo], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A repo whose stream has read the first piece."""
    repo = new_repo()
    faults.post(repo, PIECES[0])
    drain(spark, repo)
    return Saved(repo, tmp_path_factory.mktemp("begun"))


@pytest.mark.parametrize("step", STEPS)
def test_a_rebuild_that_dies_is_done_again_and_readers_never_see_half_of_it(
    step: str, spark: SparkSession, begun: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = begun.again()
    before = faults.values(repo, faults.log(repo))
    connect(repo.redis_address).flushall()
    with monkeypatch.context() as faulty:
        STEPS[step](faulty)
        with pytest.raises(faults.Crash):
            drain(spark, repo)
    if step == "before the old parts go":
        assert faults.values(Repo(repo.folder), faults.log(repo)) == before
    else:
        assert online(repo) == "rebuilding"
        with pytest.raises(StateError, match="is being rebuilt"):
            faults.values(Repo(repo.folder), faults.log(repo))
    drain(spark, repo)
    assert online(repo) == "whole"
    assert faults.values(repo, faults.log(repo)) == before


def test_writes_that_are_lost_in_the_middle_of_a_batch_are_written_again(
    spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once Redis is emptied between a batch's records and its high-water mark, once it is started again there."""
    repo, real, calls = new_repo(), sink.write_small_batch, []
    client = connect(repo.redis_address)

    def faulty_step(*args: Any) -> Any:
        calls.append(1)
        done = real(*args)
        if len(calls) == 2:
            client.flushall()
        if len(calls) == 4:
            faults.kill_redis(repo)
        return done

    monkeypatch.setattr(sink, "write_small_batch", faulty_step)
    for piece in PIECES:
        faults.post(repo, piece)
    drain(spark, repo, files_per_batch=1)
    assert len(calls) > len(PIECES) + 1
    whole(spark, repo)


@pytest.fixture
def dumped(evening: Saved, tmp_path: Path) -> tuple[Repo, Path]:
    """A repo that has read all but the last piece, and a copy of what its Redis has on disk."""
    repo = evening.again()
    return repo, shutil.copy(embedded_folder(repo.store.config) / "appendonly.aof", tmp_path / "dump")


def test_a_high_water_mark_is_not_moved_on_in_a_redis_that_came_back_without_the_batchs_records(
    spark: SparkSession, dumped: tuple[Repo, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older dump has the high-water mark of the batch before, which is the one that is expected."""
    repo, dump = dumped
    faults.post(repo, PIECES[-1])
    with monkeypatch.context() as faulty:
        faults.crash_at(faulty, Step.ADVANCE_MARK, fault=lambda: faults.kill_redis(repo, dump=dump))
        drain(spark, repo)
    whole(spark, repo)


def test_a_rebuild_is_done_again_if_its_records_are_lost_before_its_high_water_mark(
    spark: SparkSession, dumped: tuple[Repo, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once Redis is started again empty, once it is emptied as it runs."""
    repo, _ = dumped
    faults.post(repo, PIECES[-1])
    for fault in (lambda: faults.kill_redis(repo, kept=False), lambda: connect(repo.redis_address).flushall()):
        connect(repo.redis_address).flushall()
        with monkeypatch.context() as faulty:
            faults.crash_at(faulty, Step.ADVANCE_MARK, fault=fault)
            drain(spark, repo)
    whole(spark, repo)


def test_a_night_moves_no_manifest_in_a_redis_that_came_back_without_its_snapshot(
    spark: SparkSession, dumped: tuple[Repo, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, dump = dumped
    with monkeypatch.context() as faulty:
        faults.crash_at(faulty, Step.MOVE_MANIFEST, fault=lambda: faults.kill_redis(repo, dump=dump))
        with pytest.raises(UnavailableError, match=r"cannot publish: .* was started again meanwhile"):
            nightly(spark, repo, repo.sources[SOURCE], DAY_1)
    faults.post(repo, PIECES[-1])
    drain(spark, repo)
    whole(spark, repo)
    nightly(spark, repo, repo.sources[SOURCE], DAY_1)
    whole(spark, repo)


def test_a_reader_refuses_a_high_water_mark_that_lies_behind_one_it_has_seen(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    """An older dump can have the manifest of today: it moves once a day, and the high-water mark with every batch."""
    repo = new_repo()
    for piece in PIECES[:2]:
        faults.post(repo, piece[:50])
        drain(spark, repo)
    read(repo)
    high_water_mark.place(connect(repo.redis_address), repo.project, "n1", SOURCE, high_water_mark.Fence(1, 0))
    with pytest.raises(StateError, match="the online store has lost writes that were served before"):
        read(repo)
    read(Repo(repo.folder))
    drain(spark, repo)
    read(repo)


def test_a_redis_that_is_ahead_of_the_log_is_rebuilt_too(spark: SparkSession, shop: Repo) -> None:
    """As after a log that was restored from a backup: fences of the future would skip what comes."""
    high_water_mark.place(connect(shop.redis_address), shop.project, "n1", SOURCE, high_water_mark.Fence(1, 99))
    assert online(shop) == "lost"
    faults.post(shop, PIECES[-1])
    drain(spark, shop)
    whole(spark, shop)


def test_what_a_rebuild_replaces_expires(spark: SparkSession, shop: Repo) -> None:
    client = connect(shop.redis_address)
    client.delete(*high_water_mark.names(client, "shop", "n1", SOURCE))
    drain(spark, shop)
    left = {ns: [key for key, _ in keys.states(client, "shop", namespace=ns)] for ns in ("n1", "n2")}
    assert left["n1"] and all(0 < client.pttl(key) <= 3_600_000 for key in left["n1"])
    assert left["n2"] and {client.pttl(key) for key in left["n2"]} == {-1}
    faults.post(shop, PIECES[-1])
    drain(spark, shop)
    whole(spark, shop)


# --- a new generation


def run(spark: SparkSession, repo: Repo, at: datetime = START) -> None:
    """The stream to the end of what has landed, by a clock that stands still."""
    landing = Directory(repo.storage(SOURCE).folder("landing"), 1)
    start(spark, repo, repo.sources[SOURCE], landing, clock=F.lit(at)).awaitTermination()


def outcomes(repo: Repo) -> tuple[int, int, int]:
    found = faults.counts(repo)
    return found["rows_read"], found["accepted"], found["duplicate"]


@pytest.mark.parametrize("unfinished", [None, Step.STAGE, Step.SERVE])
def test_after_a_lost_checkpoint_the_next_generation_goes_on_without_a_gap_or_a_double(
    unfinished: Step | None, spark: SparkSession, shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the last batch was cut off before its rows were in the log, or after."""
    if unfinished:
        faults.post(shop, PIECES[-1])
        with monkeypatch.context() as faulty:
            faults.crash_at(faulty, unfinished)
            with pytest.raises(StreamingQueryException, match="Crash"):
                drain(spark, shop)
    shutil.rmtree(shop.storage(SOURCE).folder("checkpoint") / "query=1")
    with pytest.raises(StateError, match=r"the checkpoint is gone .* Start with `dualpath stream --from-snapshot`"):
        drain(spark, shop)
    new_generation(spark, shop, shop.sources[SOURCE])
    if not unfinished:
        faults.post(shop, PIECES[-1])
    drain(spark, shop)
    whole(spark, shop)
    faults.post(shop, PIECES[0])
    drain(spark, shop)
    whole(spark, shop, len(LINES) + len(PIECES[0]))
    assert {e.query for e in logged.entries(shop.storage(SOURCE))} == {1, 2}


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
def redeclared(shop: Repo, tmp_path: Path) -> Repo:
    """The same store and log under declarations with two features more."""
    folder = tmp_path / "feature_repo"
    shutil.copytree(shop.folder, folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
    settings = folder / "feature_store.yaml"
    text = settings.read_text().replace('connection_string: ""', f'connection_string: "{shop.redis_address}"')
    settings.write_text(text.replace("  path: data", f"  path: {shop.root}"))
    declared = folder / "user_activity.py"
    declared.write_text(
        declared.read_text().replace('        feature("actions_30min"', NEW + '        feature("actions_30min"')
    )
    declared.write_text(declared.read_text().replace("import Count", "import Count, Last"))
    Repo(folder).apply()
    return Repo(folder)


def test_a_new_feature_is_filled_from_the_log_while_the_old_ones_are_served(
    spark: SparkSession, shop: Repo, redeclared: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, source = faults.log(shop), redeclared.sources[SOURCE]
    before, watched = faults.values(shop, known), []
    with pytest.raises(StateError, match=r"holds state of another declaration of a view; .*--from-snapshot"):
        drain(spark, redeclared)
    real = rebuild.write

    def watch(*args: Any) -> Any:
        done = real(*args)
        watched.append(faults.values(shop, known))
        return done

    with monkeypatch.context() as faulty:
        faulty.setattr(rebuild, "write", watch)
        faults.crash_at(faulty, Step.ADVANCE_MARK)
        with pytest.raises(faults.Crash):
            new_generation(spark, redeclared, source)
    # The one before can still go on, and then the next one after all.
    faults.post(shop, PIECES[-1][:50])
    drain(spark, shop)
    assert watched == [before]
    new_generation(spark, redeclared, source)
    faults.post(shop, PIECES[-1][50:])
    drain(spark, redeclared)
    assert "user_activity:last_action" in faults.values(redeclared, known)
    whole(spark, redeclared)
    with pytest.raises(StateError, match="the state was written for another declaration"):
        faults.values(shop, known)
