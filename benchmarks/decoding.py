"""What the form of payloads costs the stream: the same events as flat JSON, nested JSON, lists in JSON, bare Avro and
Protobuf, decoded and admitted."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import fastavro
from google.protobuf import descriptor_pb2, message_factory
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.measure import Figure, take_turns
from dualpath.declare import event_source
from dualpath.decoders import Avro, Decoder, Protobuf
from dualpath.schema import EventSource, decimal, integer, text, timestamp
from dualpath.sources.decoder import decoded
from dualpath.spark.admit import admit
from dualpath.spark.session import session

EVENTS, TURNS, ITEMS = 500_000, 6, 5
FLAT = EventSource(
    "orders", (text("user", required=True), text("action"), integer("quantity"), decimal("price", scale=2))
)
NESTED = event_source(
    "orders",
    event_id=text("event_id", path="meta.id"),
    event_time=timestamp("event_time", path="meta.times.event"),
    arrival_time=timestamp("arrival_time", path="meta.times.arrival"),
    fields=[
        text("user", path="context.user.id", required=True),
        text("action", path="context.action"),
        integer("quantity", path="lines[0].quantity"),
        decimal("price", path="lines[0].price", scale=2),
    ],
)
LISTED = event_source(
    "orders",
    each="lines",
    fields=[
        text("user", required=True),
        text("action"),
        integer("quantity", path="lines[*].quantity"),
        decimal("price", path="lines[*].price", scale=2),
    ],
)
TEXTS = ("event_id", "event_time", "arrival_time", "user", "action", "price")
SCHEMA = {
    "type": "record",
    "name": "order",
    "fields": [*({"name": n, "type": "string"} for n in TEXTS), {"name": "quantity", "type": "long"}],
}


@dataclass(frozen=True)
class Form:
    """How events are written: the payload of each message, and how many events it has."""

    source: EventSource
    written: Callable[[dict[str, Any]], bytes]
    decoder: Decoder | None = None
    items: int = 1


def run() -> Iterator[Figure]:
    """Seconds for all events, each format by turns."""
    spark = session("benchmarks", cores=2)
    try:
        parsed, protobuf = fastavro.parse_schema(SCHEMA), _protobuf()
        message = message_factory.GetMessageClass(protobuf._found()[1])

        def avro_bytes(event: dict[str, Any]) -> bytes:
            stream = BytesIO()
            fastavro.schemaless_writer(stream, parsed, event)
            return stream.getvalue()

        forms = {
            "flat JSON": Form(FLAT, _json),
            "nested JSON": Form(NESTED, lambda event: _json(_nested(event))),
            f"JSON, lists of {ITEMS}": Form(LISTED, lambda event: _json(_listed(event)), items=ITEMS),
            "Avro": Form(FLAT, avro_bytes, Avro(schema=json.dumps(SCHEMA))),
            "Protobuf": Form(FLAT, lambda event: message(**event).SerializeToString(), protobuf),
        }
        peers = {name: _admitting(spark, form) for name, form in forms.items()}
        yield take_turns(f"to decode and admit {EVENTS:,} events", peers, range(TURNS), _check)
    finally:
        spark.stop()


def _check(_: int, accepted: Any) -> None:
    assert set(accepted.values()) == {EVENTS}, f"not every event was accepted: {accepted}"


def _event(number: int) -> dict[str, Any]:
    second = f"2026-03-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    return {
        "event_id": f"e{number}",
        "event_time": second,
        "arrival_time": second,
        "user": f"user {number % 997}",
        "action": ("view", "click", "buy")[number % 3],
        "price": f"{number % 10_000 / 100:.2f}",
        "quantity": number % 7,
    }


def _json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload).encode()


def _nested(event: dict[str, Any]) -> dict[str, Any]:
    times = {"event": event["event_time"], "arrival": event["arrival_time"]}
    return {
        "meta": {"id": event["event_id"], "times": times},
        "context": {"user": {"id": event["user"]}, "action": event["action"]},
        "lines": [{"quantity": event["quantity"], "price": event["price"]}],
    }


def _listed(event: dict[str, Any]) -> dict[str, Any]:
    line = {name: event.pop(name) for name in ("quantity", "price")}
    return {**event, "lines": [line] * ITEMS}


def _admitting(spark: SparkSession, form: Form) -> Callable[[int], int]:
    """How many events of one form are accepted; their bytes are in memory before."""
    rows = [(form.written(_event(number)), number) for number in range(EVENTS // form.items)]
    stored = spark.createDataFrame(rows, "value binary, position bigint").repartition(2).cache()
    stored.count()
    place = {
        "event_id": F.lit(None).cast("string"),
        "arrival_time": F.lit(None).cast("timestamp"),
        "origin": F.lit("memory"),
        "admitted_at": F.current_timestamp(),
    }

    def admitted(_: int) -> int:
        judged = admit(decoded(stored, form.decoder).withColumns(place), form.source)
        # Every column is summed up, so that none of them is left out.
        found = judged.agg(F.count_if(F.col("reason").isNull()), F.sum(F.xxhash64(*judged.columns) % 2)).first()
        assert found is not None
        return int(found[0])

    return admitted


def _protobuf() -> Protobuf:
    """The declaration of a message with these fields, made as protoc makes it."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="orders.proto", package="shop", syntax="proto3")
    message = file.message_type.add(name="Order")
    for number, name in enumerate((*TEXTS, "quantity"), 1):
        kind = kinds.TYPE_STRING if name in TEXTS else kinds.TYPE_INT64
        message.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    files = descriptor_pb2.FileDescriptorSet(file=[file])
    return Protobuf(b64encode(files.SerializeToString()).decode(), "shop.Order")
