"""Orders of the shop as its database sends them: they change, become another user's, and are deleted."""

from entities import user

from dualpath.aggregates import Count, CountBy, Last, Sum
from dualpath.changes import Changes
from dualpath.declare import event_source, feature, feature_view
from dualpath.dimension import dimension, lookup
from dualpath.paths import first_of
from dualpath.schema import decimal, identifier, text
from dualpath.windows import days, lifetime

articles = dimension("articles", path="articles.csv", keys=[text("sku")], fields=[text("brand")])
orders = event_source(
    "orders",
    event_id=None,
    fields=[
        identifier("order_id", path=first_of("after.id", "before.id"), required=True),
        text("user_id", path=first_of("after.user_id", "before.user_id"), required=True),
        text("sku", path="after.sku"),
        decimal("amount", scale=2, path="after.amount"),
        identifier("lsn", required=True),
        text("op", choices=["c", "u", "d"]),
    ],
    changes=Changes(key="order_id", version="lsn", deleted="op = 'd'", before="before"),
    lookups=[lookup(articles)],
)
order_book = feature_view(
    "order_book",
    entity=user,
    source=orders,
    features=[
        feature("open_orders", Count(), over=lifetime()),
        feature("ordered_2d", Sum("amount"), over=days(2)),
        feature("brands", CountBy("brand"), over=lifetime()),
        feature("last_sku", Last("sku"), over=days(2)),
    ],
)
