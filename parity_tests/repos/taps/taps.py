"""Taps on devices whose clocks are wrong, some of which happen after they arrive."""

from datetime import timedelta

from feast import Entity, ValueType

from dualpath.aggregates import Count, Last, Max, Sum
from dualpath.clock import Future
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import integer, text, timestamp
from dualpath.windows import days, hours

user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
taps = event_source(
    "taps",
    event_id=None,
    event_time=timestamp("at", unit="us"),
    sent_at=timestamp("sent", unit="us"),
    arrival_time=timestamp("arrived", unit="us"),
    future=Future(timedelta(minutes=5), beyond="arrival"),
    fields=[text("user", required=True), integer("amount"), timestamp("device", path="at", unit="us")],
)
of_user = feature_view(
    "of_user",
    entity=user,
    source=taps,
    features=[
        feature("taps", Count(), over=hours(7)),
        feature("amount", Sum("amount"), over=hours(3)),
        feature("last", Last("amount"), over=days(7)),
        feature("at", Max("event_time"), over=days(7)),
        feature("wrong", Count(where="device > event_time"), over=days(7)),
    ],
)
