"""What a user has bought lately."""

from entities import user
from sources import shop_events

from dualpath.aggregates import Count, Mean
from dualpath.declare import feature, feature_view
from dualpath.windows import days

user_orders = feature_view(
    "user_orders",
    entity=user,
    source=shop_events,
    description="What a user has bought lately; an order's total stands on one of its lines.",
    features=[
        feature(
            "user_7d_avg_order_value",
            Mean("order_value"),
            over=days(7),
            description="What an order of the last seven days was worth on average.",
        ),
        feature(
            "user_7d_orders",
            Count(where="order_value IS NOT NULL"),
            over=days(7),
            description="Orders of the last seven days.",
        ),
    ],
)
