"""The journal: decisions are sent to Kafka before they are answered, so that the log has each one that a reader saw."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Protocol

from confluent_kafka import Message

from dualpath.runtime import kafka
from dualpath.serving.decision import Decision

SETTINGS = {
    "linger.ms": 1,
    "queue.buffering.max.messages": 10_000,
    "message.timeout.ms": 30_000,
}
CLOSE_TIMEOUT_SECONDS = 10.0


class Journal(Protocol):
    """Where decisions go before they are answered."""

    async def write(self, decision: Decision, seconds: float) -> bool:
        """Whether it is safe; waits so long at most. One that is not may still become so later."""
        ...

    @property
    def takes(self) -> bool:
        """Whether there is room for one more."""
        ...

    @property
    def healthy(self) -> bool:
        """Whether the last one became safe."""
        ...

    def queued(self) -> int:
        """How many wait."""
        ...

    def close(self) -> None:
        """Send what waits."""
        ...


class KafkaJournal:
    """Sends each decision as one message, keyed by its reader; the broker acknowledges it."""

    def __init__(self, client: Mapping[str, Any], topic: str) -> None:
        """`client` holds librdkafka's settings; raises `InputError` if it refuses them."""
        self.topic, self.healthy = topic, True
        settings = {**SETTINGS, **client}
        self.most = int(settings["queue.buffering.max.messages"])
        self.producer = kafka.producer(settings)
        self.sent = self.told = 0  # each counted by one thread; the client's own length counts its errors too
        self.closed = Event()
        self.polling = Thread(target=self._poll, name="journal", daemon=True)
        self.polling.start()

    def _poll(self) -> None:
        while not self.closed.is_set():
            self.producer.poll(0.05)

    async def write(self, decision: Decision, seconds: float) -> bool:
        """Whether the broker has acknowledged it in time; False too if the queue is full."""
        loop = asyncio.get_running_loop()
        safe: asyncio.Future[bool] = loop.create_future()

        def delivered(error: Any, message: Message) -> None:
            self.told += 1
            self.healthy = error is None
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(told, error is None)

        def told(is_safe: bool) -> None:
            if not safe.done():
                safe.set_result(is_safe)

        value = decision.json.encode()
        self.sent += 1
        try:
            self.producer.produce(self.topic, value, key=decision.user_id, on_delivery=delivered)
        except BufferError:
            self.sent -= 1
            return False
        try:
            return await asyncio.wait_for(safe, max(0.0, seconds))
        except TimeoutError:
            self.healthy = False
            return False

    @property
    def takes(self) -> bool:
        """Whether the queue has room."""
        return self.queued() < self.most

    def queued(self) -> int:
        """How many messages wait for the broker."""
        return self.sent - self.told

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self.closed.set()
        self.polling.join()
        self.producer.flush(CLOSE_TIMEOUT_SECONDS)


class NoJournal:
    """For an application without Kafka: nothing is kept, so nothing is learned."""

    takes = False
    healthy = False

    async def write(self, decision: Decision, seconds: float) -> bool:
        """Never safe."""
        return False

    def queued(self) -> int:
        """None wait."""
        return 0

    def close(self) -> None:
        """Nothing to do."""
