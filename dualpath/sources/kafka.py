"""Payloads from Kafka: the messages of a topic, or of every topic whose name matches a pattern."""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.errors import InputError, StateError, UnavailableError
from dualpath.runtime import jars
from dualpath.sources.source import NOTHING
from dualpath.spark.message import COLUMN, last_header

PROVIDER = "org.apache.spark.sql.kafka010.KafkaSourceProvider"
EVENT_ID = "event_id"
"""The header of a message that holds the event's id, UTF-8."""

EARLIEST = -2
ANSWER_TIMEOUT_MS = 15_000


@dataclass(frozen=True)
class Kafka:
    """A Kafka topic, or all topics whose whole name matches the Java regular expression `pattern`.

    The origin of a row is `topic/partition`, its position the offset, its arrival time the record's Kafka time
    (milliseconds) and its id the header `event_id`, if there is one that is not blank. Fields may be read of
    all that is around a payload (`dualpath.kafka`). Partitions and, with a pattern, topics that appear while the stream
    runs are read from their beginning.

    `offsets_per_batch` bounds a micro-batch. `starting_timestamp` is where a first query begins instead of at the
    earliest message: at the first one of that time or later, in every partition; one that goes on behind others
    (`after`) is not moved by it. `client` holds settings of the Kafka consumer by Kafka's names, such as
    `security.protocol` and `sasl.jaas.config`. If Kafka has deleted messages before they were read the query
    fails, unless `accept_loss`.
    """

    bootstrap: str
    topic: str | None = None
    pattern: str | None = None
    offsets_per_batch: int | None = None
    starting_timestamp: datetime | None = None
    accept_loss: bool = False
    client: Mapping[str, str] = field(default_factory=dict, repr=False)  # it may hold passwords

    def __post_init__(self) -> None:
        if (self.topic is None) == (self.pattern is None):
            raise InputError(f"Kafka at {self.bootstrap}: name either a topic or a pattern of topics.")

    @property
    def name(self) -> str:
        return f"the topic {self.topic}" if self.topic else f"the topics {self.pattern}"

    def read(self, spark: SparkSession, after: Mapping[str, int] = NOTHING) -> DataFrame:
        """See `dualpath.sources.source.PayloadSource`; an origin of another topic in `after` means nothing here.

        Raises:
            InputError: there is no such topic.
            UnavailableError: Kafka does not answer, or the session has no connector of Spark's version.
            StateError: a partition that was read before is not there.
        """
        check_connector(spark)
        there = self.partitions(spark)
        rows = (
            spark.readStream.format("kafka")
            .options(**self.options)
            .options(**self._start(there, after))
            # Spark takes a pattern that is found anywhere in the name.
            .option("subscribe" if self.topic else "subscribePattern", self.topic or f"^(?:{self.pattern})$")
            .option("includeHeaders", True)
            .option("failOnDataLoss", not self.accept_loss)
        )
        if self.offsets_per_batch:
            rows = rows.option("maxOffsetsPerTrigger", self.offsets_per_batch)
        return rows.load().select(
            "value",
            _text(last_header(F.col("headers"), EVENT_ID)).alias("event_id"),
            F.col("timestamp").alias("arrival_time"),
            F.concat_ws("/", "topic", "partition").alias("origin"),
            F.col("offset").alias("position"),
            # Spark's optimizer leaves out what no place of the source reads.
            F.struct("key", "headers", "topic", "partition", "offset", "timestamp").alias(COLUMN),
        )

    def partitions(self, spark: SparkSession) -> dict[str, list[int]]:
        """The partitions of every topic that is read; no topic but the named one is made by asking."""
        with self.admin(spark) as admin:
            jvm = _jvm(spark)
            names = [self.topic] if self.topic else list(admin.listTopics().names().get())
            if self.pattern:
                names = [name for name in names if jvm.java.util.regex.Pattern.matches(self.pattern, name)]
            wanted = jvm.java.util.ArrayList()
            for name in names:
                wanted.add(name)
            described = admin.describeTopics(wanted).allTopicNames().get()
            return {name: sorted(p.partition() for p in described[name].partitions()) for name in described}

    @property
    def options(self) -> dict[str, str]:
        """Where Kafka is and the client's settings, as Spark's reader takes them."""
        return {f"kafka.{name}": value for name, value in self._client().items()}

    def admin(self, spark: SparkSession) -> AbstractContextManager[Any]:
        """Kafka's administrator's client of the JVM, for a block; what fails in it is told."""
        return _admin(spark, self._client(), f"Kafka at {self.bootstrap}")

    def _client(self) -> dict[str, str]:
        return {**self.client, "bootstrap.servers": self.bootstrap}

    def _start(self, there: Mapping[str, list[int]], after: Mapping[str, int]) -> dict[str, str]:
        """Where a query without a checkpoint begins."""
        known = {origin: offset for origin, offset in after.items() if origin.rpartition("/")[0] in there}
        if lost := known.keys() - {f"{topic}/{p}" for topic, numbers in there.items() for p in numbers}:
            raise StateError(
                f"Kafka at {self.bootstrap}: the partition {', '.join(sorted(lost))} was read before and is not "
                "there; the topic was made anew. Read it as another topic, by a new name."
            )
        if known:
            behind = {
                topic: {str(p): known.get(f"{topic}/{p}", EARLIEST - 1) + 1 for p in numbers}
                for topic, numbers in there.items()
            }
            return {"startingOffsets": json.dumps(behind)}
        if self.starting_timestamp is None:
            return {"startingOffsets": "earliest"}
        instant = int(self.starting_timestamp.timestamp() * 1000)
        # A partition without a message of that time or later begins with the next one that comes.
        return {"startingTimestamp": str(instant), "startingOffsetsByTimestampStrategy": "latest"}


def check_connector(spark: SparkSession) -> None:
    """Raise `UnavailableError` unless the session has the Kafka connector, in Spark's version."""
    jvm = _jvm(spark)
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    try:
        provider = jvm.java.lang.Class.forName(PROVIDER, False, loader)
    except Py4JJavaError:
        raise UnavailableError(
            "This Spark session has no Kafka connector. Start it with the settings of dualpath.runtime.jars, or pass "
            f"the jars to spark-submit: org.apache.spark:{jars.CONNECTOR}:{spark.version} and what it depends on."
        ) from None
    jars.agree(provider.getPackage().getImplementationVersion(), spark.version)


def _text(header: Column) -> Column:
    """A header as text; null if there is none, or it is blank or not UTF-8."""
    value = F.try_validate_utf8(header.cast("string"))
    return F.when(F.trim(value) != "", value)


@contextmanager
def _admin(spark: SparkSession, client: Mapping[str, str], where: str) -> Iterator[Any]:
    """Kafka's administrator's client of the JVM, which takes the same settings as the consumer; tells what failed."""
    jvm = _jvm(spark)
    settings = jvm.java.util.HashMap()
    for name, value in {
        "default.api.timeout.ms": ANSWER_TIMEOUT_MS,
        "request.timeout.ms": ANSWER_TIMEOUT_MS,
        **client,
    }.items():
        settings.put(name, str(value))
    admin = None
    try:
        admin = jvm.org.apache.kafka.clients.admin.Admin.create(settings)
        yield admin
    except Py4JJavaError as error:
        cause = error.java_exception.getCause() or error.java_exception
        if cause.getClass().getSimpleName() == "UnknownTopicOrPartitionException":
            raise InputError(f"{where} has not all of the topics; make them, or correct the name.") from None
        raise UnavailableError(
            f"{where} cannot be used ({cause.getMessage()}). Start it, or correct its address and its settings."
        ) from None
    finally:
        if admin is not None:
            admin.close()


def _jvm(spark: SparkSession) -> Any:
    return spark._jvm
