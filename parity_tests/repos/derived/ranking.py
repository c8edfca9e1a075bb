"""On-demand views in every mode over maps, lists and columns with nulls; each says what its function is given."""

from typing import Any

import pandas as pd
from feast import Entity, Field, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float64, Int64, Map, String, UnixTimestamp

from dualpath.aggregates import Count, CountBy, Distinct, Last, LastK, Mean, SumBy, TopK
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import boolean, decimal, integer, text
from dualpath.windows import days, hours

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
clicks = event_source(
    "clicks",
    fields=[text("user_id"), text("word"), integer("count"), decimal("amount", scale=2), boolean("flag")],
    arrival_time=None,
)
habits = feature_view(
    "habits",
    entity=user,
    source=clicks,
    features=[
        feature("by_word", CountBy("word"), over=days(2)),
        feature("spent_by_word", SumBy("amount", by="word"), over=days(2)),
        feature("words", Distinct("word"), over=days(1)),
        feature("counts", LastK("count", k=3), over=hours(9)),
        feature("amounts", TopK("amount", k=2), over=hours(9)),
        feature("clicks_1h", Count(), over=hours(1)),
        feature("last_count", Last("count"), over=hours(2)),
        feature("last_flag", Last("flag"), over=hours(2)),
        feature("last_word", Last("word"), over=hours(2)),
        feature("mean_1h", Mean("amount"), over=hours(1)),
    ],
)
given = RequestSource(
    name="given",
    schema=[
        Field(name="limit", dtype=Int64),
        Field(name="rate", dtype=Float64),
        Field(name="since", dtype=UnixTimestamp),
    ],
)


def schema(mode: str) -> list[Field]:
    """The same features for each mode, under names of its own."""
    types = {
        "seen": String,
        "first": String,
        "total": Int64,
        "spent": Float64,
        "more": Int64,
        "flagged": Bool,
        "longest": Array(String),
        "doubled": Map,
    }
    return [Field(name=f"{mode}_{name}", dtype=kind) for name, kind in types.items()]


@on_demand_feature_view(sources=[habits, given], schema=schema("frame"), mode="pandas")
def frame(inputs: pd.DataFrame) -> pd.DataFrame:
    def seen(row: Any) -> str:
        told = [(name, str(inputs[name].dtype), type(row[name]).__name__, repr(row[name])) for name in inputs.columns]
        return repr([told, [getattr(row[name], "dtype", None) for name in ("words", "counts", "amounts")]])

    rows = [{name: inputs[name].iloc[i] for name in inputs.columns} for i in range(len(inputs))]
    return pd.DataFrame(
        {
            "frame_seen": [seen(row) for row in rows],
            "frame_first": [next(iter(row["by_word"]), None) for row in rows],
            "frame_total": [sum(row["by_word"].values()) for row in rows],
            "frame_spent": [sum(row["spent_by_word"].values()) for row in rows],
            "frame_more": inputs["last_count"] + inputs["limit"],
            "frame_flagged": inputs["last_flag"],
            "frame_longest": [sorted(row["words"], key=len, reverse=True)[:2] for row in rows],
            "frame_doubled": [{word: 2 * n for word, n in reversed(row["by_word"].items())} for row in rows],
        }
    )


@on_demand_feature_view(sources=[habits, given], schema=schema("lists"), mode="python")
def lists(inputs: dict[str, Any]) -> dict[str, Any]:
    rows = [dict(zip(inputs, values)) for values in zip(*inputs.values())]  # noqa: B905
    return {
        "lists_seen": [
            repr([(name, type(value).__name__, repr(value)) for name, value in row.items()]) for row in rows
        ],
        "lists_first": [next(iter(row["by_word"]), None) for row in rows],
        "lists_total": [sum(row["by_word"].values()) for row in rows],
        "lists_spent": [sum(row["spent_by_word"].values()) for row in rows],
        "lists_more": [None if row["last_count"] is None else row["last_count"] + row["limit"] for row in rows],
        "lists_flagged": [row["last_flag"] for row in rows],
        "lists_longest": [sorted(row["words"], key=len, reverse=True)[:2] for row in rows],
        "lists_doubled": [{word: 2 * n for word, n in reversed(row["by_word"].items())} for row in rows],
    }


@on_demand_feature_view(sources=[habits, given], schema=schema("row"), mode="python", singleton=True)
def row(inputs: dict[str, Any]) -> dict[str, Any]:
    last = inputs["last_count"]
    return {
        "row_seen": repr([(name, type(value).__name__, repr(value)) for name, value in inputs.items()]),
        "row_first": next(iter(inputs["by_word"]), None),
        "row_total": sum(inputs["by_word"].values()),
        "row_spent": sum(inputs["spent_by_word"].values()),
        "row_more": None if last is None else last + inputs["limit"],
        "row_flagged": inputs["last_flag"],
        "row_longest": sorted(inputs["words"], key=len, reverse=True)[:2],
        "row_doubled": {word: 2 * n for word, n in reversed(inputs["by_word"].items())},
    }


@on_demand_feature_view(sources=[habits], schema=[Field(name="ranked", dtype=Map), Field(name="rank", dtype=Int64)])
def ranking(inputs: pd.DataFrame) -> pd.DataFrame:
    ranked = [dict(sorted(map_.items(), key=lambda item: -item[1])) for map_ in inputs["by_word"]]
    return pd.DataFrame({"ranked": ranked, "rank": (inputs["last_count"] % 7).where(inputs["last_count"] > 0)})
