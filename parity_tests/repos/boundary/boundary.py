"""Text, integer and composite keys, aliases, maps, derived features, and ordinary views beside windowed ones."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

from dualpath.aggregates import Count, CountBy, Distinct, Last, Mean, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import decimal, integer, text
from dualpath.windows import days, hours, lifetime

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)
orders = event_source(
    "orders",
    fields=[text("user_id"), integer("shop_id"), text("kind"), decimal("amount", scale=2)],
    arrival_time=None,
)
user_orders = feature_view(
    "user_orders",
    entity=user,
    source=orders,
    features=[
        feature("orders_1h", Count(), over=hours(1)),
        feature("mean_7d", Mean("amount"), over=days(7)),
        feature("kinds_7d", Distinct("kind"), over=days(7)),
        feature("by_kind", CountBy("kind"), over=lifetime()),
        feature("last_kind", Last("kind"), over=days(7)),
    ],
)
shop_orders = feature_view(
    "shop_orders",
    entity=shop,
    source=orders,
    features=[feature("orders_7d", Count(), over=days(7)), feature("spent_7d", Sum("amount"), over=days(7))],
)
pair_orders = feature_view(
    "pair_orders",
    entity=[user, shop],
    source=orders,
    features=[feature("pair_orders_7d", Count(), over=days(7))],
)

HERE = Path(__file__).parent
profiles = FileSource(name="profiles", path=str(HERE / "data" / "profiles.parquet"), timestamp_field="event_time")
user_profile = FeatureView(
    name="user_profile",
    entities=[user],
    ttl=timedelta(days=2),
    schema=[Field(name="user_id", dtype=String), Field(name="age", dtype=Int64), Field(name="rating", dtype=Float64)],
    source=profiles,
)


@on_demand_feature_view(
    sources=[user_orders, user_profile], schema=[Field(name="busy", dtype=Int64), Field(name="adult", dtype=Int64)]
)
def derived(inputs: pd.DataFrame) -> pd.DataFrame:
    busy = (inputs["orders_1h"].astype("Int64") > 1).astype("Int64")
    adult = (inputs["age"].astype("Int64").fillna(0) >= 18).astype("Int64")
    return pd.DataFrame({"busy": busy, "adult": adult})


everything = FeatureService(
    name="everything", features=[shop_orders, user_profile, pair_orders, derived, user_orders[["mean_7d", "by_kind"]]]
)
windowed = FeatureService(name="windowed", features=[shop_orders, pair_orders, user_orders])
aliased = FeatureService(
    name="aliased",
    features=[
        user_orders.with_name("author").with_join_key_map({"user_id": "author_id"}),
        user_orders.with_name("reader").with_join_key_map({"user_id": "reader_id"}),
        pair_orders.with_name("bought").with_join_key_map({"user_id": "reader_id", "shop_id": "seller_id"}),
    ],
)
frozen = FeatureService(name="frozen", features=[user_profile, shop_orders], precompute_online=True)
frozen_profile = FeatureService(name="frozen_profile", features=[user_profile], precompute_online=True)
