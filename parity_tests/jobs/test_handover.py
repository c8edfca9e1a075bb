"""State of Redis that was lost comes back from the log: whole, counted once, and never half read."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.errors import StateError, UnavailableError
from dualpath.jobs import rebuild, sink
from dualpath.jobs.nightly import nightly
from dualpath.online import high_water_mark, keys, manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.steps import Step
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.jobs.shop import DAY_1, DAY_2, PIECES, online, whole
from parity_tests.jobs.stream import leave_out_half
from parity_tests.saved import Saved


def read(repo: Repo) -> Any:
    return repo.store.get_online_features(["user_activity:actions_30min"], [{"user_id": "user_000000"}]).to_dict()


def test_an_emptied_redis_is_refused_by_readers_and_rebuilt_by_the_next_batch(
    spark: SparkSession, saved_shop: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    read(saved_shop)
    connect(saved_shop.redis_address).flushall()
    assert online(saved_shop) == "lost"
    for reader in (saved_shop, Repo(saved_shop.folder)):
        with pytest.raises(StateError, match="the online store has no state, because nothing was streamed yet or"):
            read(reader)
    with pytest.raises(StateError, match="the online store has lost writes; `dualpath stream` rebuilds it"):
        nightly(spark, saved_shop, saved_shop.sources[SOURCE], DAY_2)
    faults.post(saved_shop, PIECES[-1])
    drain(spark, saved_shop)
    assert "Redis has lost writes; rebuilding its state as n2" in caplog.text
    whole(spark, saved_shop)
    nightly(spark, saved_shop, saved_shop.sources[SOURCE], DAY_2)
    whole(spark, saved_shop)


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


def test_a_redis_that_is_ahead_of_the_log_is_rebuilt_too(spark: SparkSession, saved_shop: Repo) -> None:
    """As after a log that was restored from a backup: fences of the future would skip what comes."""
    high_water_mark.place(
        connect(saved_shop.redis_address), saved_shop.project, "n1", SOURCE, high_water_mark.Fence(1, 99)
    )
    assert online(saved_shop) == "lost"
    faults.post(saved_shop, PIECES[-1])
    drain(spark, saved_shop)
    whole(spark, saved_shop)


def test_what_a_rebuild_replaces_expires(spark: SparkSession, saved_shop: Repo) -> None:
    client = connect(saved_shop.redis_address)
    client.delete(*high_water_mark.names(client, "shop", "n1", SOURCE))
    drain(spark, saved_shop)
    left = {ns: [key for key, _ in keys.states(client, "shop", namespace=ns)] for ns in ("n1", "n2")}
    assert left["n1"] and all(0 < client.pttl(key) <= 3_600_000 for key in left["n1"])
    assert left["n2"] and {client.pttl(key) for key in left["n2"]} == {-1}
    faults.post(saved_shop, PIECES[-1])
    drain(spark, saved_shop)
    whole(spark, saved_shop)
