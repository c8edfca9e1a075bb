"""Decoders: how the bytes of a message become the JSON text that the stream reads, one file a format."""

from dualpath.decoders.avro import Avro, avro
from dualpath.decoders.base import Decoder, Reader, Refused
from dualpath.decoders.protobuf import Protobuf, protobuf

__all__ = ["Avro", "Decoder", "Protobuf", "Reader", "Refused", "avro", "protobuf"]
