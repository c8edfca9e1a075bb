"""Two sources of one topic: the items of orders, each an event, and what was looked at."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Last, LastK, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.limits import Limits
from dualpath.schema import decimal, integer, text, timestamp
from dualpath.windows import days

user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
product = Entity(name="product", join_keys=["sku"], value_type=ValueType.STRING)
ALL = Limits(refused=1.0)
items = event_source(
    "items",
    each="order.items",
    where="kind = 'order'",
    event_id=text("order", path="order.id"),
    event_time=timestamp("ts", unit="ms"),
    arrival_time=None,
    fields=[
        text("kind", required=True),
        text("user", required=True),
        text("sku", path="order.items[*].sku", required=True),
        decimal("price", scale=2, path="order.items[*].price"),
        integer("quantity", path='order.items[*]["how many"]'),
    ],
    limits=ALL,
)
looks = event_source(
    "looks",
    where="kind in ('view', 'click')",
    event_id=None,
    event_time=timestamp("ts", unit="ms"),
    arrival_time=None,
    fields=[text("kind", choices=("view", "click")), text("user", required=True), text("sku")],
    limits=ALL,
)
BOUGHT = [
    feature("items", Count(), over=days(7)),
    feature("spent", Sum("price * quantity"), over=days(7)),
    feature("prices", LastK("price", k=5), over=days(7)),
    feature("last_kind", Last("kind"), over=days(7)),
]
of_user = feature_view("of_user", entity=user, source=items, features=BOUGHT)
of_product = feature_view("of_product", entity=product, source=items, features=BOUGHT)
looked = feature_view("looked", entity=user, source=looks, features=[feature("looks", Count(), over=days(7))])
