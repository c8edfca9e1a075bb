"""Fields anywhere in a payload, called as the event log calls columns of its own, and members apart only by case."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Distinct, Last, LastK, Max, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.limits import Limits, NullLimit
from dualpath.schema import boolean, decimal, identifier, integer, text, timestamp
from dualpath.windows import days

user = Entity(name="user", join_keys=["batch"], value_type=ValueType.STRING)
number = Entity(name="number", join_keys=["Reason"], value_type=ValueType.INT64)
orders = event_source(
    "orders",
    event_id=text("id", path="meta.id"),
    event_time=timestamp("ts", path="meta.ts", unit="ms"),
    arrival_time=timestamp("received", path=["meta", "received.at"]),
    fields=[
        text("batch", path="context.user.id", required=True),
        identifier("Reason", path="lists[0][1].id"),
        decimal("late", scale=2, path="items[0].price"),
        integer("query", path='items[1]["n.o."]'),
        boolean("epoch", path="flags.$on"),
        text("payload", path="userId"),
        text("lower", path="userid"),
        text("upper", path="USERID"),
        text("user_id", path="context.user"),
        timestamp("Event_Time", path="items[0].since", unit="s"),
    ],
    limits=Limits(nulls=[NullLimit("late", 0.9), NullLimit("payload", 0.9)]),
)
FEATURES = [
    feature("orders", Count(), over=days(7)),
    feature("on", Count(where="epoch and lower = 'u1'"), over=days(7)),
    feature("late", Sum("late"), over=days(7)),
    feature("product", Sum("late * query", where="late < 99.5"), over=days(7)),
    feature("payload", Last("payload"), over=days(7)),
    feature("cases", Distinct("coalesce(upper, lower, payload)"), over=days(7)),
    feature("numbers", LastK("Reason", k=3), over=days(7)),
    feature("since", Max("Event_Time", where="Event_Time < event_time"), over=days(7)),
    feature("within", Last("user_id"), over=days(7)),
]
of_user = feature_view("of_user", entity=user, source=orders, features=FEATURES)
of_both = feature_view("of_both", entity=[user, number], source=orders, features=FEATURES[:5])
