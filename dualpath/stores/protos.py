"""Values as Feast's protobuf."""

from collections.abc import Mapping
from typing import Any

from feast.protos.feast.types.Value_pb2 import (
    BoolList,
    DoubleList,
    Int64List,
    StringList,
)
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from dualpath.aggregates.base import Groups, Output, Scalars

SCALARS = {
    "text": "string_val",
    "integer": "int64_val",
    "timestamp": "int64_val",
    "double": "double_val",
    "boolean": "bool_val",
}
LISTS = {
    "text": ("string_list_val", StringList),
    "integer": ("int64_list_val", Int64List),
    "timestamp": ("int64_list_val", Int64List),
    "double": ("double_list_val", DoubleList),
    "boolean": ("bool_list_val", BoolList),
}


def codes(values: Scalars | Groups, output: Output) -> list[int]:
    """The text codes that must be known before `protos` is called."""
    if output.type.kind != "text":
        return []
    if isinstance(values, Groups):
        return values.codes.tolist()
    return [c for c, ok in zip(values.data.tolist(), _valid(values), strict=True) if ok]


def protos(values: Scalars | Groups, output: Output, texts: Mapping[int, str]) -> list[ValueProto]:
    """One protobuf value a row; null is an empty one. Lists of text are ordered by their UTF-8 bytes."""
    kind = output.type.kind
    if isinstance(values, Groups):
        name, make = LISTS[kind]
        flat: list[Any] = values.codes.tolist()
        if kind == "text":
            flat = [texts[c] for c in flat]
        ends = values.offsets.tolist()
        rows = [flat[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        return [ValueProto(**{name: make(val=sorted(r) if kind == "text" else r)}) for r in rows]
    name = SCALARS[kind]
    data: list[Any] = values.data.tolist()
    if values.valid is None:
        return [ValueProto(**{name: x}) for x in data]
    if kind == "text":
        return [
            ValueProto(string_val=texts[x]) if ok else ValueProto() for x, ok in zip(data, _valid(values), strict=True)
        ]
    return [ValueProto(**{name: x}) if ok else ValueProto() for x, ok in zip(data, _valid(values), strict=True)]


def _valid(values: Scalars) -> list[bool]:
    return [True] * len(values.data) if values.valid is None else values.valid.tolist()
