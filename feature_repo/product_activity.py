"""How much attention a product gets."""

from entities import product
from sources import shop_events

from dualpath.aggregates import Count
from dualpath.declare import feature, feature_view
from dualpath.windows import hours

product_activity = feature_view(
    "product_activity",
    entity=product,
    source=shop_events,
    description="How much attention a product gets.",
    features=[
        feature(
            "product_views_last_hour",
            Count(where="action = 'view_item'"),
            over=hours(1),
            description="How often the product was looked at in the last hour.",
        )
    ],
)
