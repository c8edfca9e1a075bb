"""Events of a payment provider, as Stripe's webhooks have them: many types, money in cents, seconds since 1970."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import integer, text, timestamp
from dualpath.windows import days

payer = Entity(name="payer", join_keys=["payer_id"], value_type=ValueType.STRING)
payments = event_source(
    "payments",
    where="type IN ('charge.succeeded', 'charge.refunded')",
    event_id="id",
    event_time=timestamp("created", unit="s"),
    arrival_time=None,
    fields=[
        text("type", required=True),
        text("payer_id", path="data.object.customer", required=True),
        integer("cents", path="data.object.amount"),
        integer("refunded_cents", path="data.object.amount_refunded"),
    ],
)
paid = feature_view(
    "paid",
    entity=payer,
    source=payments,
    features=[
        feature("charges_30d", Count(where="type = 'charge.succeeded'"), over=days(30)),
        feature("cents_30d", Sum("cents", where="type = 'charge.succeeded'"), over=days(30)),
        feature("refunded_cents_30d", Sum("refunded_cents", where="type = 'charge.refunded'"), over=days(30)),
    ],
)
