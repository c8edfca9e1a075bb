"""How payloads reach the stream of a schedule: a landing folder, or a topic of a real broker."""

import random
from collections.abc import Sequence
from typing import Protocol

from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker, client, create_topic
from dualpath.sources.directory import Directory
from dualpath.sources.kafka import Kafka
from dualpath.sources.source import PayloadSource
from parity_tests import faults
from parity_tests.conftest import SOURCE

TOPIC = "chaos"


class Transport(Protocol):
    """Takes payloads, and lets the stream read them."""

    tombstones: bool
    """Whether a payload may be nothing at all."""

    def send(self, lines: Sequence[bytes | None], draw: random.Random) -> None:
        """Deliver lines, cut and dealt out as drawn."""

    def payloads(self, draw: random.Random) -> PayloadSource:
        """What the stream reads, in batches of a drawn size."""


class Landing:
    """Files in the landing folder."""

    tombstones = False

    def __init__(self, repo: Repo) -> None:
        self.repo = repo

    def send(self, lines: Sequence[bytes | None], draw: random.Random) -> None:
        faults.post(self.repo, [line for line in lines if line is not None], files=draw.randint(1, 2))

    def payloads(self, draw: random.Random) -> Directory:
        return Directory(self.repo.storage(SOURCE).folder("landing"), draw.randint(1, 3))


class Topic:
    """A topic that grows, of a broker that may die."""

    tombstones = True

    def __init__(self, broker: Broker) -> None:
        self.broker, self.partitions = broker, 2
        create_topic(broker.address, TOPIC, partitions=2, config={"message.timestamp.type": "LogAppendTime"})

    def send(self, lines: Sequence[bytes | None], draw: random.Random) -> None:
        producer = Producer({"bootstrap.servers": self.broker.address, "enable.idempotence": True})
        for line in lines:
            producer.produce(TOPIC, line, partition=draw.randrange(self.partitions))
        assert producer.flush(60) == 0

    def payloads(self, draw: random.Random) -> Kafka:
        return Kafka(self.broker.address, TOPIC, offsets_per_batch=draw.randint(40, 150))

    def grow(self) -> None:
        """One partition more."""
        self.partitions += 1
        admin = client(self.broker.address)
        [grown] = admin.create_partitions([NewPartitions(TOPIC, self.partitions)]).values()
        grown.result()
        faults.until(lambda: len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions) == self.partitions)

    def restart(self) -> None:
        """`kill -9` of the broker, and its start."""
        faults.kill_broker(self.broker)
        self.broker.start()
