"""Every aggregate over every kind of column it takes, so that both Spark paths are compared on all of them."""

from datetime import timedelta

from feast import Entity, ValueType

from dualpath.aggregates import Aggregate, Count, Ratio, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import boolean, decimal, double, identifier, integer, text, timestamp
from dualpath.windows import calendar, days, hours, minutes

COLUMNS = {
    "text": "lower(page)",
    "identifier": "device",
    "integer": "clicks",
    "decimal": "price * clicks",
    "double": "score",
    "boolean": "member",
    "timestamp": "seen",
}
OPTIONS = {"SumBy": {"by": "page"}, "Ratio": {"top": Sum("price"), "bottom": Count(where="member")}}

visitor = Entity(name="visitor", join_keys=["visitor"], value_type=ValueType.INT64)
visits = event_source(
    "visits",
    event_id="visit",
    event_time="at",
    arrival_time=None,
    fields=[
        integer("visitor", required=True),
        text("page"),
        identifier("device"),
        integer("clicks"),
        decimal("price", scale=2),
        double("score"),
        boolean("member"),
        timestamp("seen"),
    ],
)


def every(window, bounded, chosen):
    """A feature for every aggregate that `chosen` takes, over each kind of column."""
    for name, made in sorted(Aggregate.registry.items()):
        for kind in made.kinds or (None,):
            if chosen(made):
                of = {"of": COLUMNS[kind]} if kind else {}
                title = f"{name}_{kind}".lower() if kind else name.lower()
                yield feature(title, made(**of, **OPTIONS.get(name, {})), over=bounded if made.needs else window)


exact = feature_view("exact", entity=visitor, source=visits, features=every(days(1), hours(5), lambda made: True))
coarse = feature_view(
    "coarse",
    entity=visitor,
    source=visits,
    resolution=timedelta(minutes=1),
    features=every(calendar("week", "America/New_York"), minutes(90), lambda made: made.needs != "events"),
)
scores = feature_view(
    "scores",
    entity=visitor,
    source=visits,
    features=[
        feature("interest", Aggregate.registry["DecayedCount"](by="page", half_life=300), over=hours(1)),
        feature("value", Aggregate.registry["DecayedSum"]("price", by="page", half_life=3600.5), over=days(2)),
        feature("share", Ratio(top=Count(where="member")), over=days(3)),
    ],
)
