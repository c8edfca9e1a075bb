"""Feast's response: values as its protobuf, and the object that the caller gets."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.online_response import OnlineResponse, _convert_uuids_for_arrow
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.types import Array, FeastType
from google.protobuf.timestamp_pb2 import Timestamp

from dualpath.aggregates.base import Groups, Output, Scalars
from dualpath.declare import own_features, scalar_type
from dualpath.feast.derived import DerivedView, objects, plain
from dualpath.feast.selection import Selection
from dualpath.values import arrow_type, frame, maps, ordered

FeatureVector = GetOnlineFeaturesResponse.FeatureVector


def append_values(field: Any, values: Scalars | Groups, output: Output, texts: Mapping[int, str]) -> None:
    """Append one protobuf value for each row to a repeated `field`; null is an empty one.

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
    for x, ok in zip(values.data.tolist(), valid(values), strict=True):
        made = add()
        if ok:
            setattr(made, name, texts[x] if text else x)


@cache
def _member(kind: str, many: bool = False) -> str:
    """The member of Feast's `Value` that holds a value of a kind, or a list of them."""
    scalar = scalar_type(kind)
    return f"{(Array(scalar) if many else scalar).to_value_type().name.lower()}_val"


def listed(values: Groups, output: Output, texts: Mapping[int, str]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Each row's values and their weights, in the output's order and within its limit."""
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


def shared_vector(statuses: "Sequence[FieldStatus.ValueType]", as_of: np.ndarray) -> bytes:
    """The status and the instant of each row, which all features of a view share, as a serialised `FeatureVector`."""
    instants = as_of.tolist()
    stamps = {t: Timestamp(seconds=t // 1_000_000, nanos=t % 1_000_000 * 1000) for t in set(instants)}
    return FeatureVector(
        statuses=statuses,
        event_timestamps=[stamps[t] for t in instants],
    ).SerializeToString()


def valid(values: Scalars) -> list[bool]:
    """Which rows have a value."""
    return [True] * len(values.data) if values.valid is None else values.valid.tolist()


class Response(OnlineResponse):
    """Feast's response with its columns in the order of the request, and with tables of the declared types."""

    def __init__(self, response: OnlineResponse, selection: Selection) -> None:
        _order(response, selection.places)
        super().__init__(response.proto, response._feature_types)
        self.selection = selection

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        """A table with the types of a training set; Feast alone would guess them from the values.

        The types of other columns than windowed and derived features are still guessed.
        """
        found = _convert_uuids_for_arrow(self.to_dict(include_event_timestamps))
        types = self._types()
        return pa.table({name: _column(values, types.get(name)) for name, values in found.items()})

    def to_df(self, include_event_timestamps: bool = False) -> pd.DataFrame:
        """A data frame with the types of a training set."""
        return frame(self.to_arrow(include_event_timestamps))

    def _types(self) -> dict[str, pa.DataType | FeastType]:
        """The types of windowed and derived features, by their names in the answer: Arrow's where there is one."""
        types: dict[str, pa.DataType | FeastType] = {}
        for each in self.selection.views:
            if each.compiled:
                outputs = each.compiled.plan.outputs
                own = {name: plain(dtype) for name, (dtype, _) in own_features(each.compiled.plan.view).items()}
                types |= {each.prefix + n: own.get(n) or arrow_type(outputs[n]) for n in each.features}
        for view in self.selection.derived:
            if isinstance(view, DerivedView):
                selected = [field for field in view.schema if field.name in self.selection.places]
                types |= {field.name: plain(field.dtype) or field.dtype for field in selected}
        return types


def _order(response: OnlineResponse, places: Mapping[str, int]) -> None:
    """Put the columns in the order of the request: first the join keys, then the features by their `places`."""
    proto = response.proto
    names = [*proto.metadata.feature_names.val]
    order = sorted(range(len(names)), key=lambda i: places.get(names[i], -1))
    if order != [*range(len(names))]:
        results = GetOnlineFeaturesResponse(results=[proto.results[i] for i in order]).results
        del proto.results[:], proto.metadata.feature_names.val[:]
        proto.results.extend(results)
        proto.metadata.feature_names.val.extend([names[i] for i in order])


def _column(values: Sequence[Any], kind: pa.DataType | FeastType | None) -> pa.Array:
    if isinstance(kind, pa.MapType):
        return maps(values, kind.item_type)
    return pa.array(values, kind) if kind is None or isinstance(kind, pa.DataType) else objects(values, kind)
