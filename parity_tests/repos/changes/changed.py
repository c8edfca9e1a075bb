"""Orders as Debezium sends them: each message has a row before and after a change, and an order may be another user's
then; the category of its product is looked up."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, CountBy, DistinctCount, Last, Max, Percentile, Sum
from dualpath.changes import Changes
from dualpath.declare import event_source, feature, feature_view
from dualpath.dimension import dimension, lookup
from dualpath.paths import first_of
from dualpath.schema import decimal, identifier, integer, text, timestamp
from dualpath.windows import days, lifetime

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
products = dimension("products", path="products.csv", keys=[text("sku")], fields=[text("category")])
orders = event_source(
    "orders",
    event_id=None,
    event_time=timestamp("ts_ms", unit="ms"),
    arrival_time=timestamp("received", unit="ms"),
    fields=[
        identifier("order_id", path=first_of("after.id", "before.id"), required=True),
        text("user_id", path=first_of("after.user_id", "before.user_id"), required=True),
        text("shop", path=first_of("after.shop", "before.shop"), required=True),
        text("sku", path="after.sku"),
        text("state", path="after.state"),
        decimal("amount", scale=2, path="after.amount"),
        integer("quantity", path="after.quantity"),
        identifier("lsn", path="source.lsn", required=True),
        text("op", choices=["c", "u", "d", "r"]),
    ],
    changes=Changes(key="order_id", version="lsn", deleted="op = 'd'", before="before"),
    lookups=[lookup(products)],
)
features = [
    feature("orders_7d", Count(), over=days(7)),
    feature("paid_7d", Sum("amount", where="state = 'paid'"), over=days(7)),
    feature("largest", Max("amount"), over=lifetime()),
    feature("median_7d", Percentile("quantity", p=0.5), over=days(7)),
    feature("states", CountBy("state"), over=lifetime()),
    feature("kinds_before", DistinctCount("state"), over=days(2).before(days(2))),
    feature("last_state", Last("state"), over=days(7)),
    feature("categories", CountBy("category"), over=lifetime()),
]
by_user = feature_view("by_user", entity=user, source=orders, features=features)
