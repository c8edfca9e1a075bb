"""Compiles an Avro schema into functions from bytes to JSON that keep every digit.

fastavro reads the bytes. What JSON has no form for is told apart by logical types of our own, which the schema is
rewritten with; so a value in a union is told by its branch and not by its Python type.
"""

import importlib
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import fastavro

from dualpath.decoders.avro_values import FORMS
from dualpath.decoders.base import Reader, Refused
from dualpath.decoders.registry import Registry

# fastavro has its reader twice, in C and in Python, each with a table of logical types.
_read, _read_py = (importlib.import_module(f"fastavro.{name}") for name in ("_read", "_read_py"))
OWN = "dualpath-"
for _table in (_read.LOGICAL_READERS, _read_py.LOGICAL_READERS):
    _table.update({f"{base}-{OWN}{form}": make for (base, form), make in FORMS.items()})
PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def registered(registry: "Registry[Reader]", found: Any) -> Reader:
    """The function of a schema in a registry, with the schemas that it names."""
    if found.schema_type != "AVRO":
        raise Refused(f"is of type {found.schema_type} in the registry; declare a decoder of that format")
    names: dict[str, Any] = {}
    _refer(registry, found, names)
    return compiled(found.schema_str, names)


def _refer(registry: "Registry[Reader]", found: Any, names: dict[str, Any]) -> None:
    for each in found.references or ():
        named = registry.reference(each.subject, each.version)
        _refer(registry, named, names)
        _parsed(named.schema_str, names)


def compiled(text: str, names: dict[str, Any] | None = None) -> Reader:
    """The function of a schema, given as JSON text; raises `Refused` for one that cannot be used.

    >>> read = compiled('{"type": "record", "name": "order", "fields": [{"name": "n", "type": "long"}]}')
    >>> read(bytes([84]))
    '{"n":42}'
    >>> read(bytes([84, 84]))
    Traceback (most recent call last):
    dualpath.decoders.base.Refused: not Avro of schema order: bytes are left behind the end; see which schema the \
producer writes with
    """
    names = {} if names is None else names
    schema = _parsed(text, names)
    name = str(schema.get("name", schema["type"])) if isinstance(schema, dict) else "of a union"
    read = _reader(schema, names)

    def text_of(payload: bytes) -> str:
        stream = BytesIO(payload)
        try:
            value = dumps(read(stream))
        except Exception as error:  # of bytes that are anything
            said = str(error) or type(error).__name__
            if stream.tell() == len(payload):
                said = "it ends too early"
            raise Refused(_not_of(name, said)) from None
        if stream.tell() != len(payload):
            raise Refused(_not_of(name, "bytes are left behind the end"))
        return value

    return text_of


def records(text: str) -> tuple[list[str], Callable[[bytes, int], Iterator[dict[str, Any]]]]:
    """The members of a schema's records, and a function from a block of a file, and the number of records in it, to
    these; their values are such as `compiled` writes. Raises `Refused` for a schema that cannot be used.

    >>> members, read = records('{"type": "record", "name": "order", "fields": [{"name": "n", "type": "long"}]}')
    >>> members, [*read(bytes([84, 86]), 2)]
    (['n'], [{'n': 42}, {'n': 43}])
    """
    names: dict[str, Any] = {}
    schema = _parsed(text, names)
    if not isinstance(schema, dict) or schema["type"] != "record":
        raise Refused("is no record, so its values have no members; write records")
    if _is_empty(schema, names, frozenset()):
        raise Refused("has records that take no bytes; give them a field")
    read = _reader(schema, names)

    def of_block(block: bytes, number: int) -> Iterator[dict[str, Any]]:
        stream = BytesIO(block)
        for _ in range(number):
            yield read(stream)
        if stream.tell() != len(block):
            raise Refused("bytes are left behind its records")

    return [each["name"] for each in schema["fields"]], of_block


def _reader(schema: Any, names: dict[str, Any]) -> Callable[[BytesIO], Any]:
    """What reads the next value of a schema."""
    # fastavro's compiled reader ends the process if a message is nested too deep; the other one raises an error.
    read = (_read_py if _is_recursive(schema, names) else _read).schemaless_reader
    return lambda stream: read(stream, schema, None)


def _not_of(name: str, said: str) -> str:
    return f"not Avro of schema {name}: {said}; see which schema the producer writes with"


def _parsed(text: str, names: dict[str, Any]) -> Any:
    try:
        schema = fastavro.parse_schema(_rewritten(json.loads(text)), names)
    except Exception as error:
        raise Refused(f"is not an Avro schema ({error}); correct it") from None
    _check_items(schema, names)
    return schema


def _rewritten(schema: Any) -> Any:
    """The schema with our logical types alone."""
    if isinstance(schema, str):
        return {"type": schema, "logicalType": f"{OWN}plain"} if (schema, "plain") in FORMS else schema
    if isinstance(schema, list):
        return [_rewritten(each) for each in schema]
    plain = dict(schema)
    base, logical = plain["type"], plain.pop("logicalType", None)
    if isinstance(base, (dict, list)):
        return _rewritten(base)
    if base in ("record", "error"):
        plain["fields"] = [each | {"type": _rewritten(each["type"])} for each in plain["fields"]]
        for each in plain["fields"]:
            each.pop("default", None)  # a reader's matter, and this is the writer's schema
    elif base in ("array", "map"):
        inner = "items" if base == "array" else "values"
        plain[inner] = _rewritten(plain[inner])
    if logical == "decimal" and not _is_decimal(plain):
        logical = None
    if logical == "uuid" and base == "fixed" and plain["size"] != 16:
        logical = None
    form = logical if (base, logical) in FORMS else "plain"
    return plain | {"logicalType": f"{OWN}{form}"} if (base, form) in FORMS else plain


def _is_decimal(plain: dict[str, Any]) -> bool:
    """Whether the specification lets it be one; otherwise it is what its base type is."""
    precision, scale = plain.get("precision"), plain.get("scale", 0)
    return isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision and precision > 0


def _children(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return schema
    if not isinstance(schema, dict):
        return []
    inner = [schema[key] for key in ("items", "values") if key in schema]
    return [*inner, *(each["type"] for each in schema.get("fields", ()))]


def _is_recursive(schema: Any, names: dict[str, Any], within: frozenset[str] = frozenset()) -> bool:
    if isinstance(schema, str) and schema in names:
        return schema in within or _is_recursive(names[schema], names, within)
    own = {schema["name"]} if isinstance(schema, dict) and "name" in schema else set()
    return any(_is_recursive(each, names, within | own) for each in _children(schema))


def _check_items(schema: Any, names: dict[str, Any]) -> None:
    """Refuse lists whose items take no bytes: a message of ten bytes could hold more of them than memory does."""
    if isinstance(schema, dict) and schema.get("type") == "array" and _is_empty(schema["items"], names, frozenset()):
        raise Refused("has an array whose items take no bytes; give them a field")
    for each in _children(schema):
        _check_items(each, names)


def _is_empty(schema: Any, names: dict[str, Any], within: frozenset[str]) -> bool:
    if isinstance(schema, str):
        if schema in within:
            return True
        return schema == "null" or (schema in names and _is_empty(names[schema], names, within | {schema}))
    if isinstance(schema, list):
        return False
    kind = schema["type"]
    if kind in ("record", "error"):
        return all(_is_empty(each["type"], names, within | {schema["name"]}) for each in schema["fields"])
    return kind == "null" or (kind == "fixed" and schema["size"] == 0)
