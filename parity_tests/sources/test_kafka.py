"""Kafka: a real broker before the stream, disturbed in every way, and the same bits behind it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewPartitions
from pyspark.sql import DataFrame, Row, SparkSession

from dualpath.errors import StateError
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.log.table import DEAD_LETTER
from dualpath.parity.check import check
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker, client, create_topic
from dualpath.sources.kafka import Kafka
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE
from parity_tests.sources.topics import LINES, NUMBERS, send, stream


def taken(spark: SparkSession, payloads: Kafka, folder: Path, after: Mapping[str, int] | None = None) -> list[Row]:
    """Every row a source gives to a query whose checkpoint is in `folder`."""
    rows: list[Row] = []

    def collect(batch: DataFrame, number: int) -> None:
        rows.extend(batch.collect())

    writer = payloads.read(spark, after or {}).writeStream.foreachBatch(collect)
    writer.option("checkpointLocation", str(folder)).trigger(availableNow=True).start().awaitTermination()
    return rows


def places(rows: Sequence[Row]) -> list[tuple[str, int]]:
    return sorted((row.origin, row.position) for row in rows)


@pytest.mark.slow
def test_shuffled_and_repeated_messages_serve_the_bits_of_the_training_set(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    broker: Broker,
    topic: str,
    expected: tuple[Counter[Any], Counter[str]],
) -> None:
    repo = new_repo()
    send(broker, topic, faults.shuffled(LINES * 2))
    stream(spark, repo, Kafka(broker.address, topic, offsets_per_batch=700))
    assert faults.bits(repo) == expected
    found, once = faults.counts(repo), sum(expected[1].values())
    assert (found["rows_read"], found["accepted"], found["dead_letter"]) == (2 * len(LINES), once, 0)
    assert found["duplicate"] == found["rows_read"] - once
    build(spark, repo, repo.sources[SOURCE])
    proof = check(repo, cells=2_000, oracle_cells=500, seed=0)
    assert proof.cells >= 2_000
    assert (proof.differing, proof.oracle_differing) == (0, 0)


POISON = [None, b"", b"hello", b"[1]", b'{"user_id":"ann"', LINES[0] + LINES[1], b'{"user_id":"\xff"}', b"\xff\xfe\x00"]


def test_messages_that_are_no_events_are_kept_with_their_reason_and_their_place(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker, topic: str
) -> None:
    repo = new_repo()
    send(broker, topic, [*POISON, LINES[0]], partition=1)
    stream(spark, repo, Kafka(broker.address, topic))
    found = faults.counts(repo)
    assert (found["rows_read"], found["accepted"], found["dead_letter"]) == (len(POISON) + 1, 1, len(POISON))
    dead = logged.rows(repo.storage(SOURCE), DEAD_LETTER).to_pylist()
    dead.sort(key=lambda row: row["__position"])
    assert [row["payload"] for row in dead] == [p if p is None else p.decode(errors="replace") for p in POISON]
    assert {(row["__origin"], row["__position"]) for row in dead} == {(f"{topic}/1", n) for n in range(len(POISON))}
    reasons = ["no payload", *["not a JSON object"] * 5, *["not UTF-8"] * 2]
    assert [row["reason"] for row in dead] == reasons


@pytest.mark.slow
def test_a_restart_goes_on_where_it_was_and_finds_partitions_that_have_come_meanwhile(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    broker: Broker,
    topic: str,
    expected: tuple[Counter[Any], Counter[str]],
) -> None:
    repo, half = new_repo(), len(LINES) // 2
    send(broker, topic, LINES[:half])
    stream(spark, repo, Kafka(broker.address, topic))
    admin = client(broker.address)
    [grown] = admin.create_partitions([NewPartitions(topic, 6)]).values()
    grown.result()
    send(broker, topic, LINES[half : half + 50], partition=5)
    send(broker, topic, LINES[half + 50 :])
    stream(spark, repo, Kafka(broker.address, topic))
    assert faults.bits(repo) == expected
    assert faults.counts(repo)["rows_read"] == len(LINES)


@pytest.mark.slow
def test_a_broker_that_goes_away_and_comes_back_loses_nothing(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    broker: Broker,
    topic: str,
    expected: tuple[Counter[Any], Counter[str]],
) -> None:
    repo, half = new_repo(), len(LINES) // 2
    send(broker, topic, LINES[:half])
    payloads = Kafka(broker.address, topic, offsets_per_batch=100)
    query = start(spark, repo, repo.sources[SOURCE], payloads, interval=timedelta(0))
    try:
        faults.until(lambda: faults.counts(repo)["rows_read"])
        before = broker.address
        broker.stop()
        assert broker.start() == before
        send(broker, topic, LINES[half:])
        faults.until(lambda: faults.counts(repo)["rows_read"] == len(LINES) or query.exception())
    finally:
        query.stop()
    assert query.exception() is None
    assert faults.bits(repo) == expected


def test_a_partition_that_lags_days_behind_the_others_is_read_like_them(
    spark: SparkSession, new_repo: Callable[[], Repo], broker: Broker
) -> None:
    name = f"events-{next(NUMBERS)}"
    create_topic(broker.address, name, partitions=2, config={"message.timestamp.type": "CreateTime"})
    repo, half = new_repo(), len(LINES) // 2
    source = replace(repo.sources[SOURCE], arrival_time=None)
    late, early = (int(datetime(2026, 3, day, tzinfo=UTC).timestamp() * 1000) for day in (9, 5))
    for partition, lines, timestamp in ((0, LINES[:half], late), (1, LINES[half:], early)):
        send(broker, name, lines, partition=partition, timestamp=timestamp)
        start(spark, repo, source, Kafka(broker.address, name)).awaitTermination()
    found = faults.counts(repo)
    assert found["rows_read"] == len(LINES)
    assert found["accepted"] + found["duplicate"] == len(LINES)
    arrived = Counter(faults.log(repo)["arrival_time"].to_pylist())
    assert arrived.keys() == {datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)}
    assert sum(arrived.values()) == found["accepted"] > half


def test_a_row_has_the_brokers_time_the_id_of_the_header_and_its_place(
    spark: SparkSession, broker: Broker, topic: str, tmp_path: Path
) -> None:
    headers = [
        [("event_id", b"first"), ("event_id", b"e1")],
        [("produced_at", b"17")],
        [("event_id", b"\xff")],
        [("event_id", b" ")],
        [("event_id", None)],
    ]
    began = datetime.now(UTC)
    for each in headers:
        send(broker, topic, [b"{}"], partition=2, headers=each, timestamp=1_000)
    rows = sorted(taken(spark, Kafka(broker.address, topic), tmp_path), key=lambda row: row.position)
    assert [row.event_id for row in rows] == ["e1", None, None, None, None]
    assert places(rows) == [(f"{topic}/2", n) for n in range(5)]
    assert all(abs(row.arrival_time.astimezone(UTC) - began) < timedelta(minutes=5) for row in rows)


def test_reading_after_given_positions_begins_exactly_behind_them(
    spark: SparkSession, broker: Broker, topic: str, tmp_path: Path
) -> None:
    for partition, count in enumerate((5, 4, 3, 0)):
        send(broker, topic, [b"{}"] * count, partition=partition)
    after = {f"{topic}/0": 2, f"{topic}/1": 3, "another/0": 7, "0001.jsonl": 0}
    payloads = Kafka(broker.address, topic)
    rest = [(f"{topic}/0", 3), (f"{topic}/0", 4), *((f"{topic}/2", n) for n in range(3))]
    assert places(taken(spark, payloads, tmp_path / "after", after)) == rest
    assert len(taken(spark, payloads, tmp_path / "all")) == 12
    with pytest.raises(StateError, match=f"{topic}/9 was read before"):
        payloads.read(spark, {f"{topic}/9": 1})


def test_a_first_start_begins_at_the_timestamp_and_new_partitions_at_their_beginning(
    spark: SparkSession, broker: Broker, tmp_path: Path
) -> None:
    name = f"events-{next(NUMBERS)}"
    create_topic(broker.address, name, partitions=2)
    for day in (1, 2, 3):
        stamp = int(datetime(2026, 3, day, tzinfo=UTC).timestamp() * 1000)
        send(broker, name, [b"{}"], partition=0, timestamp=stamp)
    payloads = Kafka(broker.address, name, starting_timestamp=datetime(2026, 3, 2, tzinfo=UTC))
    assert places(taken(spark, payloads, tmp_path)) == [(f"{name}/0", 1), (f"{name}/0", 2)]
    send(broker, name, [b"{}"], partition=1, timestamp=0)
    assert places(taken(spark, payloads, tmp_path)) == [(f"{name}/1", 0)]


def test_a_pattern_reads_every_topic_of_such_a_name_also_one_that_comes_later(
    spark: SparkSession, broker: Broker, tmp_path: Path
) -> None:
    family = f"family{next(NUMBERS)}"
    for name in (f"{family}-a", f"{family}-b", f"not-{family}-a"):
        create_topic(broker.address, name, partitions=1)
        send(broker, name, [b"{}", b"{}"])
    payloads = Kafka(broker.address, pattern=f"{family}-.")
    assert places(taken(spark, payloads, tmp_path / "behind", {f"{family}-a/0": 0})) == [
        (f"{family}-a/0", 1),
        (f"{family}-b/0", 0),
        (f"{family}-b/0", 1),
    ]
    assert len(taken(spark, payloads, tmp_path / "all")) == 4
    create_topic(broker.address, f"{family}-c", partitions=1)
    send(broker, f"{family}-c", [b"{}"])
    assert places(taken(spark, payloads, tmp_path / "all")) == [(f"{family}-c/0", 0)]


def test_messages_that_kafka_deleted_unread_fail_the_query_unless_that_is_accepted(
    spark: SparkSession, broker: Broker, topic: str, tmp_path: Path
) -> None:
    payloads = Kafka(broker.address, topic)
    send(broker, topic, [b"{}"] * 3, partition=0)
    assert len(taken(spark, payloads, tmp_path)) == 3
    send(broker, topic, [b"{}"] * 5, partition=0)
    admin = client(broker.address)
    [deleted] = admin.delete_records([TopicPartition(topic, 0, 6)]).values()
    deleted.result()
    with pytest.raises(Exception, match=r"may have been lost|data loss|failOnDataLoss"):
        taken(spark, payloads, tmp_path)
    assert places(taken(spark, replace(payloads, accept_loss=True), tmp_path)) == [(f"{topic}/0", 6), (f"{topic}/0", 7)]
