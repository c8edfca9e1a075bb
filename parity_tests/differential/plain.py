"""Answers of Feast as plain data, which are equal only if a user sees no difference: types, nulls and bits included."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.type_map import feast_value_type_to_python_type


def exact(value: Any) -> Any:
    """A cell: its type and its bits."""
    if isinstance(value, list | tuple | np.ndarray):
        return [type(value).__name__, *map(exact, value)]
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    if isinstance(value, float | np.floating):
        return f"{type(value).__name__} {float(value).hex()}"
    return f"{type(value).__name__} {value!r}"


def frame(df: pd.DataFrame) -> dict[str, Any]:
    """Columns in their order, each with its dtype; rows by their `row`, if they have one."""
    ordered = df.sort_values("row", kind="stable") if "row" in df.columns else df
    columns = [(name, str(c.dtype), [exact(v) for v in c]) for name, c in ordered.items()]
    return {"index": [exact(v) for v in df.index], "columns": columns}


def arrow(table: pa.Table) -> list[Any]:
    """The same of an Arrow table."""
    ordered = table.sort_by("row") if "row" in table.column_names else table
    return [(f.name, str(f.type), exact(ordered[f.name].to_pylist())) for f in ordered.schema]


def rows(table: pa.Table) -> list[str]:
    """Rows in no order, for sources: a write appends, and where to is the engine's business."""
    ordered = table.select(sorted(table.column_names))
    return sorted(str(exact(row)) for row in ordered.to_pylist())


def trained(job: RetrievalJob) -> dict[str, Any]:
    """A training set, as most users take it."""
    return frame(job.to_df())


def served(response: OnlineResponse) -> dict[str, Any]:
    """Each feature's values with their statuses and times; Feast gives features no order."""
    proto = response.proto
    answers = {}
    for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True):
        values = [exact(feast_value_type_to_python_type(v)) for v in result.values]
        statuses = [FieldStatus.Name(status) for status in result.statuses]
        answers[name] = values, statuses, [stamp.ToMicroseconds() for stamp in result.event_timestamps]
    assert len(answers) == len(proto.results), "no feature is answered twice"
    return {"features": dict(sorted(answers.items())), "dict": exact(dict(sorted(response.to_dict().items())))}


def shown(response: OnlineResponse) -> dict[str, Any]:
    """Values with their statuses, readable; join keys are left out, which have no time."""
    proto = response.proto
    return {
        name: [
            (feast_value_type_to_python_type(value), FieldStatus.Name(status))
            for value, status in zip(result.values, result.statuses, strict=True)
        ]
        for name, result in zip(proto.metadata.feature_names.val, proto.results, strict=True)
        if not name.endswith("_id")
    }
