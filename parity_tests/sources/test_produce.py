"""`dualpath produce`: lines of a file become messages, at the pace that was asked for."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql import SparkSession

from dualpath.declare import event_source
from dualpath.demo.replay import Clock, own, paced, rate
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker
from dualpath.schema import EventSource, timestamp
from parity_tests.conftest import SOURCE
from parity_tests.console.commands import run_json
from parity_tests.sources.topics import LINES


class Hands:
    """A clock that moves only when someone waits, and never as far as was asked for."""

    def __init__(self) -> None:
        self.time = 100.0

    def wait(self, seconds: float) -> None:
        self.time += min(seconds, 0.75)


def due(lines: Sequence[bytes], pace: Any) -> list[float]:
    """The seconds after the start at which lines are handed over."""
    hands = Hands()
    return [hands.time - 100 for _ in paced(lines, pace, Clock(lambda: hands.time, hands.wait))]


def test_lines_are_handed_over_at_the_rate() -> None:
    assert due([b"{}"] * 5, rate(0.5)) == [0, 2, 4, 6, 8]


def test_lines_are_handed_over_as_far_apart_as_they_arrived_sped_up() -> None:
    times = ["10:00:00", "10:00:30", "09:00:00", "10:02:00"]
    lines = [json.dumps({"arrival_time": f"2026-03-01T{t}Z"}).encode() for t in times]
    lines.insert(2, b"no JSON")
    assert due(lines, own(EventSource("clicks", ()), speed=10)) == [0, 3, 3, 3, 12]
    happened = EventSource("clicks", (), arrival_time=None)
    assert due([line.replace(b"arrival", b"event") for line in lines], own(happened, speed=10)) == [0, 3, 3, 3, 12]
    counted = event_source("clicks", fields=[], arrival_time=timestamp("at", unit="ms"))
    assert due([b'{"at": 1772359200000}', b'{"at": "1772359260000"}'], own(counted, speed=10)) == [0, 6]


def test_produced_lines_are_whole_and_keyed_by_entity_and_the_stream_reads_them(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker, topic: str, tmp_path: Path
) -> None:
    repo, where = new_repo(), ("--kafka", broker.address, "--topic", topic)
    file = tmp_path / "events.jsonl"
    around = LINES[50][:-1] + b',"$kafka":{"key":{"id":7},"headers":{"type":"\xc3\xa9","n":3,"none":null}}}'
    file.write_bytes(b"\n".join([*LINES[:50], b"no JSON", around]))
    sent = run_json("produce", file, "--repo", repo.folder, *where, "--rate", "100000")
    assert (sent["rows"], sent["topic"], sent["source"]) == (52, topic, SOURCE)
    got = received(broker, topic, 52)
    assert Counter(value for _, value, _ in got) == Counter([*LINES[:50], b"no JSON", around])
    assert all(int(headers["produced_at"]) > 1e15 and "event_id" not in headers for _, _, headers in got)
    [(key, _, headers)] = [each for each in got if each[1] == around]
    assert (key, headers.pop("produced_at") is None) == (b'{"id":7}', False)
    assert headers == {"type": "é".encode(), "n": b"3", "none": None}
    assert all(key == json.loads(value)["user_id"].encode() for key, value, _ in got if key and value != around)
    counts = run_json("stream", "--once", "--repo", repo.folder, *where, "--max-offsets", "40")["sources"][SOURCE]
    assert (counts["rows_read"], counts["dead_letter"]) == (52, 1)


def received(broker: Broker, topic: str, count: int) -> list[tuple[bytes | None, bytes, dict[str, bytes]]]:
    """Key, value and headers of messages."""
    settings = {"bootstrap.servers": broker.address, "group.id": "tests", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, p, 0) for p in range(4)])
    messages = consumer.consume(count, timeout=30)
    consumer.close()
    return [(m.key(), m.value(), dict(m.headers() or ())) for m in messages]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("stream", "--topic", "t"), "name it with --kafka"),
        (("stream", "--kafka", "h:1", "--topic", "t", "--topic-pattern", "t.*"), "either a topic or a pattern"),
        (("stream", "--kafka", "h:1", "--topic", "t", "--kafka-option", "x"), "NAME=VALUE"),
        (("produce", "none.jsonl", "--kafka", "h:1", "--topic", "t"), "none.jsonl: cannot be read"),
        (("produce", "x", "--kafka", "h:1", "--topic", "t", "--rate", "1", "--speed", "1"), "exclude each other"),
        (("produce", __file__, "--kafka", "h:1", "--topic", "t", "--kafka-option", "a=b"), "refuses its settings"),
        (("produce", __file__, "--kafka", "BROKER", "--topic", "nowhere"), "has no topic nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    calm: Repo, broker: Broker, words: tuple[str, ...], complaint: str
) -> None:
    words = tuple(broker.address if word == "BROKER" else word for word in words)
    assert complaint in run_json(*words, "--repo", calm.folder, code=1)["error"]


@pytest.fixture(scope="module")
def calm(new_repo: Callable[[], Repo]) -> Repo:
    """A repo without events."""
    return new_repo()
