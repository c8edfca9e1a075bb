"""The stream from Kafka to Redis at full speed, beside what Spark alone does with the same rows; and what it costs.

All of it in one run on two cores, with events of one hour, each once, in order. The ceiling is Spark's own batch
`groupBy` of the same messages, read and parsed but deduplicated, logged and served by nobody. The peer is the
textbook's sliding window, whose finished numbers go to the same Redis; it gets fewer rows, or it would
take an hour and more memory than there is.
"""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming.query import StreamingQuery

from benchmarks.measure import Sheet
from benchmarks.place import Place, place
from dualpath.jobs.metrics import Metrics
from dualpath.jobs.stream import start
from dualpath.online.connection import connect
from dualpath.runtime import jars
from dualpath.sources.kafka import Kafka
from dualpath.spark.session import session

USERS, FEW_USERS = 50_000, 1_000
SMALL = 300_000
"""Events of the runs that the table compares, and twice those of the sliding window."""
BATCHES = 4
"""Micro-batches of the full run."""
FIRST = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1_000)
HOUR = 3_600_000
SCHEMA = "event_id string, user_id string, event_time timestamp"
DECLARATIONS = """
from datetime import timedelta

from feast import Entity, ValueType

from dualpath.aggregates import Count
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import text
from dualpath.windows import days, minutes

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
for name, window, horizon in [
    *((name, minutes(30), timedelta(days=1)) for name in ("warm", "full", "plain", "few", "half")),
    ("wide", days(7), timedelta(days=1)),
    ("brief", minutes(30), timedelta(seconds=5)),
]:
    source = event_source(
        name, fields=[text("user_id", required=True)], arrival_time=None, duplicates_within=horizon
    )
    globals()[name] = feature_view(
        f"{name}_activity", entity=user, source=source, features=[feature("actions", Count(), over=window)]
    )
"""


@dataclass(frozen=True)
class Cost:
    """A run of a stream: batches that had rows, and what it remembers in the end."""

    events: int
    seconds: float
    state_rows: int
    state_bytes: int

    @property
    def rate(self) -> float:
        """Events a second, of the time that batches took."""
        return self.events / self.seconds


def run(*, events: int) -> Iterator[Sheet]:
    """The throughput beside its peers, and the table of what it depends on."""
    with place(_declare) as here:
        spark = session("benchmarks", cores=2, conf=jars.settings(os.environ))
        try:
            few, half = _fill(here, FEW_USERS, SMALL), _fill(here, USERS, SMALL // 2)
            topic, warm = _fill(here, USERS, events), _fill(here, USERS, SMALL)
            _stream(spark, here, "warm", warm, SMALL)
            _batch(spark, here, warm)
            ceiling = events / _batch(spark, here, topic)
            full = _stream(spark, here, "full", topic, events)
            sliding = _sliding(spark, here, half, SMALL // 2)
            yield _beside(events, full, ceiling, sliding)
            runs = {
                f"{USERS:,} users, 30 minutes, {SMALL:,} events": ("plain", warm, SMALL),
                f"{FEW_USERS:,} users": ("few", few, SMALL),
                "7 days": ("wide", warm, SMALL),
                f"{SMALL // 2:,} events": ("half", half, SMALL // 2),
                "duplicates within 5 seconds, not a day": ("brief", warm, SMALL),
            }
            yield _table({name: _stream(spark, here, *of) for name, of in runs.items()})
        finally:
            spark.stop()


def _beside(events: int, full: Cost, ceiling: float, sliding: Cost) -> Sheet:
    rates = {"dualpath": full.rate, "Spark's batch groupBy": ceiling, "Spark's sliding window": sliding.rate}
    cells = {by: f"{rate:,.0f} events/s, {rate / full.rate:.2f} of dualpath" for by, rate in rates.items()}
    data = {"events_per_second": rates, "sliding_state_rows": sliding.state_rows, "state_rows": full.state_rows}
    cells["state of dualpath"], cells["state of the sliding window"] = _state(full), _state(sliding)
    return Sheet(f"{events:,} events of {USERS:,} users, Kafka to Redis, 2 cores", cells, data)


def _table(costs: dict[str, Cost]) -> Sheet:
    cells = {name: f"{cost.rate:,.0f} events/s, {_state(cost)}" for name, cost in costs.items()}
    data = {n: {"events_per_second": c.rate, "rows": c.state_rows, "bytes": c.state_bytes} for n, c in costs.items()}
    return Sheet("what the stream's cost and state depend on; each line changes one thing of the first", cells, data)


def _state(cost: Cost) -> str:
    return f"{cost.state_rows:,} rows, {cost.state_bytes / 2**20:,.0f} MiB"


def _declare(folder: Path) -> None:
    for file in folder.glob("*.py"):
        file.unlink()
    (folder / "declarations.py").write_text(DECLARATIONS)


def _fill(here: Place, users: int, events: int) -> str:
    """A topic with events of users, an hour's worth."""
    topic = here.topic(f"events-{users}-{events}-{time.monotonic_ns()}")
    producer = Producer(
        {"bootstrap.servers": here.broker.address, "linger.ms": 50, "queue.buffering.max.messages": 10**7}
    )
    for number in range(events):
        user = f"user_{number * 7_919 % users:06d}"
        instant = datetime.fromtimestamp((FIRST + number * HOUR // events) / 1_000, UTC).isoformat("T", "milliseconds")
        value = f'{{"event_id":"{number}","user_id":"{user}","event_time":"{instant}"}}'
        producer.produce(topic, value, key=user)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()
    return topic


def _stream(spark: SparkSession, here: Place, source: str, topic: str, events: int) -> Cost:
    """dualpath's stream over a topic, from an empty state to its end."""
    payloads, metrics = Kafka(here.broker.address, topic, offsets_per_batch=events // BATCHES), Metrics()
    seconds = _seconds(start(spark, here.repo, here.repo.sources[source], payloads, metrics=metrics))
    names = ("dualpath_state_rows", "dualpath_state_bytes")
    rows, size = (metrics.registry.get_sample_value(name, {"source": source}) for name in names)
    return Cost(events, seconds, int(rows or 0), int(size or 0))


def _seconds(query: StreamingQuery) -> float:
    """How long the batches of a query took that had rows."""
    query.awaitTermination()
    reports: list[Any] = query.recentProgress
    return sum(each["durationMs"]["triggerExecution"] for each in reports if each["numInputRows"]) / 1_000


def _parsed(messages: DataFrame) -> DataFrame:
    return messages.select(F.from_json(F.col("value").cast("string"), SCHEMA).alias("event")).select("event.*")


def _batch(spark: SparkSession, here: Place, topic: str) -> float:
    """Seconds of Spark's batch `groupBy` over the same messages."""
    options = {"kafka.bootstrap.servers": here.broker.address, "subscribe": topic}
    began = time.perf_counter()
    minute = F.floor(F.unix_micros("event_time") / F.lit(60_000_000))
    counts = _parsed(spark.read.format("kafka").options(**options).load()).groupBy("user_id", minute).count()
    counts.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - began


def _sliding(spark: SparkSession, here: Place, topic: str, events: int) -> Cost:
    """The textbook's way: a count for each user and minute's window, kept by Spark, written as it changes."""
    options = {"kafka.bootstrap.servers": here.broker.address, "subscribe": topic, "startingOffsets": "earliest"}
    address = here.repo.redis_address

    def put(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        redis: Any = connect(address)
        for batch in batches:
            with redis.pipeline(transaction=False) as pipe:
                for user, end, count in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    pipe.hset(f"sliding:{user}", end, count)
                pipe.execute()
        yield pa.RecordBatch.from_pydict({"done": [1]})

    def land(batch: DataFrame, number: int) -> None:
        finished = batch.select("user_id", F.unix_micros("window.end").alias("end"), "count")
        finished.mapInArrow(put, "done bigint").collect()

    messages = spark.readStream.format("kafka").options(**options).option("maxOffsetsPerTrigger", events // BATCHES)
    counts = (
        _parsed(messages.load())
        .withWatermark("event_time", "1 hour")
        .groupBy(F.window("event_time", "30 minutes", "1 minute"), "user_id")
        .count()
    )
    writer = counts.writeStream.outputMode("update").trigger(availableNow=True).foreachBatch(land)
    query = writer.option("checkpointLocation", str(here.repo.folder / "sliding")).start()
    seconds, reports = _seconds(query), list[Any](query.recentProgress)
    most = max((each["stateOperators"][0] for each in reports), key=lambda state: state["numRowsTotal"])
    return Cost(events, seconds, most["numRowsTotal"], most["memoryUsedBytes"])
