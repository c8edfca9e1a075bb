"""Three sources of one topic whose producers write around payloads: from a broker, over a crash, to every answer."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import Producer
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath import kafka
from dualpath.declare import event_source
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.log.audit import faults
from dualpath.log.table import DEAD_LETTER
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.parity.explain import explain
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.runtime.kafka import Broker, create_topic
from dualpath.schema import text
from dualpath.sources.decoder import decoded
from dualpath.sources.kafka import Kafka
from dualpath.spark.admit import admit
from dualpath.steps import Step
from parity_tests import logged
from parity_tests.both_ways import served_and_trained
from parity_tests.conftest import REPOS
from parity_tests.faults import crash_at
from parity_tests.sources.topics import NUMBERS

START = datetime(2026, 3, 1, tzinfo=UTC)
ORDERS, LOOKS, ACCOUNTS = 24, 20, 16
Message = tuple[str | None, dict[str, str | bytes], Any]
"""A message's key, headers and payload; bytes and None are a payload as it is."""


def headers(kind: str, number: int, **more: Any) -> dict[str, Any]:
    time = (START + timedelta(minutes=number)).isoformat()
    return {"ce_type": kind, "ce_id": f"{kind}-{number}", "ce_time": time, **more}


def order(random: Random, number: int) -> Message:
    """An order of none to three items."""
    items = [{"sku": random.choice("abc"), "price": random.choice(("0.10", 99.5))} for _ in range(random.randrange(4))]
    shop = {"shop": random.choice(("1", "2"))} if random.random() < 0.8 else {}
    return random.choice(("ann", "bob")), headers("order", number, **shop), {"items": items}


def look(random: Random, number: int) -> Message:
    return random.choice(("ann", "eve")), headers(random.choice(("view", "click")), number), {"sku": f"{number}"}


def version(random: Random, number: int) -> Message:
    """A version of one of five accounts; each is of one owner."""
    key, op = random.randrange(5), random.choice("uuud")
    row = {"owner": ("ann", "bob")[key % 2], "balance": f"{number}.5", "op": op}
    return json.dumps({"id": key}), headers("account", number), row


BROKEN: list[Message] = [
    # Of orders: no JSON, a tombstone, a bad item among good ones, a header that is no number, no user.
    ("ann", headers("order", 100), b"{no JSON"),
    ("ann", headers("order", 101), None),
    ("ann", headers("order", 102), {"items": [{"sku": "a", "price": 1}, {"sku": "b", "price": "x"}]}),
    ("bob", headers("order", 103, shop="x"), {"items": [{"sku": "c"}]}),
    (None, headers("order", 104), {"items": [{"sku": "c"}]}),
    # A time that is no text; a key that is no object; no JSON of a kind that nobody reads; a tombstone of a row.
    ("ann", headers("order", 105, ce_time=b"\xff"), {"items": [{"sku": "c"}]}),
    ("ann", headers("account", 106), {"owner": "ann"}),
    ("ann", headers("refund", 107), b"<xml/>"),
    (json.dumps({"id": 1}), {}, None),
    # A kind that is no text: nobody can tell whose it is.
    ("ann", headers("order", 108, ce_type=b"\xff"), {"items": [{"sku": "c"}]}),
]
REASONS = {
    "items": {
        "not a JSON object": 1,
        "no payload": 2,  # and the tombstone of a row, which has no kind
        "price (items[*].price) is not of kind decimal: x: items[1]": 1,
        "shop ($kafka.headers.shop) is not of kind integer: x: items[0]": 1,
        "user ($kafka.key) is missing: items[0]": 1,
        "happened: $kafka.headers.ce_time is not UTF-8: items[0]": 1,
        "type: $kafka.headers.ce_type is not UTF-8: items[0]": 1,
    },
    "looks": {"type: $kafka.headers.ce_type is not UTF-8": 1, "no payload": 1},
    "accounts": {
        "account: $kafka.key is not a JSON object: ann": 1,
        "type: $kafka.headers.ce_type is not UTF-8": 1,
    },
}


def send(broker: Broker, topic: str, messages: list[Message]) -> None:
    producer = Producer({"bootstrap.servers": broker.address})
    for number, (key, around, payload) in enumerate(messages):
        value = payload if payload is None or isinstance(payload, bytes) else json.dumps(payload).encode()
        stamp = int((START + timedelta(seconds=number)).timestamp() * 1000)
        producer.produce(topic, value, key=key, headers=[*around.items()], timestamp=stamp, partition=number % 3)
    assert producer.flush(30) == 0


def given(message: Message, number: int, topic: str) -> Mapping[str, Any]:
    """A message as a preview takes it."""
    key, around, payload = message
    assert isinstance(payload, dict)
    key = json.loads(key) if key and key.startswith("{") else key
    time = START + timedelta(seconds=number)
    return {**payload, "$kafka": {"key": key, "headers": around, "topic": topic, "time": time}}


@pytest.fixture
def messages_repo(tmp_path: Path) -> Any:
    shutil.copytree(REPOS / "messages", tmp_path / "messages", ignore=shutil.ignore_patterns("__pycache__"))
    repo = Repo(tmp_path / "messages")
    repo.apply()
    yield repo
    redis.stop(embedded_folder(repo.store.config))


@pytest.mark.slow
def test_three_sources_of_a_topic_serve_what_is_around_payloads_also_over_a_crash(
    spark: SparkSession, broker: Broker, messages_repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, random, topic = messages_repo, Random(0), f"events-{next(NUMBERS)}"
    create_topic(broker.address, topic, partitions=3, config={"message.timestamp.type": "CreateTime"})
    orders = [order(random, number) for number in range(ORDERS)]
    looks = [look(random, number) for number in range(LOOKS)]
    versions = [version(random, number) for number in range(ACCOUNTS)]
    again = [*orders[::4], *versions[::4]]
    messages = [*orders, *looks, *versions, *BROKEN, *again]
    send(broker, topic, messages)
    payloads = Kafka(broker.address, topic, offsets_per_batch=len(messages) // 2 + 1)
    with monkeypatch.context() as faulty:
        crash_at(faulty, Step.COMMIT, nth=2)  # all is written, and not committed
        with pytest.raises(StreamingQueryException, match="Crash"):
            start(spark, repo, repo.sources["items"], payloads).awaitTermination()
    for source in repo.sources.values():
        start(spark, repo, source, payloads).awaitTermination()

    sizes = [len(payload["items"]) for _, _, payload in orders]
    accepted = {"items": sum(sizes) + 1, "looks": LOOKS, "accounts": ACCOUNTS}
    repeated = {"items": sum(sizes[::4]), "looks": 0, "accounts": len(versions[::4])}
    for name in repo.sources:
        found = repo.storage(name).accounts().total()
        assert found.adds_up and found.messages == len(messages)
        assert (found.accepted, found.duplicate) == (accepted[name], repeated[name]), name
        assert faults(repo.storage(name), repo.storage(name).accounts(), opened=True) == []
        dead = logged.rows(repo.storage(name), DEAD_LETTER)
        assert Counter(dead["reason"].to_pylist()) == REASONS[name]
        assert found.dead_letter == sum(REASONS[name].values())

    events = {
        "items": [
            given(m, 0, topic) for m in [*orders, *looks, (*BROKEN[2][:2], {"items": [{"sku": "a", "price": 1}]})]
        ],
        "looks": [given(m, ORDERS + n, topic) for n, m in enumerate(looks)],
        "accounts": [given(m, 0, topic) for m in [*versions, *orders]],
    }
    at = START + timedelta(days=1)
    for name, source in repo.sources.items():
        build(spark, repo, source)
        for view in repo.views_of(name):
            previewed = preview(view, events[name], at)
            served, trained = served_and_trained(repo, view, previewed, at)
            assert len(previewed) > 1
            assert served == trained == previewed
    proof = check(repo, cells=1_000, oracle_cells=300, seed=0)
    assert (proof.differing, proof.oracle_differing) == (0, 0) and proof.oracle_cells > 0
    # The letters of bob, by the key that they keep.
    told = explain(repo, "of_user:bought", {"user": "bob"}, at).to_dict()
    assert told["left_out"]["refused"]["total"] == 1


def test_a_source_that_reads_payloads_alone_carries_nothing_of_what_is_around_them(
    spark: SparkSession, broker: Broker, topic: str
) -> None:
    raw = decoded(Kafka(broker.address, topic).read(spark), None).withColumn("admitted_at", F.current_timestamp())
    mode = spark._jvm.org.apache.spark.sql.execution.ExplainMode.fromString("extended")
    carries = []
    for path in (None, kafka.header("user")):
        source = event_source("clicks", fields=[text("user", path=path)], arrival_time=None)
        judged = admit(raw.withWatermark("admitted_at", "0 seconds"), source)
        plan = judged._jdf.queryExecution().explainString(mode).partition("== Optimized Logical Plan ==")[2]
        carries.append(any("headers#" in line for line in plan.splitlines() if "Project" in line))
    assert carries == [False, True]
