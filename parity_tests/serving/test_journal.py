"""The journal on a real broker: what is safe is there, and a broker that is away costs no more than the budget."""

import asyncio
import json
import os
import signal

import numpy as np
import pytest

from dualpath.errors import InputError
from dualpath.runtime.kafka import Broker, create_topic
from dualpath.serving.decision import Decision
from dualpath.serving.journal import KafkaJournal, NoJournal
from parity_tests.serving.events import read

pytestmark = pytest.mark.slow


def decision(number: int) -> Decision:
    context = np.array([[1024, number]])
    return Decision(f"d{number}", number, "q", "ånn", "m", ("a",), "bandit", "p", (1,), 1, (0.1,), (0,), context)


def test_what_is_safe_is_in_the_topic_with_its_bits(broker: Broker) -> None:
    create_topic(broker.address, "safe", partitions=2)
    journal = KafkaJournal({"bootstrap.servers": broker.address}, "safe")

    async def write() -> list[bool]:
        return await asyncio.gather(*(journal.write(decision(n), 30) for n in range(50)))

    assert asyncio.run(write()) == [True] * 50 and journal.healthy
    journal.close()
    messages = sorted(read(broker, "safe", 50), key=lambda each: json.loads(each[1])["decided_at"])
    assert messages == [("ånn", decision(n).json) for n in range(50)]


def test_a_broker_that_stands_still_costs_the_budget_and_gets_it_later(broker: Broker) -> None:
    create_topic(broker.address, "later", partitions=1)
    journal = KafkaJournal({"bootstrap.servers": broker.address}, "later")
    assert asyncio.run(journal.write(decision(0), 30))
    assert broker.process is not None
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        assert not asyncio.run(journal.write(decision(1), 0.05))
        assert not journal.healthy and journal.queued() == 1
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
    journal.close()
    assert [json.loads(value)["decision_id"] for _, value in read(broker, "later", 2)] == ["d0", "d1"]


def test_a_full_queue_takes_no_more() -> None:
    """Nobody listens at the port, so what is taken stays in the queue."""
    journal = KafkaJournal({"bootstrap.servers": "127.0.0.1:9", "queue.buffering.max.messages": 2}, "none")
    written = [asyncio.run(journal.write(decision(n), 0)) for n in range(3)]
    assert written == [False] * 3 and journal.queued() == 2 and not journal.takes
    journal.producer.purge()


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="refuses its settings"):
        KafkaJournal({"bootstrap.servers": "x", "no.such": "1"}, "none")


def test_without_kafka_nothing_is_safe() -> None:
    assert not asyncio.run(NoJournal().write(decision(1), 1)) and not NoJournal().takes
