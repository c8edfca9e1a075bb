"""Avro from a real Kafka broker through the stream: the bits of the JSON payloads, and a registry that goes away."""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import fastavro
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from dualpath.console.cause import explain
from dualpath.decoders import avro
from dualpath.errors import UnavailableError
from dualpath.jobs.stream import start
from dualpath.log.table import DEAD_LETTER
from dualpath.repo import Repo
from dualpath.runtime.kafka import Broker
from dualpath.sources.kafka import Kafka
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE
from parity_tests.sources.registry import registry
from parity_tests.sources.topics import LINES, send

ROWS = [json.loads(line, parse_float=str) for line in LINES]
NAMES = sorted({name for row in ROWS for name in row})
WHOLE = [name for name in NAMES if any(isinstance(row.get(name), int) for row in ROWS)]
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "shop_event",
        "fields": [{"name": n, "type": ["null", "long" if n in WHOLE else "string"]} for n in NAMES],
    }
)


def message(row: dict[str, Any]) -> bytes:
    stream = BytesIO(b"\0\0\0\0\7")
    stream.seek(5)
    fastavro.schemaless_writer(stream, SCHEMA, row)
    return stream.getvalue()


def avro_stream(spark: SparkSession, repo: Repo, url: str, payloads: Kafka) -> StreamingQuery:
    return start(spark, repo, replace(repo.sources[SOURCE], decoder=avro(registry=url)), payloads)


@pytest.mark.slow
def test_avro_serves_the_bits_of_json_and_outlives_a_registry_that_is_away(
    spark: SparkSession,
    new_repo: Callable[[], Repo],
    broker: Broker,
    topic: str,
    expected: tuple[Counter[Any], Counter[str]],
) -> None:
    repo, payloads = new_repo(), Kafka(broker.address, topic)
    strays = {b'{"a": 1}': "no Confluent framing: first byte is 123", b"\0\0\0\0\x08": "schema id 8 is not in the"}
    send(broker, topic, [*map(message, ROWS), *strays])
    with registry() as fake:
        fake.put(7, json.loads(fastavro.schema.to_parsing_canonical_form(SCHEMA)))
        fake.only = "Basic " + b64encode(b"ann:secret").decode()
        query = avro_stream(spark, repo, fake.url, payloads)
        with pytest.raises(Exception, match="does not answer") as failed:
            query.awaitTermination()
        said = explain(failed.value)
        assert isinstance(said, UnavailableError)
        assert said.message.startswith(f"The schema registry {fake.url} does not answer (401: Unauthorized)")
        assert faults.counts(repo)["dead_letter"] == 0
        fake.only = None
        avro_stream(spark, repo, fake.url, payloads).awaitTermination()
        assert max(Counter(fake.asked).values()) < len(ROWS) / 10
    assert faults.bits(repo) == expected
    dead = {row["payload"]: row["reason"] for row in logged.rows(repo.storage(SOURCE), DEAD_LETTER).to_pylist()}
    assert dead.keys() == {b64encode(each).decode() for each in strays}
    assert all(dead[b64encode(each).decode()].startswith(reason) for each, reason in strays.items())
