"""Calls of a customer data platform, as Segment sends them: several kinds, and times by the device's own clock."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, CountBy, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.dimension import dimension, lookup
from dualpath.schema import decimal, text, timestamp
from dualpath.windows import days

products = dimension(
    "products",
    path="dimensions/products.csv",
    keys=[text("product_id")],
    valid_from=timestamp("valid_from"),
    fields=[text("category")],
)
viewer = Entity(name="viewer", join_keys=["viewer_id"], value_type=ValueType.STRING)
tracking = event_source(
    "tracking",
    where="message = 'track'",
    event_id=text("messageId"),
    event_time=timestamp("originalTimestamp"),
    sent_at="sentAt",
    arrival_time="receivedAt",
    fields=[
        text("message", path="type", required=True),
        text("viewer_id", path="userId", required=True),
        text("action", path="event"),
        text("product_id", path="properties.product_id"),
        decimal("price", scale=2, path="properties.price"),
    ],
    lookups=[lookup(products, on={"product_id": "product_id"})],
)
viewed = feature_view(
    "viewed",
    entity=viewer,
    source=tracking,
    features=[
        feature("views_1d", Count(where="action = 'Product Viewed'"), over=days(1)),
        feature("spent_1d", Sum("price", where="action = 'Order Completed'"), over=days(1)),
        feature("categories_1d", CountBy("category"), over=days(1)),
    ],
)
