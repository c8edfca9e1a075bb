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

    def __init__(self, repo: Repo, source: str) -> None:
        self.repo, self.source = repo, source

    def send(self, lines: Sequence[bytes | None], draw: random.Random) -> None:
        faults.post(
            self.repo, [line for line in lines if line is not None], files=draw.randint(1, 2), source=self.source
        )

    def payloads(self, draw: random.Random) -> Directory:
        return Directory(self.repo.storage(self.source).folder("landing"), draw.randint(1, 3))


class Topic:
    """A topic that grows, of a broker that may die."""

    tombstones = True

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker, self.name, self.partitions = broker, name, 2
        create_topic(broker.address, name, partitions=2, config={"message.timestamp.type": "LogAppendTime"})

    def send(self, lines: Sequence[bytes | None], draw: random.Random) -> None:
        producer = Producer({"bootstrap.servers": self.broker.address, "enable.idempotence": True})
        for line in lines:
            producer.produce(self.name, line, partition=draw.randrange(self.partitions))
        assert producer.flush(60) == 0

    def payloads(self, draw: random.Random) -> Kafka:
        return Kafka(self.broker.address, self.name, offsets_per_batch=draw.randint(40, 150))

    def grow(self) -> None:
        """One partition more."""
        self.partitions += 1
        admin = client(self.broker.address)
        [grown] = admin.create_partitions([NewPartitions(self.name, self.partitions)]).values()
        grown.result()
        faults.until(
            lambda: len(admin.list_topics(self.name, timeout=10).topics[self.name].partitions) == self.partitions
        )

    def restart(self) -> None:
        """`kill -9` of the broker, and its start."""
        faults.kill_broker(self.broker)
        self.broker.start()


class Side:
    """A source, how its payloads reach the stream, and what was delivered of it."""

    def __init__(self, repo: Repo, name: str, transport: Transport) -> None:
        self.name, self.transport = name, transport
        self.source, self.storage = repo.sources[name], repo.storage(name)
        self.valid: list[bytes] = []
        self.dead: list[bytes | None] = []

    def read_all(self) -> bool:
        """Whether the stream has read all of it."""
        return self.storage.accounts().total().rows_read == len(self.valid) + len(self.dead)
