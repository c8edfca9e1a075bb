"""What a user is doing right now."""

from entities import user
from sources import shop_events

from dualpath.aggregates import Count, DecayedCount, Distinct, LastK, Max, Sum
from dualpath.declare import feature, feature_view
from dualpath.windows import hours, lifetime, minutes, today

user_activity = feature_view(
    "user_activity",
    entity=user,
    source=shop_events,
    description="What a user is doing right now.",
    features=[
        feature("actions_5min", Count(), over=minutes(5), description="Actions in the last five minutes."),
        feature("actions_30min", Count(), over=minutes(30), description="Actions in the last half hour."),
        feature(
            "interests_1h",
            Distinct("category"),
            over=hours(1),
            description="Categories looked at or bought from in the last hour, in ascending order.",
        ),
        feature(
            "interest_5min",
            DecayedCount(by="category", half_life=60),
            over=minutes(5),
            description="Interest in each category: actions of the last five minutes, each worth half after a minute.",
        ),
        feature(
            "recent_products",
            LastK("product_id", k=5),
            over=hours(1),
            description="Products of the last five actions of the last hour, newest first.",
        ),
        feature(
            "spend_today",
            Sum("amount", where="action = 'purchase'"),
            over=today("UTC"),
            description="Money spent since midnight UTC.",
        ),
        feature(
            "last_active",
            Max("event_time"),
            over=lifetime(),
            description="When the user last did anything, in microseconds since 1970 UTC.",
        ),
    ],
)
