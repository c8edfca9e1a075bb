"""Cases of serving: `get_online_features`, sync and async, and the documents' call."""

import asyncio
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

from parity_tests.differential.plain import arrow, frame, served
from parity_tests.differential.sides import NOW, Case, Side

STATS = ["driver_stats:" + name for name in ("conv_rate", "acc_rate", "trips", "grade", "active", "city", "hashed")]
STATS += ["driver_stats:tags", "driver_stats:scores", "driver_stats:seen"]
HOME = ["driver_home:town", "driver_home:rent"]
RENT = ["driver_home:rent"]
FRESH = [{"driver_id": 1001}, {"driver_id": 1002}, {"driver_id": 1001}]
MANY = {"driver_id": [1001, 1002], "customer_id": ["ann", "ann"], "bonus": [5, None]}
JOURNEY = {"origin_id": [7, 8], "destination_id": [9, 7]}
OTHER_ORDER = [f"driver_stats:{name}" for name in ("seen", "tags", "city", "grade", "acc_rate", "active", "trips")]
OTHER_ORDER += ["driver_stats:conv_rate", "driver_stats:scores", "driver_stats:hashed"]

REQUESTS: dict[str, tuple[Any, Any]] = {
    "list_of_rows": (STATS, FRESH),
    "dict_of_columns": (STATS, {"driver_id": [1002, 1001]}),
    "one_row": (HOME, [{"driver_id": 1003}]),
    "protobuf_values": (HOME, {"driver_id": RepeatedValue(val=[Value(int64_val=1001)])}),
    "list_of_protobuf_values": (HOME, {"driver_id": [Value(int64_val=1001), Value(int64_val=1003)]}),
    "numpy_keys": (HOME, {"driver_id": np.array([1001, 1003])}),
    "numpy_keys_in_rows": (HOME, [{"driver_id": np.int64(1001)}, {"driver_id": np.int32(1003)}]),
    "column_of_a_frame": (HOME, {"driver_id": pd.Series([1001, 1003])}),
    "tuple_of_keys": (HOME, {"driver_id": (1001, 1003)}),
    "extra_keys": (HOME, {"driver_id": [1001], "colour": ["red"], "customer_id": ["ann"]}),
    "extra_keys_in_rows": (HOME, [{"colour": None, "driver_id": 1001}]),
    "missing_key": (HOME, [{"customer_id": "ann"}]),
    "missing_key_of_two": (["driver_orders:orders"], {"driver_id": [1001]}),
    "null_key": (RENT, [{"driver_id": None}]),
    "null_key_beside_another": (RENT, [{"driver_id": 1001}, {"driver_id": None}]),
    "null_part_of_a_key": (["driver_orders:orders"], [{"driver_id": 1001, "customer_id": None}]),
    "never_written": (RENT, [{"driver_id": 1001}, {"driver_id": 9999}]),
    "never_written_in_a_view_with_ttl": (["driver_stats:conv_rate"], [{"driver_id": 9999}]),
    "never_written_composite": (["driver_orders:spent"], [{"driver_id": 9999, "customer_id": "bob"}]),
    "older_than_ttl": (["driver_stats:grade"], [{"driver_id": 1003}]),
    "composite_key": (["driver_orders:orders", "driver_orders:spent"], {"customer_id": ["bob"], "driver_id": [1001]}),
    "view_without_entities": (["weather:degrees"], [{"driver_id": 1001}]),
    "views_of_several_keys": (["driver_orders:spent", "driver_home:rent", "driver_stats:grade"], MANY),
    "rows_of_several_keys": (["driver_orders:spent", "driver_home:rent"], [{"driver_id": 1001, "customer_id": "bob"}]),
    "rows_of_unlike_keys": (RENT, [{"driver_id": 1001}, {"driver_id": 1001, "customer_id": "ann"}]),
    "rows_that_lack_a_key": (RENT, [{"driver_id": 1001, "customer_id": "ann"}, {"driver_id": 1001}]),
    "columns_of_unequal_length": (["driver_orders:spent"], {"driver_id": [1001, 1002], "customer_id": ["ann"]}),
    "float_key": (RENT, [{"driver_id": 1001.0}]),
    "half_key": (RENT, [{"driver_id": 1001.5}]),
    "boolean_key": (RENT, [{"driver_id": True}]),
    "text_for_a_number": (RENT, [{"driver_id": "abc"}]),
    "unknown_feature": (["driver_home:colour"], FRESH),
    "unknown_view": (["nobody:rent"], FRESH),
    "feature_without_view": (["rent"], FRESH),
    "features_as_text": ("driver_home:rent", FRESH),
    "no_features": ([], FRESH),
    "one_feature_twice": (["driver_home:rent", "driver_home:rent"], FRESH),
    "clash_of_names": (["driver_stats:trips", "nightly:trips"], FRESH),
    "no_rows": (RENT, []),
    "no_keys": (RENT, [{}]),
    "no_columns": (RENT, {}),
    "empty_columns": (RENT, {"driver_id": []}),
    "on_demand_in_pandas": (["in_pandas:trips_and_bonus", "in_pandas:rate_twice"], MANY),
    "on_demand_with_its_inputs": (["in_pandas:rate_twice", "driver_stats:acc_rate"], MANY),
    "on_demand_in_python": (["in_python:address", "in_python:dear"], FRESH),
    "on_demand_of_never_written": (["in_python:address"], {"driver_id": [1001, 9999]}),
    "on_demand_without_request_data": (["in_pandas:rate_twice"], FRESH),
    "request_data_named_like_a_key": (["of_a_zone:next_zone"], [{"driver_id": 1001, "zone_id": 7}]),
    "request_data_and_the_key": (["of_a_zone:next_zone", "zone_traffic:cars"], [{"driver_id": 1001, "zone_id": 7}]),
    "on_demand_never_stored": (["stored:yearly"], [{"driver_id": 1001}]),
    "version_0": (["driver_home@v0:rent"], FRESH),
    "version_latest": (["driver_home@latest:rent"], FRESH),
    "version_unknown": (["driver_home@v9:rent"], FRESH),
    "instant_after_the_value": (RENT, [{"driver_id": 1001, "event_timestamp": NOW}]),
    "instant_before_the_value": (RENT, [{"driver_id": 1001, "event_timestamp": NOW - timedelta(hours=3)}]),
}  # fmt: skip


def requested(features: Any, entities: Any) -> Case:
    """The case of a request, as the library answers it now and as awaited."""

    def ask(side: Side) -> Any:
        return served(side.store.get_online_features(features, entities))

    return ask


def awaited(features: Any, entities: Any) -> Case:
    """The case of a request that is awaited."""

    def ask(side: Side) -> Any:
        return served(side.run(side.store.get_online_features_async(features, entities)))

    return ask


def full_names(side: Side) -> Any:
    """Names that carry their view's, also where the bare ones would clash."""
    features = ["driver_stats:trips", "appended:trips", "in_pandas:rate_twice"]
    return served(side.store.get_online_features(features, MANY, full_feature_names=True))


def service(side: Side) -> Any:
    """A service of three views and two on-demand views."""
    return served(side.store.get_online_features(side.store.get_feature_service("everything"), MANY))


def aliases(side: Side) -> Any:
    """One view under two names with keys of their own, full names."""
    asked = side.store.get_feature_service("journey")
    return served(side.store.get_online_features(asked, JOURNEY, full_feature_names=True))


def aliases_in_the_other_order(side: Side) -> Any:
    """The order of the keys is no part of a request, nor is a stray key of the original name."""
    asked, keys = side.store.get_feature_service("journey"), {**dict(reversed(JOURNEY.items())), "zone_id": [8, 8]}
    return served(side.store.get_online_features(asked, keys, full_feature_names=True))


def one_of_two_keys_renamed(side: Side) -> Any:
    """The other key keeps its name."""
    keys = {"their_id": [1001, 1002], "customer_id": ["bob", "ann"]}
    return served(side.store.get_online_features(side.store.get_feature_service("theirs"), keys))


def aliases_without_full_names(side: Side) -> Any:
    """Both views have the same features."""
    return served(side.store.get_online_features(side.store.get_feature_service("journey"), JOURNEY))


def alias_without_its_key(side: Side) -> Any:
    """The original key is not the alias's."""
    asked = side.store.get_feature_service("journey")
    return served(side.store.get_online_features(asked, {"zone_id": [7]}, full_feature_names=True))


def plain_and_aliased(side: Side) -> Any:
    """One view as it is and under another name."""
    with side.plain_and_aliased() as both:
        return served(side.store.get_online_features(both, {"zone_id": [7], "origin_id": [8]}, full_feature_names=True))


def unknown_service(side: Side) -> Any:
    """A name that nobody declared."""
    return side.store.get_feature_service("nothing")


def version_metadata(side: Side) -> Any:
    """Which version of a view answered."""
    answer = side.store.get_online_features(HOME, FRESH, include_feature_view_version_metadata=True)
    views = [(view.name, view.version) for view in answer.proto.metadata.feature_view_metadata]
    return views, served(answer)


def as_a_frame(side: Side) -> Any:
    """`to_df`, with and without times."""
    answer = side.store.get_online_features(STATS, FRESH)
    frames = [answer.to_df(), answer.to_df(include_event_timestamps=True)]
    return [frame(df[sorted(df.columns)]) for df in frames]


def as_arrow(side: Side) -> Any:
    """`to_arrow`; the order of features is compared elsewhere."""
    answer = side.store.get_online_features(STATS, FRESH).to_arrow()
    return arrow(answer.select(sorted(answer.column_names)))


def in_the_order_asked(side: Side) -> Any:
    """Ten features in an order that is neither the alphabet's nor the declaration's."""
    return list(side.store.get_online_features(OTHER_ORDER, FRESH).to_dict())


def one_loop_after_another(side: Side) -> Any:
    """A second `asyncio.run` in one process."""
    return [served(asyncio.run(side.store.get_online_features_async(RENT, FRESH))) for _ in range(2)]


def together_in_one_loop(side: Side) -> Any:
    """Several reads that wait for each other."""

    async def ask() -> list[Any]:
        asked = (side.store.get_online_features_async(RENT, [row]) for row in FRESH)
        return await asyncio.gather(*asked)

    return [served(answer) for answer in side.run(ask())]


def documents(side: Side) -> Any:
    """Neither store is a vector store."""
    return served(side.store.retrieve_online_documents([0.1, 0.2], 1, ["driver_stats:scores"]))


def documents_v2(side: Side) -> Any:
    """As `documents`."""
    return served(side.store.retrieve_online_documents_v2(["driver_stats:scores"], 1, [0.1, 0.2]))


OTHERS = [full_names, service, aliases, aliases_in_the_other_order, aliases_without_full_names, alias_without_its_key]
OTHERS += [one_of_two_keys_renamed]
OTHERS += [plain_and_aliased, unknown_service, version_metadata, as_a_frame, as_arrow, in_the_order_asked]
OTHERS += [one_loop_after_another, together_in_one_loop, documents, documents_v2]
CASES: dict[str, Case] = {
    **{f"online {name}": requested(*request) for name, request in REQUESTS.items()},
    **{f"async {name}": awaited(*request) for name, request in REQUESTS.items()},
    **{f"online {case.__name__}": case for case in OTHERS},
}
