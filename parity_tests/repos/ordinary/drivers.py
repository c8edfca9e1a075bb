"""Ordinary Feast views beside windowed ones: files, derived features, aliases, logging."""

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

from dualpath.aggregates import Count, CountBy, Distinct, Mean
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import decimal, integer, text
from dualpath.windows import days, hours

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
orders = event_source(
    "orders", fields=[text("user_id"), integer("shop_id"), decimal("amount", scale=2)], arrival_time=None
)
user_orders = feature_view(
    "user_orders",
    entity=user,
    source=orders,
    features=[
        feature("orders_1h", Count(), over=hours(1)),
        feature("mean_7d", Mean("amount"), over=days(7)),
        feature("shops_7d", Distinct("shop_id"), over=days(7)),
        feature("orders_7d", Count(), over=days(7)),
        feature("orders_2d", Count(), over=days(2)),
    ],
)
shop_orders = feature_view(
    "shop_orders",
    entity=shop,
    source=orders,
    features=[
        feature("shop_mean_7d", Mean("amount"), over=days(7)),
        feature("buyers", CountBy("user_id"), over=days(7)),
    ],
)
returns = event_source("returns", fields=[text("user_id")], arrival_time=None)
user_returns = feature_view(
    "user_returns", entity=user, source=returns, features=[feature("returns_7d", Count(), over=days(7))]
)

# A path from the repo: Feast's stores look from the folder of the process.
profiles = FileSource(
    name="profiles", path="data/profiles.parquet", timestamp_field="at", created_timestamp_column="created"
)
user_profile = FeatureView(
    name="user_profile",
    entities=[user],
    ttl=timedelta(days=2),
    schema=[Field(name="user_id", dtype=String), Field(name="age", dtype=Int64), Field(name="rating", dtype=Float64)],
    source=profiles,
)
visits = FileSource(name="visits", path="data/visits.parquet", timestamp_field="at")
user_visits = FeatureView(
    name="user_visits",
    entities=[user, shop],
    schema=[Field(name="user_id", dtype=String), Field(name="shop_id", dtype=Int64), Field(name="seen", dtype=Int64)],
    source=visits,
)
request = RequestSource(name="request", schema=[Field(name="basket", dtype=Float64)])


@on_demand_feature_view(
    sources=[user_orders[["orders_7d", "orders_1h", "orders_2d", "mean_7d"]], user_profile, request],
    schema=[Field(name="score", dtype=Float64), Field(name="busy", dtype=Int64)],
)
def derived(inputs: pd.DataFrame) -> pd.DataFrame:
    counts = inputs["orders_7d"] + 10 * inputs["orders_1h"] + 100 * inputs["orders_2d"]
    return pd.DataFrame(
        {
            "score": inputs["rating"].astype(float) + inputs["basket"].astype(float),
            "busy": counts + 1_000 * inputs["age"].astype(float).fillna(0).astype(int),
        }
    )


everything = FeatureService(
    name="everything",
    features=[user_visits, derived, user_orders[["mean_7d", "shops_7d"]], user_profile[["rating"]]],
    logging_config=LoggingConfig(destination=FileLoggingDestination(path="data/logged")),
)
aliased = FeatureService(
    name="aliased",
    features=[
        user_profile.with_name("author").with_join_key_map({"user_id": "author_id"}),
        user_profile.with_name("reader").with_join_key_map({"user_id": "reader_id"}),
        user_visits.with_name("read").with_join_key_map({"user_id": "reader_id"}),
        user_orders[["orders_7d"]].with_name("bought").with_join_key_map({"user_id": "reader_id"}),
    ],
)
