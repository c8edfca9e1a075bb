"""Batches of page events of a browser, as Google's Measurement Protocol has them: a list in one message."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Last, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import integer, text, timestamp
from dualpath.windows import minutes

browser = Entity(name="browser", join_keys=["client_id"], value_type=ValueType.STRING)
pages = event_source(
    "pages",
    each="events",
    event_id=None,
    event_time=timestamp("timestamp_micros", unit="us"),
    arrival_time=None,
    fields=[
        text("client_id", required=True),
        text("action", path="events[*].name", required=True),
        text("page", path="events[*].params.page_location"),
        integer("engaged_ms", path="events[*].params.engagement_time_msec", lenient=True),
    ],
)
browsing = feature_view(
    "browsing",
    entity=browser,
    source=pages,
    features=[
        feature("pages_30min", Count(where="action = 'page_view'"), over=minutes(30)),
        feature("engaged_ms_30min", Sum("engaged_ms"), over=minutes(30)),
        feature("last_page_30min", Last("page"), over=minutes(30)),
    ],
)
