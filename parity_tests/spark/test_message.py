"""What is around payloads: Spark's admission against a naive reading, and a row of a file that has the same."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath import kafka
from dualpath.aggregates import Count
from dualpath.declare import event_source
from dualpath.paths import first_of
from dualpath.payloads import event
from dualpath.schema import EventSource, identifier, integer, text, timestamp
from dualpath.sources.decoder import decoded
from dualpath.spark.admit import admit
from dualpath.view import Feature, View
from dualpath.windows import lifetime
from parity_tests.spark.admitted import NOW
from parity_tests.spark.admitted import frame as files

ROW = (
    "value binary, event_id string, arrival_time timestamp, origin string, position bigint, message struct<key binary, "
    "headers array<struct<key string, value binary>>, topic string, partition int, offset bigint, timestamp timestamp>"
)
SENT = datetime(2026, 3, 1, 10, 0, 0, 7_000, UTC)
ORDERS = event_source(
    "orders",
    event_id=text("ce", path=kafka.header("ce_id")),
    event_time=timestamp("happened", path=kafka.time),
    arrival_time=None,
    fields=[
        text("key", path=kafka.key),
        identifier("id", path=first_of(kafka.key("id"), "id")),
        text("name", path=kafka.key('buyer["first name"]')),
        text("type", path=kafka.header("type"), choices=("order", "look")),
        integer("n", path=first_of(kafka.header("n"), "n"), required=True),
        text("topic", path=kafka.topic),
        integer("partition", path=kafka.partition),
        identifier("offset", path=kafka.offset),
        timestamp("sent", path=kafka.time),
        text("own", path=kafka.header('it\'s "own"')),
    ],
)
OTHER = b'{ "$kafka":{"key":"not this","topic":"t"}}'
KEYS = (
    *(None, b"", b" ", b"ann", b"\xff\xfe", b"[1]", b'{"id":', b"7", b"{}", b'{"id":9} x'),
    *(b' { "id" : "8" }', b'{"id":"x"}', b'{"buyer":{"first name":"\\u00e9"}}'),
    b'{"id":7,"buyer":{"first name":"Ann"}}',
)
VALUES = (None, b"", b" ", b"\xff", b"order", b"look", b"3", b"-4", b"x", "é".encode())
NAMES = ("ce_id", "type", "Type", "n", 'it\'s "own"')
USUAL = {"ce_id": b"c1", "type": b"order", "n": b"5"}

Headers = list[tuple[str, bytes | None]]


def message(random: Random, number: int) -> dict[str, Any]:
    """What may be in a topic: now and then a key or a header of any kind."""
    headers: Headers | None = [(n, v) for n, v in USUAL.items() if random.random() < 0.95]
    headers += [(random.choice(NAMES), random.choice(VALUES)) for _ in range(random.choice((0, 0, 0, 1, 3)))]
    if random.random() < 0.05:
        headers = None
    payload = random.choice((b'{"id":5}', b' {"n": 6, "id": 5}', b"{}", OTHER, b"{"))
    return {
        "value": payload,
        "key": random.choice(KEYS) if random.random() < 0.5 else KEYS[-1],
        "headers": headers,
        "topic": "t-1",
        "partition": number % 3,
        "offset": number,
        "timestamp": SENT + timedelta(milliseconds=number),
    }


def frame(spark: SparkSession, messages: Iterable[dict[str, Any]]) -> DataFrame:
    """Messages as the source of Kafka gives them, before they are decoded."""
    around = ("key", "headers", "topic", "partition", "offset", "timestamp")
    rows = [(m["value"], None, m["timestamp"], "t-1/0", m["offset"], tuple(m[n] for n in around)) for m in messages]
    return spark.createDataFrame(rows, ROW).coalesce(1).withColumn("admitted_at", F.lit(NOW))


def judged(spark: SparkSession, messages: Iterable[dict[str, Any]], source: EventSource) -> list[dict[str, Any]]:
    return admit(decoded(frame(spark, messages), None), source).toArrow().to_pylist()


def readable(raw: bytes | None) -> tuple[str | None, bool]:
    """A text, and whether there is one that cannot be read."""
    try:
        found = None if raw is None else raw.decode()
    except ValueError:
        return None, True
    return found if found and found.strip(" ") else None, False


def is_object(found: str) -> Any:
    try:
        read = json.loads(found)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def naive(given: dict[str, Any]) -> dict[str, Any] | str:
    """The id and the fields of a message, or why it is refused."""
    payload = is_object(given["value"].decode())
    if payload is None:
        return "not a JSON object"
    headers = {name: readable(value) for name, value in given["headers"] or ()}
    ce, type_, n, own = (headers.get(name, (None, False)) for name in ("ce_id", "type", "n", 'it\'s "own"'))
    if ce[0] is None:
        return f"ce{': $kafka.headers.ce_id is not UTF-8' if ce[1] else ' ($kafka.headers.ce_id) is missing'}"
    key, unreadable = readable(given["key"])
    if unreadable:
        return "key: $kafka.key is not UTF-8"
    of_key = None if key is None else is_object(key)
    found = payload.get("id") if of_key is None or of_key.get("id") is None else of_key["id"]
    if found is None and key is not None and of_key is None:
        return f"id: $kafka.key is not a JSON object: {key}"
    if found == "x":
        return "id ($kafka.key.id or id) is not of kind identifier: x"
    name = ((of_key or {}).get("buyer") or {}).get("first name")
    if name is None and key is not None and of_key is None:
        return f"name: $kafka.key is not a JSON object: {key}"
    if type_[1]:
        return "type: $kafka.headers.type is not UTF-8"
    if type_[0] not in (None, "order", "look"):
        return f"type ($kafka.headers.type) is not one of the declared choices: {type_[0]}"
    number = n[0] if n[0] is not None else payload.get("n")
    if number is None:
        return f"n{': $kafka.headers.n is not UTF-8' if n[1] else ' ($kafka.headers.n or n) is missing'}"
    try:
        whole = int(number)
    except ValueError:
        return f"n ($kafka.headers.n or n) is not of kind integer: {number}"
    if own[1]:
        return 'own: $kafka.headers["it\'s \\"own\\""] is not UTF-8'
    return {
        "event_id": ce[0],
        "event_time": given["timestamp"],
        "key": key,
        "id": None if found is None else int(found),
        "name": name,
        "type": type_[0],
        "n": whole,
        "topic": "t-1",
        "partition": given["partition"],
        "offset": given["offset"],
        "sent": given["timestamp"],
        "own": own[0],
    }


def wrapped(given: dict[str, Any]) -> dict[str, Any]:
    """A good message as a row of a file, and a preview, has it."""
    headers = {name: None if readable(value)[1] else (value or b"").decode() for name, value in given["headers"] or ()}
    key = None if given["key"] is None else given["key"].decode()
    around = {"key": is_object(key or "") or key, "headers": headers, "time": given["timestamp"].isoformat()}
    around |= {name: given[name] for name in ("partition", "offset")} | {"topic": given["topic"]}
    return json.loads(given["value"]) | {"$kafka": around}


def landed(spark: SparkSession, lines: Iterable[str], source: EventSource) -> list[dict[str, Any]]:
    """What admission says of rows of a file."""
    return admit(files(spark, lines), source).toArrow().to_pylist()


def test_spark_reads_around_payloads_what_a_naive_reading_does_and_so_do_files_and_previews(
    spark: SparkSession,
) -> None:
    random = Random(0)
    messages = [message(random, number) for number in range(2_500)]
    dead, good, kinds = [], [], Counter[str]()
    for given, row in zip(messages, judged(spark, messages, ORDERS), strict=True):
        expected = naive(given)
        if isinstance(expected, str):
            assert row["reason"] == expected, given
            dead.append(row)
        else:
            assert row["reason"] is None, (given, row["reason"])
            assert {name: row[name] for name in expected} == expected
            good.append((wrapped(given), row))
        kinds["accepted" if isinstance(expected, dict) else expected.partition(":")[0]] += 1
    assert len(kinds) == 14 and min(kinds.values()) > 5, kinds
    # Each letter is a row of a file, which cannot have bytes that are no text, and knows a key that is no object as
    # missing there.
    dead = [row for row in dead if "not UTF-8" not in row["reason"] and "is not a JSON object: " not in row["reason"]]
    again = landed(spark, [*(row["payload"] for row in dead), *(json.dumps(each) for each, _ in good)], ORDERS)
    for row, other in zip(dead, again, strict=False):
        assert (other["payload"], other["reason"]) == (row["payload"], row["reason"])
    names = ["event_id", *(field.column for field in ORDERS.fields)]
    view = View("v", ("key",), ORDERS, (Feature("n", Count(), lifetime()),))
    for (payload, row), other in zip(good, again[len(dead) :], strict=True):
        assert other["reason"] is None
        texts = {"key": other["key"]} if isinstance(payload["$kafka"]["key"], dict) else {}  # of an object, as written
        assert {name: other[name] for name in names} == {name: row[name] for name in names} | texts
        said = event(view, 0, payload)
        said["sent"] = datetime.fromtimestamp(said["sent"] / 1e6, UTC)
        assert {name: said[name] for name in names} == {name: row[name] for name in names} | (
            texts and {"key": said["key"]}
        )


LOOKS = event_source(
    "looks",
    where="type = 'look'",
    event_id=None,
    event_time="ts",
    arrival_time=None,
    fields=[
        text("type", path=kafka.header("type")),
        text("user"),
        identifier("offset", path=kafka.offset),
        timestamp("seen", path=first_of("seen", kafka.time)),
    ],
)
NOTED = event_source(
    "noted",
    event_id=text("id", path=kafka.key),
    event_time=timestamp("at", path=kafka.time),
    arrival_time=None,
    fields=[text("type", path=kafka.header("type"), required=True)],
)


def sent(value: bytes | None, kind: bytes | None, offset: int) -> dict[str, Any]:
    around = {"topic": "t-1", "partition": 0, "offset": offset, "timestamp": SENT + timedelta(seconds=offset)}
    return {"value": value, "key": b"k", "headers": [("type", kind)], **around}


def test_a_condition_on_what_is_around_payloads_needs_no_payload(spark: SparkSession) -> None:
    good = b'{"ts":"2026-03-01T10:00:00Z","user":"ann"}'
    messages = [
        *(sent(value, kind, 0) for kind in (b"order", b"\xff", b"look") for value in (None, b"", b"{", b"\xff")),
        *(sent(good, b"look", offset) for offset in (1, 2)),
        sent(good.replace(b"ann", b"bob"), b"look", 2),
    ]
    rows = judged(spark, messages, LOOKS)
    assert [row["__skipped"] for row in rows] == [True] * 4 + [False] * 11
    broken = ["no payload", "not a JSON object", "not a JSON object", "not UTF-8"]
    assert [row["reason"] for row in rows] == [None] * 4 + broken * 2 + [None] * 3
    # A message that is sent again is the same event, at whatever offset.
    assert rows[-3]["event_id"] == rows[-2]["event_id"] != rows[-1]["event_id"]
    # With a payload, a kind that is no text is what is wrong.
    [row] = judged(spark, [sent(good, b"\xff", 0)], LOOKS)
    assert row["reason"] == "type: $kafka.headers.type is not UTF-8"


def test_a_source_may_read_nothing_but_what_is_around_payloads(spark: SparkSession) -> None:
    rows = judged(spark, [sent(b"{}", b"a", 0), sent(b"[]", b"a", 1), sent(b'{"at":1}', None, 2)], NOTED)
    assert [(row["event_id"], row["event_time"], row["type"]) for row in rows[:1]] == [("k", SENT, "a")]
    assert [row["reason"] for row in rows] == [None, "not a JSON object", "type ($kafka.headers.type) is missing"]
    assert json.loads(rows[2]["payload"]) == {
        "at": 1,
        "$kafka": {"key": "k", "time": "2026-03-01T10:00:02.007Z", "headers": {}},
    }
    lines = ['{"at":1}', '{"$kafka":{"key":" "}}', '{"$kafka":{"key":"k","time":"2026-03-01T10:00:00Z"}}']
    reasons = ["id ($kafka.key) is missing"] * 2 + ["type ($kafka.headers.type) is missing"]
    assert [row["reason"] for row in landed(spark, lines, NOTED)] == reasons
