"""Values as Feast's protobuf."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from feast.protos.feast.serving.ServingService_pb2 import NOT_FOUND, PRESENT, GetOnlineFeaturesResponse
from google.protobuf.timestamp_pb2 import Timestamp

from dualpath.aggregates.base import Groups, Output, Scalars

FeatureVector = GetOnlineFeaturesResponse.FeatureVector
SCALARS = {
    "text": "string_val",
    "integer": "int64_val",
    "timestamp": "int64_val",
    "double": "double_val",
    "boolean": "bool_val",
}
LISTS = {kind: name.replace("_val", "_list_val") for kind, name in SCALARS.items()}


def codes(values: Scalars | Groups, output: Output) -> list[int]:
    """The text codes that must be known before `fill` is called."""
    if output.type.kind != "text":
        return []
    if isinstance(values, Groups):
        return values.codes.tolist()
    return [c for c, ok in zip(values.data.tolist(), _valid(values), strict=True) if ok]


def fill(field: Any, values: Scalars | Groups, output: Output, texts: Mapping[int, str]) -> None:
    """Append one protobuf value a row to a repeated `field`; null is an empty one.

    Values are set in place: a message that is made first and
    then added is copied.
    """
    kind, add = output.type.kind, field.add
    if isinstance(values, Groups):
        for names, weights in listed(values, output, texts):
            if output.items is not None:
                add().json_val = json.dumps(dict(zip(names, weights, strict=True)), ensure_ascii=False)
            else:
                made = getattr(add(), LISTS[kind])
                made.SetInParent()
                made.val.extend(names)
        return
    name = SCALARS[kind]
    for x, ok in zip(values.data.tolist(), _valid(values), strict=True):
        made = add()
        if ok:
            setattr(made, name, texts[x] if kind == "text" else x)


def listed(values: Groups, output: Output, texts: Mapping[int, str]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Each row's values, in the output's order and within its limit, and their weights."""
    flat: list[Any] = values.codes.tolist()
    if output.type.kind == "text":
        flat = [texts[c] for c in flat]
    weights = values.weights.tolist()
    for a, b in pairwise(values.offsets.tolist()):
        order = range(a, b)
        if output.order == "weight":
            order = sorted(order, key=lambda i: (-weights[i], flat[i]))  # type: ignore[assignment]
        elif output.order == "value" and output.type.kind == "text":
            order = sorted(order, key=flat.__getitem__)  # type: ignore[assignment]
        chosen = order[: output.limit]
        yield [flat[i] for i in chosen], [weights[i] for i in chosen]


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
