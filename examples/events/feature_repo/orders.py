"""Orders of a web shop, as Shopify's webhooks have them: each item of an order is an event."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import decimal, identifier, integer, text, timestamp
from dualpath.windows import days

buyer = Entity(name="buyer", join_keys=["buyer_id"], value_type=ValueType.INT64)
orders = event_source(
    "orders",
    each="line_items",
    event_id=text("line", path="line_items[*].id"),
    event_time=timestamp("created_at"),
    arrival_time=None,
    fields=[
        identifier("buyer_id", path="customer.id", required=True),
        text("sku", path="line_items[*].sku"),
        decimal("price", scale=2, path="line_items[*].price"),
        integer("quantity", path="line_items[*].quantity"),
    ],
)
bought = feature_view(
    "bought",
    entity=buyer,
    source=orders,
    features=[
        feature("lines_7d", Count(), over=days(7)),
        feature("spent_7d", Sum("price * quantity"), over=days(7)),
    ],
)
