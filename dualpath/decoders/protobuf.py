"""Protobuf: messages of a type in a descriptor set, bare or in Confluent's framing."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

from dualpath.decoders import files, framing
from dualpath.decoders.base import Decoder, Reader, Refused
from dualpath.errors import DeclarationError
from dualpath.signature import declares

BARE = "declare protobuf(..., confluent=False) for bare Protobuf"


@dataclass(frozen=True)
class Protobuf(Decoder):
    """Protobuf of a `message` in `descriptor`, a file descriptor set in base64; `protobuf` makes it."""

    descriptor: str = ""
    message: str = ""
    confluent: bool = False

    def reader(self, settings: Mapping[str, str]) -> Reader:
        pool, found = self._found()
        of, own = message_factory.GetMessageClass(found), _indexes(found)
        forms: dict[str, Any] = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}

        def read(payload: bytes) -> str:
            if self.confluent:
                framing.schema_id(payload, BARE)
                indexes, at = framing.message_indexes(payload)
                if indexes != own:
                    raise Refused(
                        f"the message indexes {list(indexes)} are not those of {self.message}, {list(own)}; send it to "
                        "another topic, or declare its message"
                    )
                payload = payload[at:]
            message = of()
            try:
                message.ParseFromString(payload)
            except DecodeError as error:
                raise Refused(_not_of(self.message, error)) from None
            if missing := message.FindInitializationErrors():
                raise Refused(_not_of(self.message, f"no {', '.join(missing)}"))
            try:
                plain = json_format.MessageToDict(message, descriptor_pool=pool, **forms)
                return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
            except Exception as error:  # such as a time outside the years 1 to 9999
                raise Refused(_not_of(self.message, error)) from None

        return read

    def _found(self) -> tuple[descriptor_pool.DescriptorPool, Any]:
        """The message's descriptor, and the pool that it is in; raises `DeclarationError`."""
        pool, files = descriptor_pool.DescriptorPool(), descriptor_pb2.FileDescriptorSet()
        try:
            files.ParseFromString(b64decode(self.descriptor))
            for each in files.file:  # protoc writes a file behind those that it imports
                pool.Add(each)
            return pool, pool.FindMessageTypeByName(self.message)
        except (DecodeError, TypeError) as error:
            raise DeclarationError(
                f"protobuf: the descriptor cannot be used ({error}); write it with protoc --include_imports "
                "--descriptor_set_out=FILE."
            ) from None
        except KeyError:
            names = [f"{file.package}.{m.name}".lstrip(".") for file in files.file for m in file.message_type]
            raise DeclarationError(
                f"protobuf: there is no message '{self.message}' in the descriptor; it has {', '.join(names)}."
            ) from None


def _not_of(message: str, said: object) -> str:
    return f"not Protobuf of {message}: {said}; see which message the producer writes"


def _indexes(message: Any) -> tuple[int, ...]:
    """Which message of its file it is, from the outermost inwards."""
    outer = message.containing_type
    beside = outer.nested_types if outer else message.file.message_types_by_name.values()
    return (*(_indexes(outer) if outer else ()), list(beside).index(message))


@declares
def protobuf(*, descriptor: str, message: str, confluent: bool = False) -> Protobuf:
    """Payloads are Protobuf.

    Args:
        descriptor: the path of a descriptor set, as `protoc --include_imports --descriptor_set_out=FILE` writes it. A
            relative path starts at the folder of the file that declares it. The descriptors travel in the declaration.
        message: the full name of the message's type, such as `shop.Order`.
        confluent: messages are in Confluent's framing. The registry is not asked: the message is read by `descriptor`.
    """
    made = Protobuf(b64encode(files.content(descriptor)).decode(), message, confluent)
    made._found()
    return made
