"""What can befall a topic and its broker, each time with the bits of the batch path behind the stream."""

import itertools
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions
from pyspark.sql import SparkSession

from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker, client, create_topic
from dualpath.sources.kafka import Kafka
from parity_tests import faults, invariants
from parity_tests.conftest import SOURCE

LINES = faults.payloads(faults.events())
NUMBERS = itertools.count()


@pytest.fixture
def topic(broker: Broker) -> str:
    name = f"faulty-{next(NUMBERS)}"
    create_topic(broker.address, name, partitions=2, config={"message.timestamp.type": "LogAppendTime"})
    return name


def send(broker: Broker, topic: str, lines: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True})
    for number, line in enumerate(lines):
        producer.produce(topic, line, key=str(number))
    assert producer.flush(60) == 0


def stream(spark: SparkSession, repo: Repo, payloads: Kafka) -> None:
    start(spark, repo, repo.sources[SOURCE], payloads).awaitTermination()


@pytest.mark.slow
def test_a_broker_that_is_killed_and_started_again_beside_a_running_stream_loses_nothing(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker, topic: str
) -> None:
    """And the topic gains partitions, which the running stream finds."""
    repo, third = new_repo(), len(LINES) // 3
    send(broker, topic, LINES[:third])
    payloads = Kafka(broker.address, topic, offsets_per_batch=100, client={"metadata.max.age.ms": "1000"})
    query = start(spark, repo, repo.sources[SOURCE], payloads, interval=timedelta(0))

    def read(rows: int) -> bool:
        return query.exception() is not None or faults.counts(repo)["rows_read"] >= rows

    try:
        faults.until(lambda: read(1))
        faults.kill_broker(broker)
        broker.start()
        send(broker, topic, LINES[third : 2 * third])
        admin = client(broker.address)  # one that nobody holds ends, and its requests with it
        [grown] = admin.create_partitions([NewPartitions(topic, 5)]).values()
        grown.result()
        send(broker, topic, LINES[2 * third :])
        faults.until(lambda: read(len(LINES)))
    finally:
        query.stop()
    assert query.exception() is None
    assert invariants.violations(spark, repo, LINES) == []


def test_payloads_that_differ_from_what_is_declared_are_events_only_if_their_values_can_be_meant(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker, topic: str
) -> None:
    repo, at = new_repo(), datetime(2026, 3, 2, 12, tzinfo=UTC).isoformat()
    good = {"user_id": "ann", "action": "purchase", "quantity": 3, "amount": "9.99", "category": "tea"}
    good |= {"event_time": at, "arrival_time": at}

    def but(**changes: object) -> bytes:
        return json.dumps({name: value for name, value in {**good, **changes}.items() if value is not None}).encode()

    same = [but(), but(colour="blue"), but(quantity="3"), but(amount=9.99), but(amount="9.990")]
    lacking = [but(category=None), but(quantity=None)]
    refused = [but(action=None), but(event_time=None), but(quantity="three"), but(quantity=3.5), but(amount=[9.99])]
    refused += [but(event_time=17), but()[:-1], b"<xml/>", b"\x00\x00\x00\x00\x01\x02avro"]
    send(broker, topic, [*same, *lacking, *refused, *LINES[:100]])
    stream(spark, repo, Kafka(broker.address, topic))
    assert invariants.distinct(same) == invariants.distinct(same[:1])
    assert invariants.violations(spark, repo, [*same, *lacking, *LINES[:100]], refused) == []


def test_messages_that_come_up_to_three_times_within_ten_minutes_count_once_in_batches_of_any_size(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker, topic: str
) -> None:
    repo, sent = new_repo(), faults.redelivered(LINES, random.Random(12))
    send(broker, topic, sent)
    stream(spark, repo, Kafka(broker.address, topic, offsets_per_batch=333))
    assert invariants.violations(spark, repo, sent) == []
