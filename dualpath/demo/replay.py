"""Sends event payloads to a Kafka topic, at a set rate or at the pace of the events' own times."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dualpath import kafka
from dualpath.admission import written
from dualpath.errors import InputError, UnavailableError
from dualpath.paths import MESSAGE, first_value, walk
from dualpath.runtime.kafka import producer as connected
from dualpath.schema import EventSource
from dualpath.windows import SECOND

METADATA_TIMEOUT_SECONDS = 15.0  # for the broker's answer, whether it has the topic

Pace = Callable[[int, Mapping[str, Any]], float]
"""The second after the start at which the n-th line, whose members are given, is due."""


@dataclass(frozen=True)
class Clock:
    """Seconds, and waiting for some of them to pass; `wait` may return early."""

    now: Callable[[], float]
    wait: Callable[[float], Any]


def at_once(number: int, members: Mapping[str, Any]) -> float:
    """Every line is due at the start."""
    return 0.0


def rate(per_second: float) -> Pace:
    """So many lines a second.

    >>> pace = rate(50)
    >>> pace(0, {}), pace(100, {})
    (0.0, 2.0)
    """
    return lambda number, members: number / per_second


def own(source: EventSource, speed: float) -> Pace:
    """As far apart as the events arrived (or happened, if the source declares no arrival), `speed` times as fast.

    A line without a time that can be read is due with the one before it.

    >>> pace = own(EventSource("clicks", ()), speed=60)
    >>> times = ("2026-03-01T10:00:00Z", "2026-03-01T10:01:30Z", "nonsense")
    >>> [pace(n, {"arrival_time": t}) for n, t in enumerate(times)]
    [0.0, 1.5, 1.5]
    """
    member, first = source.members.get("arrival_time", source.members["event_time"]), None
    due = 0.0

    def pace(number: int, members: Mapping[str, Any]) -> float:
        nonlocal first, due
        instant = member.time.micros(str(first_value(member.places, partial(walk, members))))
        if instant is not None:
            first = instant if first is None else first
            due = (instant - first) / SECOND / speed
        return due

    return pace


def paced(lines: Iterable[bytes], pace: Pace, clock: Clock) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """Each line, without its newline, and its members (none if it is no JSON object), once it is due."""
    start = clock.now()
    for number, line in enumerate(lines):
        value = line.rstrip(b"\r\n")
        members = _members(value)
        due = start + pace(number, members)
        while (left := due - clock.now()) > 0:
            clock.wait(left)
        yield value, members


def replay(
    lines: Iterable[bytes],
    topic: str,
    source: EventSource,
    *,
    key: tuple[str, ...],
    client: Mapping[str, str],
    pace: Pace = at_once,
    progress: Callable[[int], None] = lambda sent: None,
) -> int:
    """Send each line as it is, as one message of an idempotent producer; returns how many were sent.

    The message's key is the event's `key` fields, so that an entity stays in one partition; its headers are
    `event_id`, if the source names a column for it, and `produced_at`, microseconds UTC, for whoever measures
    freshness. A line with the member `$kafka` says itself what is around it (`dualpath.kafka`): its key, if it has one,
    and further headers. A line that is no JSON object travels without key and id. `client` holds librdkafka's settings,
    `bootstrap.servers` among them. `progress` is told how many lines have been handed over.

    Raises:
        InputError: there is no such topic, or a setting is none of librdkafka's.
        UnavailableError: Kafka does not answer, or does not take a message.
    """
    producer, failed = _producer(client, topic), list[KafkaError]()

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    sent = 0
    for value, members in paced(lines, pace, Clock(time.monotonic, producer.poll)):
        keys = (first_value(source.by_name[field].places, partial(walk, members)) for field in key)
        name = "/".join("" if each is None else str(each) for each in keys)
        headers: list[tuple[str, str | bytes | None]] = [("produced_at", str(time.time_ns() // 1000))]
        identity = source.members.get("event_id")
        if identity and (found := first_value(identity.places, partial(walk, members))) is not None:
            headers.append(("event_id", str(found)))
        name = written(walk(members, kafka.key)) or name
        further = walk(members, (MESSAGE, "headers"))
        headers += [(each, written(text)) for each, text in further.items()] if isinstance(further, Mapping) else []
        while not failed:
            try:
                producer.produce(topic, value, key=name if members else None, headers=headers, on_delivery=delivered)
                break
            except BufferError:  # as fast as the broker takes them
                producer.poll(0.1)
        if failed:
            break
        producer.poll(0)
        sent += 1
        progress(sent)
    producer.flush()
    if failed:
        raise UnavailableError(
            f"Kafka did not take {len(failed)} of the first {sent:,} messages for {topic} ({failed[0].str()}); "
            "send the file again: the stream knows what it has read already."
        )
    return sent


def _producer(client: Mapping[str, str], topic: str) -> Producer:
    """A producer whose broker answers and has the topic; asking makes none."""
    where = client["bootstrap.servers"]
    producer = connected({**client, "enable.idempotence": True, "linger.ms": 5})
    try:
        topics = producer.list_topics(timeout=METADATA_TIMEOUT_SECONDS).topics
    except KafkaException as error:
        raise UnavailableError(f"Kafka at {where} does not answer ({error.args[0].str()}). Start it.") from None
    if topic not in topics:
        raise InputError(f"Kafka at {where} has no topic {topic}; make it, or correct its name.")
    return producer


def _members(value: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(value)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}
