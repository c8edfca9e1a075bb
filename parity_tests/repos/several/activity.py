"""Clicks and orders of one topic, and returns of a database: views that count the events of two or three sources."""

from datetime import timedelta

from feast import Entity, FeatureService, ValueType
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination

from dualpath.aggregates import Count, DecayedCount, DistinctCount, First, Last, LastK, Max, Percentile, Sum
from dualpath.changes import Changes
from dualpath.declare import event_source, feature, feature_view, with_known
from dualpath.schema import decimal, identifier, integer, text, timestamp
from dualpath.windows import days, lifetime, minutes

user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
clicks = event_source(
    "clicks",
    where="kind = 'click'",
    event_id=text("id"),
    event_time=timestamp("ts", unit="ms"),
    arrival_time=timestamp("received", unit="ms"),
    fields=[text("kind"), text("user", required=True), text("ref"), text("page"), integer("weight")],
)
orders = event_source(
    "orders",
    each="items",
    where="kind = 'order'",
    event_id=text("line", path="items[*].id"),
    event_time=timestamp("at", path="placed.at"),
    arrival_time=timestamp("received", unit="ms"),
    fields=[
        text("kind"),
        text("user", path="placed.by", required=True),
        text("ref", path="items[*].sku"),
        decimal("amount", scale=2, path="items[*].price"),
        integer("weight", path="items[*].weight", lenient=True),
    ],
)
returns = event_source(
    "returns",
    event_id=None,
    event_time=timestamp("ts", unit="ms"),
    arrival_time=timestamp("received", unit="ms"),
    fields=[
        identifier("row", required=True),
        text("user", required=True),
        text("ref"),
        decimal("amount", scale=2),
        identifier("lsn", required=True),
        text("op"),
    ],
    changes=Changes(key=["user", "row"], version="lsn", deleted="op = 'd'"),
)
activity = feature_view(
    "activity",
    entity=user,
    source=[orders, clicks],
    features=[
        feature("actions_30min", Count(), over=minutes(30)),
        feature("actions_before", Count(), over=minutes(30).before(minutes(30))),
        feature("spent_7d", Sum("amount"), over=days(7)),
        feature("worth_7d", Sum("amount * weight", where="amount < 99"), over=days(7)),
        feature("last_ref", Last("ref"), over=lifetime()),
        feature("first_ref", First("ref"), over=days(7)),
        feature("last_refs", LastK("ref", k=5), over=days(7)),
        feature("refs", DistinctCount("ref"), over=days(1)),
        feature("named", DistinctCount("coalesce(page, ref)"), over=days(7)),
        feature("interest", DecayedCount(by="ref", half_life=3600), over=days(1)),
        feature("median", Percentile("weight", p=0.5), over=days(7)),
    ],
)
by_minute = feature_view(
    "by_minute",
    entity=user,
    source=[clicks, orders],
    features=[
        feature("actions_ever", Count(), over=lifetime()),
        feature("spent_1d", Sum("amount"), over=days(1)),
        feature("last_page", Last("page"), over=days(1)),
    ],
    resolution=timedelta(minutes=1),
)
clicked = feature_view("clicked", entity=user, source=clicks, features=[feature("clicks", Count(), over=days(1))])
everything = feature_view(
    "everything",
    entity=user,
    source=[clicks, returns, orders],
    features=[
        feature("events", Count(), over=days(7)),
        feature("moved", Sum("amount"), over=lifetime()),
        feature("largest", Max("amount"), over=days(7)),
        feature("newest_refs", LastK("ref", k=4), over=days(7)),
    ],
)
audited = FeatureService(
    name="audited",
    features=[with_known(activity), with_known(everything)],
    logging_config=LoggingConfig(destination=FileLoggingDestination(path="data/served"), sample_rate=1.0),
)
