"""Parcels of a carrier as CloudEvents in Kafka's binary mode: the envelope is headers, and the payload is the data."""

from feast import Entity, ValueType

from dualpath import kafka
from dualpath.aggregates import Count, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import decimal, text, timestamp
from dualpath.windows import days

recipient = Entity(name="recipient", join_keys=["recipient_id"], value_type=ValueType.STRING)
parcels = event_source(
    "parcels",
    where="type = 'parcel.delivered'",
    event_id=text("id", path=kafka.header("ce_id")),
    event_time=timestamp("time", path=kafka.header("ce_time")),
    arrival_time=None,
    fields=[
        text("type", path=kafka.header("ce_type"), required=True),
        text("recipient_id", path=kafka.key, required=True),
        decimal("kilos", scale=2),
    ],
)
received = feature_view(
    "received",
    entity=recipient,
    source=parcels,
    features=[
        feature("parcels_7d", Count(), over=days(7)),
        feature("kilos_7d", Sum("kilos"), over=days(7)),
    ],
)
