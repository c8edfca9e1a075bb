"""An ordinary Feast repo, in which nothing is windowed; a copy of this file reads the data beside it."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp

DATA = Path(__file__).parent / "data"

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
zone = Entity(name="zone", join_keys=["zone_id"], value_type=ValueType.INT64)


def source(name: str, created: str = "", **options: object) -> FileSource:
    """The generated Parquet file of that name."""
    return FileSource(
        name=name,
        path=str(DATA / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column=created,
        **options,  # type: ignore[arg-type]
    )


stats = source("stats", created="created")
stats_push = PushSource(name="stats_push", batch_source=stats)
EVERY_TYPE = [
    Field(name="conv_rate", dtype=Float32),
    Field(name="acc_rate", dtype=Float64),
    Field(name="trips", dtype=Int64),
    Field(name="grade", dtype=Int32),
    Field(name="active", dtype=Bool),
    Field(name="city", dtype=String),
    Field(name="hashed", dtype=Bytes),
    Field(name="tags", dtype=Array(String)),
    Field(name="scores", dtype=Array(Float64)),
    Field(name="seen", dtype=UnixTimestamp),
]
driver_stats = FeatureView(
    name="driver_stats", entities=[driver], ttl=timedelta(days=2), schema=EVERY_TYPE, source=stats_push
)
driver_home = FeatureView(
    name="driver_home",
    entities=[driver],
    schema=[Field(name="town", dtype=String), Field(name="rent", dtype=Float64)],
    source=source("home", field_mapping={"monthly": "rent"}),
)
driver_orders = FeatureView(
    name="driver_orders",
    entities=[driver, customer],
    ttl=timedelta(days=3650),
    schema=[Field(name="orders", dtype=Int64), Field(name="spent", dtype=Float64)],
    source=source("orders"),
)
zone_traffic = FeatureView(
    name="zone_traffic",
    entities=[zone],
    schema=[Field(name="cars", dtype=Int64), Field(name="speed", dtype=Float64)],
    source=source("traffic"),
)
weather = FeatureView(
    name="weather",
    entities=[],
    schema=[Field(name="degrees", dtype=Float64)],
    source=source("weather"),
)
# Views that are written by one case each, so that no case depends on another.
nightly = FeatureView(name="nightly", entities=[driver], schema=EVERY_TYPE, source=stats)
hourly, pushed, appended = (
    FeatureView(
        name=name,
        entities=[driver],
        schema=[Field(name="trips", dtype=Int64), Field(name="acc_rate", dtype=Float64)],
        source=read,
    )
    for name, read in [
        ("hourly", source("hourly")),
        ("pushed", PushSource(name="pushed_push", batch_source=source("pushed"))),
        ("appended", source("appended")),
    ]
)

request = RequestSource(name="request", schema=[Field(name="bonus", dtype=Int64)])


@on_demand_feature_view(
    sources=[driver_stats, request],
    schema=[Field(name="trips_and_bonus", dtype=Int64), Field(name="rate_twice", dtype=Float64)],
    mode="pandas",
)
def in_pandas(inputs: pd.DataFrame) -> pd.DataFrame:
    """Arithmetic on stored and on request data."""
    made = pd.DataFrame()
    made["trips_and_bonus"] = (inputs["trips"] + inputs["bonus"]).astype("Int64")
    made["rate_twice"] = inputs["acc_rate"] * 2
    return made


@on_demand_feature_view(
    sources=[driver_stats, driver_home],
    schema=[Field(name="address", dtype=String), Field(name="dear", dtype=Bool)],
    mode="python",
)
def in_python(inputs: dict) -> dict:
    """Texts and nulls of two views."""
    return {
        "address": [f"{grade}/{rent}" for grade, rent in zip(inputs["grade"], inputs["rent"], strict=True)],
        "dear": [rent is not None and rent > 500 for rent in inputs["rent"]],
    }


@on_demand_feature_view(
    sources=[driver_home],
    entities=[driver],
    schema=[Field(name="yearly", dtype=Float64)],
    mode="pandas",
    write_to_online_store=True,
)
def stored(inputs: pd.DataFrame) -> pd.DataFrame:
    """Computed when it is written, not when it is read."""
    return pd.DataFrame({"yearly": inputs["rent"] * 12})


@on_demand_feature_view(
    sources=[driver_home, RequestSource(name="place", schema=[Field(name="zone_id", dtype=Int64)])],
    schema=[Field(name="next_zone", dtype=Int64)],
    mode="pandas",
)
def of_a_zone(inputs: pd.DataFrame) -> pd.DataFrame:
    """Request data that has the name of another view's join key."""
    return pd.DataFrame({"next_zone": inputs["zone_id"] + 1})


everything = FeatureService(
    name="everything", features=[driver_stats, driver_home[["rent"]], driver_orders, in_pandas, in_python]
)
journey = FeatureService(
    name="journey",
    features=[
        zone_traffic.with_name("origin").with_join_key_map({"zone_id": "origin_id"}),
        zone_traffic.with_name("destination").with_join_key_map({"zone_id": "destination_id"}),
    ],
)
theirs = FeatureService(
    name="theirs", features=[driver_orders.with_name("theirs").with_join_key_map({"driver_id": "their_id"})]
)
ready = FeatureService(name="ready", features=[driver_home], precompute_online=True)
logged = FeatureService(
    name="logged",
    features=[driver_home],
    logging_config=LoggingConfig(destination=FileLoggingDestination(path=str(DATA / "logged"))),
)
OBJECTS = [
    *(driver, customer, zone),
    *(driver_stats, driver_home, driver_orders, zone_traffic, weather, nightly, hourly, pushed, appended),
    *(in_pandas, in_python, stored, of_a_zone),
    *(everything, journey, theirs, ready, logged),
]
