"""What a user is doing right now."""

from entities import user
from sources import shop_events

from dualpath.aggregates import Count, Distinct, Max, Sum
from dualpath.declare import feature, feature_view
from dualpath.windows import hours, lifetime, minutes, today

user_activity = feature_view(
    "user_activity",
    entity=user,
    source=shop_events,
    description="What a user is doing right now.",
    features=[
        feature("actions_5min", Count(), over=minutes(5)),
        feature("actions_30min", Count(), over=minutes(30)),
        feature("interests_1h", Distinct("category"), over=hours(1)),
        feature("spend_today", Sum("amount", where="action = 'purchase'"), over=today("UTC")),
        feature("last_active", Max("event_time"), over=lifetime(), description="Microseconds since 1970, UTC."),
    ],
)
