"""Rows of a database's table of accounts, as Debezium sends their changes; the latest version of each counts, for the
owner that it names."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Max
from dualpath.changes import Changes
from dualpath.declare import event_source, feature, feature_view
from dualpath.paths import first_of
from dualpath.schema import decimal, identifier, text, timestamp
from dualpath.windows import lifetime

owner = Entity(name="owner", join_keys=["owner_id"], value_type=ValueType.INT64)
accounts = event_source(
    "accounts",
    event_id=None,
    event_time=timestamp("ts_ms", unit="ms"),
    arrival_time=None,
    fields=[
        identifier("account_id", path=first_of("after.id", "before.id"), required=True),
        identifier("owner_id", path=first_of("after.owner", "before.owner"), required=True),
        decimal("balance", scale=2, path="after.balance"),
        identifier("lsn", path="source.lsn", required=True),
        text("op", choices=["c", "u", "d", "r"]),
    ],
    changes=Changes(key="account_id", version="lsn", deleted="op = 'd'", before="before"),
)
owned = feature_view(
    "owned",
    entity=owner,
    source=accounts,
    features=[feature("accounts", Count(), over=lifetime()), feature("largest", Max("balance"), over=lifetime())],
)
