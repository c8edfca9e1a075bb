"""The answer to one call as plain columns, for a server that sends JSON and needs none of Feast's protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from dualpath.aggregates.base import Groups, Output, Scalars
from dualpath.feast.response import Response, listed, valid

STATUSES = {number: name for name, number in FieldStatus.items()}
"""The names of Feast's statuses."""


@dataclass(frozen=True)
class Columns:
    """An answer whose `values` are those of `Response.to_dict()`, in its order: first the join keys, then the features.

    `statuses` has the names of Feast's statuses for each feature, a row each. `as_of` int64[rows] is each row's
    instant, microseconds UTC. `by_feast` says that Feast made the answer.
    """

    values: dict[str, list[Any]]
    statuses: dict[str, list[str]]
    as_of: np.ndarray
    by_feast: bool

    @classmethod
    def of(cls, response: Response, as_of: np.ndarray) -> "Columns":
        """Those of an answer that Feast made."""
        proto, places = response.proto, response.selection.places
        statuses = {
            name: [STATUSES[status] for status in vector.statuses]
            for name, vector in zip(proto.metadata.feature_names.val, proto.results, strict=True)
            if name in places
        }
        return cls(response.to_dict(), statuses, as_of, by_feast=True)


def column(values: Scalars | Groups, output: Output, texts: Mapping[int, str]) -> list[Any]:
    """One value a row, as `to_dict` has it: a scalar, a list, a dict, or None."""
    if isinstance(values, Groups):
        found = listed(values, output, texts)
        if output.items is not None:
            return [dict(zip(keys, weights, strict=True)) for keys, weights in found]
        return [each for each, _ in found]
    plain = values.data.tolist()
    if output.type.kind != "text" and values.valid is None:
        return plain
    there = valid(values)
    if output.type.kind == "text":
        return [texts[code] if ok else None for code, ok in zip(plain, there, strict=True)]
    return [value if ok else None for value, ok in zip(plain, there, strict=True)]
