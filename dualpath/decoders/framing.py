"""Confluent's framing of a message: a zero byte, the id of the schema in four bytes, for Protobuf message indexes.

Its form is that of the "wire format" in the documentation of Confluent's schema registry.
"""

import struct

from dualpath.decoders.base import Refused

HEADER = 5


def schema_id(payload: bytes, remedy: str) -> int:
    """The id of the schema; the message begins, or its indexes do, at byte `HEADER`.

    Raises `Refused`; `remedy` says what to declare for messages without the framing.

    >>> schema_id(bytes([0, 0, 0, 1, 2, 255]), "")
    258
    >>> schema_id(b'{"user": 1}', "declare avro(schema=...) for bare Avro")
    Traceback (most recent call last):
    dualpath.decoders.base.Refused: no Confluent framing: first byte is 123; declare avro(schema=...) for bare Avro
    """
    if payload[:1] not in (b"", b"\0"):
        raise Refused(f"no Confluent framing: first byte is {payload[0]}; {remedy}")
    if len(payload) < HEADER:
        raise Refused(f"no Confluent framing: the payload has {len(payload)} bytes; {remedy}")
    return struct.unpack_from(">I", payload, 1)[0]


def message_indexes(payload: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of its file a Protobuf message is, from the outermost inwards, and the byte where it begins.

    >>> message_indexes(bytes([0, 0, 0, 0, 7, 0])), message_indexes(bytes([0, 0, 0, 0, 7, 4, 2, 0]))
    (((0,), 6), ((1, 0), 8))
    """
    count, at = _zigzag(payload, HEADER)
    indexes = []
    for _ in range(count):
        index, at = _zigzag(payload, at)
        indexes.append(index)
    return tuple(indexes) or (0,), at


def _zigzag(payload: bytes, at: int) -> tuple[int, int]:
    """A signed integer of the form that Avro and Protobuf share, and the byte behind it."""
    value = shift = 0
    while at < len(payload) and shift < 64:
        value |= (payload[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if payload[at - 1] < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise Refused("the message indexes of the Confluent framing have no end; see how the producer writes them")
