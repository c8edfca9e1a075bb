"""What the shop reports: one event per action of a user, one per line of an order."""

from datetime import timedelta

from dualpath.declare import event_source
from dualpath.schema import decimal, integer, text

shop_events = event_source(
    "shop_events",
    description="What users do in the web shop: views, cart changes, purchases.",
    fields=[
        text("user_id", required=True),
        text("action", required=True),
        text("product_id"),
        text("category"),
        integer("quantity"),
        decimal("amount", scale=2),
        decimal("order_value", scale=2),
    ],
    event_id=None,
    late_after=timedelta(days=1),
    duplicates_within=timedelta(days=1),
)
