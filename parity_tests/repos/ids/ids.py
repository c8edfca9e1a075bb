"""Ids of 64 bits as join key and as values."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Distinct, DistinctCount, Last, LastK
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import identifier
from dualpath.windows import days

account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.INT64)
transfers = event_source(
    "transfers",
    event_id="transfer",
    event_time="at",
    arrival_time=None,
    fields=[identifier("account_id", required=True), identifier("peer")],
)
account_transfers = feature_view(
    "account_transfers",
    entity=account,
    source=transfers,
    features=[
        feature("last", Last("peer"), over=days(7)),
        feature("latest", LastK("peer", k=3), over=days(7)),
        feature("peers", Distinct("peer"), over=days(7)),
        feature("n_peers", DistinctCount("peer"), over=days(7)),
        feature("to_odd", Count(where="peer = 9007199254740993"), over=days(7)),
    ],
)
