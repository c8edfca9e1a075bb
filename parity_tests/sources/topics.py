"""What the tests of Kafka share."""

import itertools
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Producer
from pyspark.sql import SparkSession

from dualpath.jobs.stream import start
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker
from dualpath.sources.kafka import Kafka
from parity_tests import faults
from parity_tests.conftest import SOURCE

LINES = faults.payloads(faults.events())
NUMBERS = itertools.count()
LOG_APPEND = {"message.timestamp.type": "LogAppendTime"}


def stream(spark: SparkSession, repo: Repo, payloads: Kafka) -> None:
    """Run the stream to the end of what is there."""
    start(spark, repo, repo.sources[SOURCE], payloads).awaitTermination()


def send(broker: Broker, topic: str, values: Sequence[bytes | None], **message: Any) -> None:
    """Send messages, dealt out to partitions by the producer unless `partition` is given."""
    producer = Producer({"bootstrap.servers": broker.address})
    for number, value in enumerate(values):
        producer.produce(topic, value, key=str(number), **message)
    assert producer.flush(30) == 0
