"""A source whose declaration the tests change while its log has events."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Last, Max, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import integer, text
from dualpath.windows import days

buyer = Entity(name="buyer", join_keys=["user"], value_type=ValueType.STRING)
orders = event_source(
    "orders",
    arrival_time=None,
    fields=[
        text("user", required=True),
        integer("amount"),
        integer("weight"),
        text("product_id"),
        text("channel"),
        text("state", choices=["new", "paid"]),
    ],
)
spent = feature_view(
    "spent",
    entity=buyer,
    source=orders,
    features=[
        feature("total", Sum("amount"), over=days(7)),
        feature("heavy", Max("weight"), over=days(7)),
        feature("dear", Count(where="amount > 10"), over=days(7)),
        feature("last", Last("product_id"), over=days(7)),
    ],
)
seen = feature_view(
    "seen", entity=buyer, source=orders, features=[feature("paid", Count(where="state = 'paid'"), over=days(7))]
)
