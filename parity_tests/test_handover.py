"""State that was lost, or is of yesterday's code, comes back from the log: whole, counted once, and never half read."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from batch.build import build
from batch.nightly import nightly
from dualpath.console import status
from dualpath.errors import StateError
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.stores import mark, pointer, rebuild
from dualpath.stores.connection import connect, embedded_folder
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from streaming import sink

LINES = faults.payloads(faults.events())
PIECES = [LINES[i : i + 200] for i in range(0, len(LINES), 200)]
DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)
ACCEPTED = len({line.split(b', "arrival_time"')[0] for line in LINES})


@pytest.fixture(scope="module", autouse=True)
def small(spark: SparkSession) -> Iterator[None]:
    with faults.partitions(spark, 2):
        yield


@pytest.fixture(params=[False, True], ids=["without a snapshot", "with a snapshot"])
def shop(request: pytest.FixtureRequest, spark: SparkSession, new_repo: Callable[[], Repo]) -> Repo:
    """A repo whose stream has read all but the last piece, before and after a night."""
    repo = new_repo()
    for piece in PIECES[:-1]:
        faults.post(repo, piece)
    drain(spark, repo)
    if request.param:
        nightly(spark, repo, repo.sources[SOURCE], DAY_1)
    return repo


def read(repo: Repo) -> Any:
    return repo.store.get_online_features(["user_activity:actions_30min"], [{"user_id": "user_000000"}]).to_dict()


def whole(spark: SparkSession, repo: Repo, lines: int = len(LINES)) -> None:
    """Every row has one fate, the log holds every event once, and served is trained is the oracle's."""
    found = faults.counts(repo)
    assert found["rows_read"] == lines == found["accepted"] + found["duplicate"] + found["dead_letter"]
    assert max(faults.ids(repo).values()) == 1 and sum(faults.ids(repo).values()) == found["accepted"]
    assert status.faults(repo.storage(SOURCE)) == []
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
    assert pointer.read(connect(repo.redis_address), repo.project, "user_activity") is not None
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
    real = rebuild.currency

    def half(*args: Any) -> DataFrame:
        return real(*args).where("pmod(xxhash64(entity), 2) = 0")

    monkeypatch.setattr(rebuild, "currency", half)
    faults.crash(monkeypatch, rebuild, "send", after=True)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "with nothing written": lambda m: faults.crash(m, rebuild, "send"),
    "with half of the keys written": half_of_the_keys,
    "before the mark": lambda m: faults.crash(m, mark, "place"),
    "before the pointers": lambda m: faults.crash(m, mark, "place", after=True),
    # Each view's pointer is placed twice: while its state is rebuilt, and when it is.
    "between two pointers": lambda m: faults.crash(m, pointer, "place", nth=5),
    "before the old parts go": lambda m: faults.crash(m, rebuild, "retire"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_rebuild_that_dies_is_done_again_and_readers_never_see_half_of_it(
    step: str, spark: SparkSession, new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = new_repo()
    faults.post(repo, PIECES[0])
    drain(spark, repo)
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
    """Once Redis is emptied between a batch's records and its mark, once it is started again there."""
    repo, real, calls = new_repo(), sink.send, []
    client, lives = connect(repo.redis_address), iter("abbb")

    def struck(*args: Any) -> Any:
        calls.append(1)
        done = real(*args)
        if len(calls) == 2:
            client.flushall()
        if len(calls) == 4:
            monkeypatch.setattr(mark, "life", lambda _: next(lives, "b"))
        return done

    monkeypatch.setattr(sink, "send", struck)
    for piece in PIECES:
        faults.post(repo, piece)
    drain(spark, repo, files_per_batch=1)
    assert len(calls) > len(PIECES) + 1
    whole(spark, repo)


def test_a_redis_that_is_ahead_of_the_log_is_rebuilt_too(spark: SparkSession, shop: Repo) -> None:
    """As after a log that was restored from a backup: fences of the future would skip what comes."""
    mark.place(connect(shop.redis_address), shop.project, "n1", SOURCE, mark.Fence(1, 99))
    assert online(shop) == "lost"
    faults.post(shop, PIECES[-1])
    drain(spark, shop)
    whole(spark, shop)


def test_what_a_rebuild_replaces_expires(spark: SparkSession, shop: Repo) -> None:
    client = connect(shop.redis_address)
    client.delete(*(key for key in client.scan_iter(match="dp:shop:mark:*")))
    drain(spark, shop)
    left = {ns: list(client.scan_iter(match=f"dp:shop:{ns}:*", count=1_000)) for ns in ("n1", "n2")}
    assert left["n1"] and all(0 < client.pttl(key) <= 3_600_000 for key in left["n1"])
    assert left["n2"] and {client.pttl(key) for key in left["n2"]} == {-1}
    faults.post(shop, PIECES[-1])
    drain(spark, shop)
    whole(spark, shop)
