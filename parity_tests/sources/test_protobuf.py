"""Protobuf payloads: generated messages come back with every digit, and every fault has its reason."""

import json
import struct
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.declare import event_source
from dualpath.decoders import Protobuf, Reader, Refused, protobuf
from dualpath.errors import DeclarationError
from dualpath.schema import EventSource, text

Kind = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "i64": Kind.TYPE_INT64,
    "u64": Kind.TYPE_UINT64,
    "i32": Kind.TYPE_SINT32,
    "real": Kind.TYPE_DOUBLE,
    "single": Kind.TYPE_FLOAT,
    "flag": Kind.TYPE_BOOL,
    "word": Kind.TYPE_STRING,
    "raw": Kind.TYPE_BYTES,
}


def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """`shop.Other`, and `shop.Order` with every scalar, an enum, an optional number, a time and nested lines."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    state = file.enum_type.add(name="State")
    for number, name in enumerate(("UNKNOWN", "PAID")):
        state.value.add(name=name, number=number)
    file.message_type.add(name="Other")
    order = file.message_type.add(name="Order")
    line = order.nested_type.add(name="Line")
    line.field.add(name="unit_price", number=1, type=Kind.TYPE_DOUBLE, label=Kind.LABEL_OPTIONAL)
    for number, (name, kind) in enumerate(SCALARS.items(), 1):
        order.field.add(name=name, number=number, type=kind, label=Kind.LABEL_OPTIONAL)
    of_type = {"type": Kind.TYPE_MESSAGE, "label": Kind.LABEL_OPTIONAL}
    order.field.add(name="state", number=20, type=Kind.TYPE_ENUM, type_name=".shop.State", label=Kind.LABEL_OPTIONAL)
    order.field.add(name="paid_at", number=21, type_name=".google.protobuf.Timestamp", **of_type)
    order.field.add(name="lines", number=22, type_name=".shop.Order.Line", **of_type | {"label": Kind.LABEL_REPEATED})
    order.oneof_decl.add(name="_maybe")
    maybe = {"type": Kind.TYPE_INT32, "label": Kind.LABEL_OPTIONAL, "oneof_index": 0, "proto3_optional": True}
    order.field.add(name="maybe", number=23, **maybe)
    found = descriptor_pb2.FileDescriptorSet()
    timestamp_pb2.DESCRIPTOR.CopyToProto(found.file.add())
    found.file.append(file)
    return found


DESCRIPTORS = descriptor_set()
ENCODED = b64encode(DESCRIPTORS.SerializeToString()).decode()
POOL = descriptor_pool.DescriptorPool()
for _file in DESCRIPTORS.file:
    POOL.Add(_file)
Order = message_factory.GetMessageClass(POOL.FindMessageTypeByName("shop.Order"))
ZERO = {"i64": "0", "u64": "0", "i32": 0, "real": 0.0, "single": 0.0, "flag": False, "word": "", "raw": ""}


def reader(**options: Any) -> Reader:
    return Protobuf(ENCODED, **{"message": "shop.Order", **options}).reader({})


@settings(max_examples=200, deadline=None)
@given(
    i64=st.integers(-(2**63), 2**63 - 1),
    u64=st.integers(0, 2**64 - 1),
    i32=st.integers(-(2**31), 2**31 - 1),
    real=st.floats(allow_nan=False, allow_infinity=False),
    single=st.floats(width=32, allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    word=st.text(),
    raw=st.binary(),
    prices=st.lists(st.floats(allow_nan=False, allow_infinity=False)),
)
def test_generated_messages_come_back_bit_for_bit(prices: list[float], **values: Any) -> None:
    message = Order(**values, lines=[{"unit_price": each} for each in prices])
    found = json.loads(reader()(message.SerializeToString()))
    assert (found["i64"], found["u64"]) == (str(values["i64"]), str(values["u64"]))
    assert (found["i32"], found["flag"], found["word"]) == (values["i32"], values["flag"], values["word"])
    assert found["raw"] == b64encode(values["raw"]).decode()
    doubles = [found["real"], *(line["unit_price"] for line in found["lines"])]
    assert struct.pack(f"{len(doubles)}d", *doubles) == struct.pack(f"{len(doubles)}d", values["real"], *prices)
    single = np.float32(values["single"])
    assert np.float32(found["single"]).tobytes() == single.tobytes()
    # The protobuf library spends six digits on a subnormal, whatever it needs.
    assert found["single"] == float(str(single)) or 0 < abs(single) < np.finfo(np.float32).tiny


def test_absent_is_zero_without_presence_and_left_out_with_it() -> None:
    rest = {"state": "UNKNOWN", "lines": []}
    assert json.loads(reader()(b"")) == {**ZERO, **rest}
    assert json.loads(reader()(Order(maybe=0).SerializeToString())) == {**ZERO, **rest, "maybe": 0}


def test_times_are_iso_and_enums_are_names_and_what_is_not_finite_is_told() -> None:
    message = Order(state=1, real=float("nan"), single=float("-inf"))
    message.paid_at.FromJsonString("2026-03-01T10:00:00.123456Z")
    found = json.loads(reader()(message.SerializeToString()))
    assert (found["state"], found["paid_at"]) == ("PAID", "2026-03-01T10:00:00.123456Z")
    assert (found["real"], found["single"]) == ("NaN", "-Infinity")


FRAME = b"\0\0\0\0\7"


BODY = Order(i64=5).SerializeToString()


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (BODY, "no Confluent framing: first byte is 8"),
        (b"\0\0", "no Confluent framing: the payload has 2 bytes"),
        (FRAME + b"\0" + BODY, r"the message indexes \[0\] are not those of shop.Order, \[1\]"),
        (FRAME + b"\4\2\0" + BODY, r"the message indexes \[1, 0\] are not those of shop.Order, \[1\]"),
        (FRAME + b"\2\x80", "the message indexes of the Confluent framing have no end"),
    ],
)
def test_a_framed_message_of_another_type_or_without_framing_is_refused(payload: bytes, said: str) -> None:
    read = reader(confluent=True)
    assert json.loads(read(FRAME + b"\2\2" + BODY))["i64"] == "5"
    with pytest.raises(Refused, match=said):
        read(payload)


def test_bytes_that_are_not_of_the_message_are_refused_by_its_name() -> None:
    late = Order()
    late.paid_at.seconds = 2**60
    for payload in (b"\xff", b"hello", late.SerializeToString()):
        with pytest.raises(Refused, match=r"^not Protobuf of shop.Order: .*; see which message the producer writes$"):
            reader()(payload)


def test_a_descriptor_is_read_where_it_is_declared_and_travels(tmp_path: Path) -> None:
    file = tmp_path / "order.desc"
    file.write_bytes(DESCRIPTORS.SerializeToString())
    decoder = protobuf(descriptor=str(file), message="shop.Order")
    source = event_source("orders", fields=[text("x")], decoder=decoder)
    again = EventSource.from_dict(json.loads(json.dumps(source.to_dict()))).decoder
    assert again == decoder == Protobuf(ENCODED, "shop.Order")
    with pytest.raises(DeclarationError, match=r"no message 'shop.Ordre' in the descriptor; it has .*shop.Order\."):
        protobuf(descriptor=str(file), message="shop.Ordre")
    file.write_bytes(b"hello")
    with pytest.raises(DeclarationError, match="the descriptor cannot be used"):
        protobuf(descriptor=str(file), message="shop.Order")
