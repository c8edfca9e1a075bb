"""Avro payloads: generated schemas and records come back with every digit, and every fault has its reason."""

import json
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualpath.declare import event_source
from dualpath.decoders import Avro, Decoder, Refused, avro
from dualpath.decoders.avro_schema import compiled
from dualpath.decoders.registry import CA, PASSWORD, TOKEN, USER
from dualpath.errors import DeclarationError, UnavailableError
from dualpath.schema import EventSource, text
from parity_tests.sources.registry import FakeRegistry, registry

ORDER = {"type": "record", "name": "order", "fields": [{"name": "n", "type": "long"}]}
LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
MICROS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
NANOS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ZERO = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with registry() as made:
        yield made


def encoded(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(json.loads(json.dumps(schema)), {}), value)
    return stream.getvalue()


def framed(number: int, body: bytes) -> bytes:
    return struct.pack(">bI", 0, number) + body


def unscaled(number: int, scale: int) -> bytes:
    return number.to_bytes(16, "big", signed=True)


def iso(micros: int) -> str:
    return (ZERO + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def decimals(precision: int, scale: int) -> st.SearchStrategy[tuple[bytes, Any]]:
    """Bytes as Avro has them, and the exact number."""
    numbers = st.integers(-(10**precision) + 1, 10**precision - 1)
    return numbers.map(lambda n: (unscaled(n, scale), Decimal((n < 0, [int(d) for d in str(abs(n))], -scale))))


Leaf = tuple[Any, st.SearchStrategy[tuple[Any, Any]]]
"""A type, and pairs of a value as it is written and as it must be read again."""


def same(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return values.map(lambda v: (v, v))


def raw(kind: str, logical: str) -> dict[str, str]:
    """A logical type that fastavro writes as the plain number that it is given."""
    return {"type": kind, "logicalType": logical}


LEAVES: list[Leaf] = [
    ("long", same(LONGS)),
    ("int", same(INTS)),
    ("boolean", same(st.booleans())),
    ("null", same(st.none())),
    ("string", same(st.text())),
    ("double", same(st.floats(allow_nan=False, allow_infinity=False))),
    ("float", FLOATS.map(lambda v: (v, np.float32(v)))),
    ("bytes", st.binary().map(lambda v: (v, b64encode(v).decode()))),
    (raw("long", "timestamp-micros"), MICROS.map(lambda v: (v, iso(v)))),
    (raw("long", "timestamp-nanos"), NANOS.map(lambda v: (v, iso(v // 1000)[:-1] + f"{v % 1000:03}Z"))),
    (raw("long", "local-timestamp-micros"), MICROS.map(lambda v: (v, iso(v)[:-1]))),
    (raw("long", "timestamp-millis"), MICROS.map(lambda v: (v // 1000, iso(v // 1000 * 1000)[:-4] + "Z"))),
    (raw("int", "date"), st.dates().map(lambda v: ((v - date(1970, 1, 1)).days, v.isoformat()))),
    (raw("long", "time-micros"), st.times().map(lambda t: (_micros(t), t.isoformat("microseconds")))),
    (raw("int", "time-millis"), st.times().map(lambda t: (_micros(t) // 1000, t.isoformat("milliseconds")))),
    (raw("string", "uuid"), st.uuids().map(lambda v: (str(v), str(v)))),
    ({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9}, decimals(38, 9)),
    ({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 0}, decimals(38, 0)),
    # Not a decimal to the specification, so bytes.
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 9},
        st.binary().map(lambda v: (v, b64encode(v).decode())),
    ),
]  # fmt: skip


def _micros(t: Any) -> int:
    return ((t.hour * 60 + t.minute) * 60 + t.second) * 1_000_000 + t.microsecond


@st.composite
def typed(draw: Callable[..., Any], depth: int = 2) -> tuple[Any, st.SearchStrategy[tuple[Any, Any]]]:
    """A schema and its pairs."""
    number = draw(st.integers(0, 10**9))
    kind = draw(st.sampled_from(["leaf"] * 3 + ["enum", "fixed", "union", "record", "array", "map"] * bool(depth)))
    if kind == "leaf":
        return draw(st.sampled_from(LEAVES))
    if kind == "enum":
        names = draw(st.lists(st.sampled_from("ABCDEF"), min_size=1, unique=True))
        return {"type": "enum", "name": f"e{number}", "symbols": names}, same(st.sampled_from(names))
    if kind == "fixed":
        pairs = st.binary(min_size=5, max_size=5).map(lambda v: (v, b64encode(v).decode()))
        return {"type": "fixed", "name": f"f{number}", "size": 5}, pairs
    if kind == "record":
        inner = draw(st.lists(typed(depth - 1), min_size=1, max_size=4))
        fields = [{"name": f"m{i}", "type": schema} for i, (schema, _) in enumerate(inner)]
        pairs = st.tuples(*(each for _, each in inner)).map(
            lambda found: tuple({f"m{i}": pair[side] for i, pair in enumerate(found)} for side in (0, 1))
        )
        return {"type": "record", "name": f"r{number}", "fields": fields}, pairs
    schema, each = draw(typed(depth - 1).filter(lambda found: found[0] != "null"))
    if kind == "union" and not isinstance(schema, list):
        return ["null", schema], st.one_of(same(st.none()), each)
    if kind == "map":
        pairs = st.dictionaries(st.text(), each, max_size=3)
        return {"type": "map", "values": schema}, pairs.map(
            lambda found: tuple({key: pair[side] for key, pair in found.items()} for side in (0, 1))
        )
    pairs = st.lists(each, max_size=3)
    return {"type": "array", "items": schema}, pairs.map(
        lambda found: tuple([p[side] for p in found] for side in (0, 1))
    )


def plain(schema: Any) -> Any:
    """The schema without logical types, by which the test writes numbers and bytes as they are."""
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if isinstance(schema, dict):
        kept = {key: plain(value) for key, value in schema.items() if key != "logicalType"}
        return kept["type"] if set(kept) <= {"type", "precision", "scale"} else kept
    return schema


def is_same(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(is_same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(is_same, found, expected))
    if isinstance(expected, np.float32):
        return np.float32(found).tobytes() == expected.tobytes() and repr(found) == repr(float(str(expected)))
    if isinstance(expected, float):
        return struct.pack("d", found) == struct.pack("d", expected)
    if isinstance(expected, Decimal):
        return isinstance(found, str) and Decimal(found).as_tuple() == expected.as_tuple()
    return type(found) is type(expected) and found == expected


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_generated_records_of_generated_schemas_come_back_bit_for_bit(data: st.DataObject) -> None:
    inner = data.draw(st.lists(typed(), min_size=1, max_size=4))
    fields = [{"name": f"x{i}", "type": schema} for i, (schema, _) in enumerate(inner)]
    schema = {"type": "record", "name": "top", "fields": fields}
    try:
        fastavro.parse_schema(json.loads(json.dumps(plain(schema))), {})
    except fastavro.schema.SchemaParseException:  # one name twice
        return
    pairs = [data.draw(each) for _, each in inner]
    written = encoded(plain(schema), {f"x{i}": pair[0] for i, pair in enumerate(pairs)})
    with localcontext(prec=3):  # no digit may depend on it
        found = json.loads(compiled(json.dumps(schema))(written))
    assert is_same(found, {f"x{i}": pair[1] for i, pair in enumerate(pairs)})


def test_the_branch_of_a_union_tells_the_value_and_not_its_type_in_python() -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    schema = {"type": "record", "name": "u", "fields": [{"name": "x", "type": ["null", "bytes", "float", "double"]}]}
    read = compiled(json.dumps(schema))
    assert read(b"\x04" + struct.pack("<f", 0.1)) == '{"x":0.1}'
    assert read(b"\x06" + struct.pack("<d", float(np.float32(0.1)))) == '{"x":0.10000000149011612}'
    both = {"type": "record", "name": "u", "fields": [{"name": "x", "type": ["string", money]}]}
    assert compiled(json.dumps(both))(b"\x02\x04\xff\x7f") == '{"x":"-1.29"}'


def test_what_is_not_finite_or_outside_the_calendar_is_told_so_that_admission_refuses_it() -> None:
    fields = [
        *({"name": name, "type": name} for name in ("double", "float")),
        {"name": "at", "type": raw("long", "timestamp-micros")},
    ]
    read = compiled(json.dumps({"type": "record", "name": "r", "fields": fields}))
    for number, said in ((float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")):
        body = struct.pack("<df", number, number) + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        assert json.loads(read(body)) == {"double": said, "float": said, "at": 2**63 - 1}


def test_a_fixed_uuid_and_a_named_type_that_is_used_twice() -> None:
    identity = {"type": "fixed", "name": "id", "size": 16, "logicalType": "uuid"}
    fields = [{"name": "a", "type": identity}, {"name": "b", "type": ["null", "id"]}]
    value = UUID(int=7)
    found = compiled(json.dumps({"type": "record", "name": "r", "fields": fields}))(value.bytes + b"\2" + value.bytes)
    assert json.loads(found) == {"a": str(value), "b": str(value)}


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\xff" * 30, encoded(ORDER, {"n": 1}) + b"\0"])
def test_bytes_that_are_not_of_the_schema_are_refused_by_its_name(payload: bytes) -> None:
    with pytest.raises(Refused, match=r"^not Avro of schema order: .*; see which schema the producer writes with$"):
        compiled(json.dumps(ORDER))(payload)


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=60))
def test_random_bytes_are_decoded_or_refused_and_nothing_else(payload: bytes) -> None:
    fields = [{"name": f"x{i}", "type": ["null", schema]} for i, (schema, _) in enumerate(LEAVES) if schema != "null"]
    fields.append({"name": "list", "type": {"type": "array", "items": "int"}})
    with suppress(Refused):
        json.loads(compiled(json.dumps({"type": "record", "name": "r", "fields": fields}))(payload))


def test_a_message_that_is_nested_too_deep_is_refused_and_the_process_goes_on() -> None:
    chain = {"type": "record", "name": "link", "fields": [{"name": "next", "type": ["null", "link"]}]}
    read = compiled(json.dumps(chain))
    assert read(b"\2\2\0") == '{"next":{"next":{"next":null}}}'
    with pytest.raises(Refused, match="not Avro of schema link: maximum recursion depth"):
        read(b"\2" * 100_000 + b"\0")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "record", "name": "r", "fields": [{"name": "x", "type": "ordre"}]}, "is not an Avro schema"),
        ({"type": "array", "items": "null"}, "has an array whose items take no bytes"),
        ({"type": "array", "items": {"type": "record", "name": "r", "fields": []}}, "has an array whose items take no"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        compiled(json.dumps(schema))


def by(fake: FakeRegistry, environ: dict[str, str] | None = None) -> Callable[[bytes], str]:
    decoder = avro(registry=fake.url)
    return decoder.reader(decoder.settings(environ or {}))


def test_a_schema_is_fetched_once_by_its_id_with_those_that_it_names(fake: FakeRegistry) -> None:
    fake.put(7, ORDER)
    shop = {"type": "record", "name": "shop", "fields": [{"name": "first", "type": "order"}]}
    fake.put(2**31 + 5, shop, references=[{"name": "order", "subject": "orders", "version": 3}])
    fake.put_version("orders", 3, ORDER)
    read = by(fake)
    assert [read(framed(7, encoded(ORDER, {"n": n}))) for n in (1, -2)] == ['{"n":1}', '{"n":-2}']
    assert read(framed(2**31 + 5, encoded(ORDER, {"n": 3}))) == '{"first":{"n":3}}'
    assert fake.asked == ["/schemas/ids/7", f"/schemas/ids/{2**31 + 5}", "/subjects/orders/versions/3"]


def test_every_fault_of_a_framed_message_has_its_reason(fake: FakeRegistry) -> None:
    fake.put(7, ORDER)
    fake.put(8, "syntax", schemaType="PROTOBUF")
    fake.put(9, {"type": "nothing"})
    read = by(fake)
    for payload, said in (
        (b'{"n": 1}', "no Confluent framing: first byte is 123; declare avro(schema=...) for bare Avro"),
        (b"", "no Confluent framing: the payload has 0 bytes; declare avro(schema=...) for bare Avro"),
        (framed(6, b""), f"schema id 6 is not in the registry {fake.url}; see which registry the producer uses"),
        (framed(7, b""), "not Avro of schema order: it ends too early; see which schema the producer writes with"),
        (framed(8, b""), "schema id 8 is of type PROTOBUF in the registry; declare a decoder of that format"),
    ):
        with pytest.raises(Refused) as refused:
            read(payload)
        assert str(refused.value) == said
    with pytest.raises(Refused, match=r"^schema id 9 is not an Avro schema"):
        read(framed(9, b""))
    asked = len(fake.asked)
    with pytest.raises(Refused, match="schema id 6 is not in"):
        read(framed(6, b"again"))
    assert len(fake.asked) == asked


def test_a_registry_that_is_away_for_a_moment_is_asked_again(fake: FakeRegistry) -> None:
    fake.put(7, ORDER)
    fake.fails = 2
    assert by(fake)(framed(7, b"\2")) == '{"n":1}'
    assert len(fake.asked) == 3


def test_a_registry_that_cannot_be_asked_is_no_fault_of_the_payload(fake: FakeRegistry) -> None:
    with registry() as gone:
        read = by(gone)
    with pytest.raises(UnavailableError, match=f"The schema registry {gone.url} does not answer .*; start it"):
        read(framed(7, b"\2"))
    fake.put(7, ORDER)
    fake.only = "Basic " + b64encode(b"ann:secret").decode()
    with pytest.raises(UnavailableError, match=rf"401: Unauthorized.*; see .*{USER}, {PASSWORD} or {TOKEN}\.$"):
        by(fake)(framed(7, b"\2"))
    assert by(fake, {USER: "ann", PASSWORD: "secret"})(framed(7, b"\2")) == '{"n":1}'
    fake.only = "Bearer abc"
    assert by(fake, {TOKEN: "abc"})(framed(7, b"\2")) == '{"n":1}'


def test_an_address_that_is_not_that_of_a_registry_is_no_fault_of_the_payload(fake: FakeRegistry) -> None:
    decoder = avro(registry=f"{fake.url}/elsewhere")
    fake.answer = lambda path, name: (404, {"detail": "not found"})  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match=r"404: .*; see that it is the address of a schema registry"):
        decoder.reader(decoder.settings({}))(framed(7, b""))


def test_secrets_are_those_of_the_environment_and_in_no_declaration() -> None:
    environ = {USER: "u", PASSWORD: "p", TOKEN: "", CA: "/ca.pem", "HOME": "/root"}
    decoder = avro(registry="https://one.example,https://two.example")
    assert decoder.settings(environ) == {USER: "u", PASSWORD: "p", CA: "/ca.pem"}
    with pytest.raises(DeclarationError, match="has a user or password, and a declaration is no place"):
        avro(registry="https://ann:secret@one.example")


def test_a_decoder_travels_in_the_declaration_and_its_default_does_not() -> None:
    decoders: list[Decoder] = [avro(registry="http://one.example"), Avro(schema=json.dumps(ORDER))]
    for decoder in decoders:
        source = event_source("orders", fields=[text("x")], decoder=decoder)
        again = EventSource.from_dict(json.loads(json.dumps(source.to_dict())))
        assert (again, again.decoder) == (source, decoder)
    assert "decoder" not in event_source("orders", fields=[text("x")]).to_dict()


def test_the_schema_is_read_beside_the_file_that_declares_it(tmp_path: Path) -> None:
    (tmp_path / "order.avsc").write_text(json.dumps(ORDER, indent=2))
    lines = [
        "from dualpath.decoders import avro",
        "found = avro(schema='order.avsc')",
        "missing = lambda: avro(schema='no.avsc')",
    ]
    names: dict[str, Any] = {}
    exec(compile("\n".join(lines), str(tmp_path / "declared.py"), "exec"), names)
    assert json.loads(names["found"].schema) == ORDER
    with pytest.raises(DeclarationError, match=r"declared\.py:3: .*no\.avsc cannot be read \(No such file"):
        names["missing"]()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give either registry"),
        ({"registry": "http://a", "schema": "b"}, "give either registry"),
        ({"registry": "localhost:8081"}, "is no URL"),
        ({"registry": 7}, "registry=7 is a whole number"),
    ],
)
def test_a_declaration_that_cannot_work_says_where_and_why(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^test_avro\.py:\d+: avro.*{said}"):
        avro(**options)
