"""Decisions and clicks: as rows of the event log, written without Spark, and as messages of a topic."""

from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer

from dualpath.kinds import INSTANT
from dualpath.log.table import ACCEPTED
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker
from dualpath.serving.decision import Decision
from dualpath.windows import SECOND
from parity_tests import logged

NOON = 1_772_625_600 * SECOND
MINUTE = 60 * SECOND
DAY = "2026-03-04"


def write(repo: Repo, source: str, batch: int, rows: list[dict[str, Any]], query: int = 1) -> None:
    """A finished micro-batch of the log."""
    declared = repo.sources[source]
    schema = [("event_id", pa.string()), ("event_time", INSTANT), ("arrival_time", INSTANT)]
    schema += [(field.name, field.stored) for field in declared.fields]
    files = {(ACCEPTED, DAY): pa.Table.from_pylist(rows, pa.schema(schema))} if rows else {}
    logged.append(repo.storage(source), declared, files, batch=Fence(query, batch))


def decided(number: int, at: int = NOON, **change: Any) -> dict[str, Any]:
    """A logged decision about two candidates, the second of which was chosen."""
    context = np.array([[1024, *[0] * 7], [1024, number % 1000, *[7] * 6]])
    made = Decision(
        f"d{number}", at, "q", "ann", "mobile", ("a1", "a2"), "bandit", "p", (1, 1), 2, (0.1, 0.2), (1, 0), context
    )
    event = made.event() | change
    return {**event, "event_id": made.decision_id, "event_time": at, "arrival_time": at + SECOND}


def click(number: int, at: int, arrived: int | None = None, position: int = 1) -> dict[str, Any]:
    """A logged click on a decision's article in some position."""
    event = {"user_id": "ann", "article_id": "a2", "category": "sport", "decision_id": f"d{number}"}
    times = {"event_time": at, "arrival_time": at if arrived is None else arrived}
    return event | times | {"event_id": f"c{number} {at} {position}", "position": position}


def read(broker: Broker, topic: str, count: int) -> list[tuple[str, str]]:
    """The messages of a topic, key and value, in the order of the log."""
    settings = {"bootstrap.servers": broker.address, "group.id": "test", "auto.offset.reset": "earliest"}
    consumer, found = Consumer(settings), list[tuple[str, str]]()
    consumer.subscribe([topic])
    while len(found) < count:
        message = consumer.poll(30)
        assert message is not None and message.error() is None
        found.append((message.key().decode(), message.value().decode()))
    consumer.close()
    return found
