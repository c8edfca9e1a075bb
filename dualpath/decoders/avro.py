"""Avro: messages with the schema's id in Confluent's framing, or bare ones of a schema that is declared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from dualpath.decoders import files, framing, registry
from dualpath.decoders.base import Decoder, Reader, Refused
from dualpath.errors import DeclarationError, InputError
from dualpath.extras import require
from dualpath.signature import declares

BARE = "declare avro(schema=...) for bare Avro"


@dataclass(frozen=True)
class Avro(Decoder):
    """Avro by `registry`, the URL of a schema registry, or of `schema`, the text of one; `avro` makes it."""

    registry: str | None = None
    schema: str | None = None

    def settings(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        if self.registry:
            return registry.settings(environ)
        require("avro")
        from dualpath.decoders.avro_schema import compiled

        try:
            compiled(self.schema or "")
        except Refused as error:
            raise InputError(f"the declared Avro schema {error}.") from None
        return {}

    def reader(self, settings: Mapping[str, str]) -> Reader:
        from dualpath.decoders.avro_schema import compiled, registered

        if self.registry is None:
            return compiled(self.schema or "")
        known = registry.Registry(self.registry, settings, registered)

        def read(payload: bytes) -> str:
            return known.schema(framing.schema_id(payload, BARE))(payload[framing.HEADER :])

        return read


@declares
def avro(*, registry: str | None = None, schema: str | None = None) -> Avro:
    """Payloads are Avro; give one of the two.

    Args:
        registry: the URL of a schema registry, or several with commas between: messages are in Confluent's framing. The
            user and password, or the token, come from the environment (`dualpath.decoders.registry`).
        schema: the path of a schema, an `.avsc` file: messages are bare Avro of it. A relative path starts at the
            folder of the file that declares it. The schema itself travels in the declaration.

    >>> avro(registry="https://registry.example").to_dict()
    {'decoder': 'Avro', 'registry': 'https://registry.example'}
    """
    if (registry is None) == (schema is None):
        raise DeclarationError("avro: give either registry, for Confluent's framing, or schema, for bare Avro.")
    if schema is not None:
        try:
            plain = json.loads(files.content(schema))
        except ValueError as error:
            raise DeclarationError(f"avro: the schema {schema} is not JSON ({error}); correct it.") from None
        return Avro(schema=json.dumps(plain, separators=(",", ":")))
    for url in map(urlsplit, (registry or "").split(",")):
        if url.scheme not in ("http", "https") or not url.hostname:
            raise DeclarationError(f"avro: registry='{registry}' is no URL; write one like https://registry.example.")
        if url.username or url.password:
            raise DeclarationError(
                "avro: registry has a user or password, and a declaration is no place for them; set "
                "DUALPATH_REGISTRY_USER and DUALPATH_REGISTRY_PASSWORD where the stream runs."
            )
    return Avro(registry=registry)
