"""A dimension's table in a Kafka topic, compacted or not, whose messages are its versions.

Kafka forgets the messages before the last one of a key. What was read of them is kept: a table that is read anew goes
on from the one before, with the messages since then.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.dimension import Dimension
from dualpath.errors import InputError, UnavailableError
from dualpath.field import Field
from dualpath.kinds import INSTANT
from dualpath.sources.kafka import ANSWER_TIMEOUT_MS, Kafka, check_connector
from dualpath.sources.succession import succession
from dualpath.sources.tables import State, named, naming, parsed
from dualpath.versions import Versions, text_of, typed

logger = logging.getLogger(__name__)
Offsets = dict[str, int]
"""An offset for each partition, whose numbers are texts, as in JSON."""
READ = b"dualpath-read"
"""The metadata of a table that say what it was read of, and up to which offsets."""


@dataclass(frozen=True)
class Topics:
    """The topics of a Kafka in which tables of dimensions are; a stream takes those of the Kafka of its events."""

    spark: SparkSession
    kafka: Kafka

    def state(self, dimension: Dimension) -> State:
        """What a dimension's topic holds now, by its id and the ends of its partitions.

        Raises `InputError` if there is no such topic, and `UnavailableError` if Kafka does not answer.
        """
        check_connector(self.spark)
        with naming(dimension), self.kafka.admin(self.spark) as admin:
            topic, starts, ends = _found(self.spark, admin, str(dimension.topic))
        own = named(dimension, topic)
        columns = pa.schema([(each.name, each.stored) for each in dimension.columns])

        def read(known: Versions | None) -> Versions:
            before, begins = columns.empty_table(), starts
            if known and (last := json.loads((known.rows.schema.metadata or {}).get(READ, b"{}"))).get("of") == own:
                before = known.rows.replace_schema_metadata()
                begins = {p: max(start, last["ends"].get(p, 0)) for p, start in starts.items()}
            with naming(dimension):
                said, deleted = _said(dimension, self._messages(dimension, begins, ends) if begins != ends else [])
            made = succession(dimension, before, said.cast(columns), deleted)
            return Versions(dimension, made.replace_schema_metadata({READ: json.dumps({"of": own, "ends": ends})}))

        return State(named(dimension, [topic, ends]), read)

    def _messages(self, dimension: Dimension, begins: Offsets, ends: Offsets) -> list[dict[str, Any]]:
        """The messages of each partition from one offset to before another, one partition after the other."""
        rows = (
            self.spark.read.format("kafka")
            .options(**self.kafka.options, subscribe=dimension.topic)
            .option("kafkaConsumer.pollTimeoutMs", ANSWER_TIMEOUT_MS)
            .option("startingOffsets", json.dumps({dimension.topic: begins}))
            .option("endingOffsets", json.dumps({dimension.topic: ends}))
        )
        try:
            found = rows.load().select("partition", "offset", "key", "value", F.unix_micros("timestamp").alias("time"))
            return found.toArrow().sort_by([("partition", "ascending"), ("offset", "ascending")]).to_pylist()
        except (Py4JJavaError, PySparkException) as error:
            raise UnavailableError(
                f"{dimension.where} cannot be read at {self.kafka.bootstrap} ({str(error).splitlines()[0]})."
            ) from None


def _found(spark: SparkSession, admin: Any, topic: str) -> tuple[str, Offsets, Offsets]:
    """A topic's id, and for each partition the offset of its first message and the one after its last."""
    jvm: Any = spark._jvm
    # A name with dots is looked up in the JVM segment by segment.
    partition_of, spec = jvm.org.apache.kafka.common.TopicPartition, jvm.org.apache.kafka.clients.admin.OffsetSpec
    described = admin.describeTopics(jvm.java.util.Collections.singletonList(topic)).allTopicNames().get()[topic]
    partitions = [partition_of(topic, each.partition()) for each in described.partitions()]

    def offsets(which: Any) -> Offsets:
        asked = jvm.java.util.HashMap()
        for each in partitions:
            asked.put(each, which)
        found = admin.listOffsets(asked)
        return {str(each.partition()): found.partitionResult(each).get().offset() for each in partitions}

    return described.topicId().toString(), offsets(spec.earliest()), offsets(spec.latest())


def _said(dimension: Dimension, messages: Sequence[Mapping[str, Any]]) -> tuple[pa.Table, np.ndarray]:
    """What messages say, a row for each that counts, and which of them are tombstones.

    A message that is refused counts for nothing if a later one has the same key; else `InputError` is raised.
    """
    keys, begin = dimension.columns[: len(dimension.keys)], dimension.valid_from.name
    values = (*dimension.fields, dimension.valid_from, *filter(None, [dimension.valid_to]))
    given = [_keys(each["key"], keys) for each in messages]
    bodies = [*parsed(each["value"] or b"null" for each in messages)]
    deleted = np.array([each["value"] is None for each in messages], dtype=bool)
    owners, refused = typed(keys, [[each[i] for each in given] for i in range(len(keys))])
    told, reasons = typed(values, [[text_of(body, field) for body in bodies] for field in values])
    reasons |= {row: "it is not a JSON object" for row, body in enumerate(bodies) if not isinstance(body, Mapping)}
    refused |= {row: reason for row, reason in reasons.items() if not deleted[row]}
    sent = pa.array([each["time"] for each in messages], pa.int64()).cast(INSTANT)
    columns = {name: table[name] for table in (owners, told) for name in table.column_names}
    table = pa.table(columns | {begin: pc.coalesce(columns[begin], pa.chunked_array([sent]))})
    refused |= {row: dimension.ends_too_early for row in Versions(dimension, table).backwards() if row not in refused}
    last = {each["key"]: row for row, each in enumerate(messages)}
    for row, reason in sorted(refused.items()):
        each = messages[row]
        where = f"{dimension.where}, partition {each['partition']}, offset {each['offset']}: {reason}"
        if each["key"] is None or last[each["key"]] == row:
            raise InputError(f"{where}; send that key again, or a tombstone.")
        logger.warning("dimension '%s': %s; a later message of its key stands in for it.", dimension.name, where)
    counts = np.setdiff1d(np.arange(len(messages)), list(refused))
    return table.take(counts), deleted[counts]


def _keys(key: bytes | None, fields: Sequence[Field]) -> list[str | None]:
    """The keys in a message's key: a JSON object has them, or it is the text of the only one, in quotes or not."""
    [found] = parsed([key or b"null"])
    if isinstance(found, Mapping):
        return [text_of(found, field) for field in fields]
    try:
        text = found if isinstance(found, str) or key is None else key.decode()
    except UnicodeDecodeError:
        text = None
    return [text] if len(fields) == 1 else [None] * len(fields)
