"""Values as Feast's protobuf."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from feast.protos.feast.serving.ServingService_pb2 import NOT_FOUND, PRESENT, GetOnlineFeaturesResponse
from feast.types import Array
from google.protobuf.timestamp_pb2 import Timestamp

from dualpath.aggregates.base import Groups, Output, Scalars
from dualpath.declare import scalar_type
from dualpath.values import ordered

FeatureVector = GetOnlineFeaturesResponse.FeatureVector


def codes(values: Scalars | Groups, output: Output) -> list[int]:
    """The text codes that must be known before `fill` is called."""
    if output.type.kind != "text":
        return []
    if isinstance(values, Groups):
        return values.codes.tolist()
    return [c for c, ok in zip(values.data.tolist(), _valid(values), strict=True) if ok]


def fill(field: Any, values: Scalars | Groups, output: Output, texts: Mapping[int, str]) -> None:
    """Append one protobuf value a row to a repeated `field`; null is an empty one.

    Values are set in place, because a message that is made first and then added is copied.
    """
    text, add = output.type.kind == "text", field.add
    if isinstance(values, Groups):
        for found, weights in listed(values, output, texts):
            if output.items is not None:
                add().json_val = json.dumps(dict(zip(found, weights, strict=True)), ensure_ascii=False)
            else:
                made = getattr(add(), _member(output.type.kind, many=True))
                made.SetInParent()
                made.val.extend(found)
        return
    name = _member(output.type.kind)
    for x, ok in zip(values.data.tolist(), _valid(values), strict=True):
        made = add()
        if ok:
            setattr(made, name, texts[x] if text else x)


@cache
def _member(kind: str, many: bool = False) -> str:
    """The member of Feast's `Value` that holds a value of a kind, or a list of them."""
    scalar = scalar_type(kind)
    return f"{(Array(scalar) if many else scalar).to_value_type().name.lower()}_val"


def listed(values: Groups, output: Output, texts: Mapping[int, str]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Each row's values, in the output's order and within its limit, and their weights."""
    flat, rank = values.codes.tolist(), values.codes
    if output.type.kind == "text":
        flat = [texts[c] for c in flat]
        places = {text: place for place, text in enumerate(sorted(set(flat)))}
        rank = np.array([places[text] for text in flat], dtype=np.int64)
    order, offsets = ordered(values, output, rank)
    weights = values.weights[order].tolist()
    chosen = [flat[i] for i in order.tolist()]
    for a, b in pairwise(offsets.tolist()):
        yield chosen[a:b], weights[a:b]


def vector(found: Sequence[bool], as_of: np.ndarray) -> bytes:
    """What the features of a view share, as a serialised `FeatureVector`: each row's status and instant."""
    instants = as_of.tolist()
    stamps = {t: Timestamp(seconds=t // 1_000_000, nanos=t % 1_000_000 * 1000) for t in set(instants)}
    return FeatureVector(
        statuses=[PRESENT if f else NOT_FOUND for f in found],
        event_timestamps=[stamps[t] for t in instants],
    ).SerializeToString()


def _valid(values: Scalars) -> list[bool]:
    return [True] * len(values.data) if values.valid is None else values.valid.tolist()
