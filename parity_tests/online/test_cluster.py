"""A Redis Cluster, and a Redis with a password, are Redis: everything that a repo does is done on real servers."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import redis
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession
from redis.connection import SSLConnection

from dualpath.console import demo, environment, status
from dualpath.errors import InputError, StateError, UnavailableError
from dualpath.jobs import publish
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.online import bounds, connection, high_water_mark, keys, writer
from dualpath.online.connection import connect
from dualpath.parity.check import check
from dualpath.record import Fence, layout
from dualpath.repo import Repo
from dualpath.runtime.redis import HOST
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.servers import PASSWORD, Server, cluster, free_port, on_cluster, repo_on, server

LINES = faults.payloads(faults.events())
DAY_1, DAY_2 = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def repo(nodes: list[Server], applied: Path, tmp_path: Path) -> Repo:
    """A repo on the empty cluster."""
    for each in nodes:
        each.client.flushall()
    return on_cluster(applied, tmp_path / "feature_repo", nodes)


def whole(spark: SparkSession, repo: Repo, lines: int) -> None:
    """Every row has one outcome, and served is trained is the oracle's."""
    found = faults.counts(repo)
    assert found["rows_read"] == lines == found["accepted"] + found["duplicate"] + found["dead_letter"]
    told = status.report(repo)
    assert (told.ok, told.data["redis"], told.data["online_store"]) == (True, "answers", {SOURCE: "whole"})
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=2_000, oracle_cells=200)
    assert proof.passed and proof.differing == 0, proof.examples


def deliver(spark: SparkSession, repo: Repo, lines: Sequence[bytes]) -> None:
    faults.post(repo, lines)
    drain(spark, repo)


ASKED = (
    ["user_activity:actions_30min", "user_activity:interests_1h"],
    [{"user_id": f"user_{n:06d}"} for n in range(9)],
)


ALL_TIME = ["user_activity:last_active"]


# --- a cluster


@pytest.mark.slow
def test_stream_nights_and_reads_agree_on_a_cluster(spark: SparkSession, repo: Repo, nodes: list[Server]) -> None:
    deliver(spark, repo, LINES[:300])
    assert all(each.client.dbsize() > 20 for each in nodes)
    whole(spark, repo, 300)
    known = faults.log(repo)
    before = faults.values(repo, known)
    nightly(spark, repo, repo.sources[SOURCE], DAY_1)
    assert faults.values(repo, known) == before
    deliver(spark, repo, LINES[300:])
    nightly(spark, repo, repo.sources[SOURCE], DAY_2)
    whole(spark, repo, len(LINES))
    served = repo.store.get_online_features(*ASKED).to_dict()
    assert asyncio.run(repo.store.get_online_features_async(*ASKED)).to_dict() == served
    client = connect(repo.redis_address)
    assert bounds.large_entities(client, repo.project, repo.views.values()) == []
    tags = {key[key.index(b"{") :][: keys.TAG] for key in keys.everything(client, repo.project)}
    assert tags == set(keys.TAGS)
    demo.empty(repo)
    assert not any(each.client.dbsize() for each in nodes)


def test_a_node_that_was_emptied_is_noticed_and_everything_rebuilt(
    spark: SparkSession, repo: Repo, nodes: list[Server]
) -> None:
    deliver(spark, repo, LINES[:300])
    users = [{"user_id": name} for name in sorted(set(faults.log(repo)["user_id"].to_pylist()))]
    repo.store.get_online_features(ASKED[0], users)
    # The one with the fewest manifests, whose loss is not seen by them.
    min(nodes, key=lambda node: len(node.client.keys("dp:*:manifest:*"))).client.flushall()
    assert status.report(repo).data["online_store"] == {SOURCE: "lost"}
    with pytest.raises(StateError, match=r"the online store (has lost writes|has no state)"):
        repo.store.get_online_features(ASKED[0], users)
    deliver(spark, repo, LINES[300:])
    whole(spark, repo, len(LINES))


def test_a_batch_that_was_cut_off_among_the_high_water_marks_is_finished(
    spark: SparkSession, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(spark, repo, LINES[:200])
    with monkeypatch.context() as faulty:
        faults.crash(faulty, redis.RedisCluster, "eval", nth=40)
        with pytest.raises(StreamingQueryException, match="Crash"):
            deliver(spark, repo, LINES[200:])
    client = connect(repo.redis_address)
    marks = {mark and mark.fence for mark in high_water_mark.read(client, repo.project, "n1", SOURCE)}
    assert marks == {Fence(1, 0), Fence(1, 1)}
    users = sorted(set(faults.log(repo)["user_id"].to_pylist()))
    rows = {"user_id": users, "event_timestamp": ["2026-03-06T00:00:00Z"] * len(users)}
    served = repo.store.get_online_features([*ALL_TIME, "user_activity:known_user_activity"], rows).to_dict()
    assert {*served["known_user_activity"]} == {"q1b0", "q1b1"}
    drain(spark, repo)
    whole(spark, repo, len(LINES))
    known = {"known_user_activity": served["known_user_activity"]}
    trained = repo.store.get_historical_features(pd.DataFrame(rows | known), ALL_TIME).to_df()
    assert trained["last_active"].tolist() == served["last_active"]
    assert {found.namespace for _, found in keys.states(client, "shop")} == {"n1"}


@pytest.mark.parametrize(("entities", "size"), [(2, writer.BYTES_GATHERED), (writer.ENTITIES_PER_CALL, 1_000)])
def test_what_is_sent_before_all_is_gathered_is_there_once(
    entities: int, size: int, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ENTITIES_PER_CALL", entities)
    monkeypatch.setattr(writer, "BYTES_GATHERED", size)
    view, names = repo.views["product_activity"], [f"product_{n:03d}" for n in range(300)]
    record = [7] * layout(view).width
    rows = pa.record_batch([[view.name] * 300, ["2026-03-01"] * 300, names, [record] * 300],
                           ["view", "arrival_day", "entity", "words"])  # fmt: skip
    target = writer.FencedWrite(
        repo.redis_address, repo.project, {view.name: repo.destination(view, "n1")}, Fence(1, 1)
    )
    for expected in (300, 0):
        [answer] = target.write([rows])
        assert answer["parts"][0].as_py() == expected
    client, prefix = connect(repo.redis_address), keys.prefix(repo.project, "n1", view.name, "e2026-03-01")
    stored = client.mget_nonatomic([prefix + keys.tagged(name) for name in names])
    assert [layout(view).unpack(value).tolist() for value in stored] == [[record]] * 300


def test_a_node_that_does_not_answer_is_said_without_the_password(applied: Path, tmp_path: Path) -> None:
    nowhere = f"{HOST}:{free_port()},password={PASSWORD}"
    repo = repo_on(applied, tmp_path / "feature_repo", nowhere, "redis_cluster")
    for step in (
        lambda: repo.store.get_online_features(*ASKED),
        lambda: publish.served(repo, [*repo.views.values()]),
    ):
        with pytest.raises(UnavailableError) as raised:
            step()
        assert HOST in raised.value.message and PASSWORD not in raised.value.message
    told = status.report(repo)
    assert not told.ok and "does not answer" in told.data["redis"] and PASSWORD not in told.data["redis"]


# --- a single server


def test_a_redis_with_a_password_is_named_by_the_connection_string(
    spark: SparkSession, applied: Path, tmp_path: Path
) -> None:
    with server(tmp_path / "redis", free_port()) as single:
        repo = repo_on(applied, tmp_path / "feature_repo", f"{HOST}:{single.port},password={PASSWORD}")
        deliver(spark, repo, LINES[:300])
        nightly(spark, repo, repo.sources[SOURCE], DAY_1)
        whole(spark, repo, 300)
        [found] = [each for each in environment.doctor(repo.folder).data["findings"] if each["name"] == "Redis"]
        assert found["ok"] and found["where"] == f"{HOST}:{single.port}"
        wrong = repo_on(applied, tmp_path / "wrong", f"{HOST}:{single.port},password=guessed")
        with pytest.raises(UnavailableError, match=rf"Redis at {HOST}:{single.port} says: .*password") as raised:
            wrong.store.get_online_features(*ASKED)
        assert "guessed" not in raised.value.message


# --- the connection string


def test_parameters_reach_the_client_as_feast_passes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = connect("redis:6380,ssl=true,ssl_ca_certs=/ca.pem,username=ann,password=x=y")
    pool = plain.connection_pool
    assert issubclass(pool.connection_class, SSLConnection)
    taken = {name: pool.connection_kwargs[name] for name in ("host", "port", "username", "password", "ssl_ca_certs")}
    assert taken == {"host": "redis", "port": 6380, "username": "ann", "password": "x=y", "ssl_ca_certs": "/ca.pem"}
    monkeypatch.setattr(connection, "RedisCluster", lambda **given: given)
    given: dict[str, Any] = connect("a:1,b:2,ssl=true,password=12,cluster=true")
    assert given.pop("url") == "redis://a:1"
    assert [(node.host, node.port) for node in given.pop("startup_nodes")] == [("b", 2)]
    assert issubclass(given.pop("connection_class"), SSLConnection)
    assert given == {"password": 12}


def config(kind: str, connection_string: str) -> Any:
    return SimpleNamespace(online_store=SimpleNamespace(redis_type=kind, connection_string=connection_string))


def test_the_kind_of_redis_is_what_the_repo_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(connection.VARIABLE, raising=False)
    assert connection.configured(config("redis", "a:1,db=3")) == "a:1,db=3"
    assert connection.configured(config("redis_cluster", "a:1,b:2")) == "a:1,b:2,cluster=true"
    with pytest.raises(
        InputError, match=r"^online_store.redis_type is redis_sentinel, which dualpath does not write to"
    ):
        connection.address(config("redis_sentinel", "a:1"))
    with pytest.raises(InputError, match=r"^online_store.redis_type is redis_cluster, but no nodes are named"):
        connection.address(config("redis_cluster", ""))
    monkeypatch.setenv(connection.VARIABLE, "c:3")
    assert connection.address(config("redis_cluster", "")) == "c:3,cluster=true"
