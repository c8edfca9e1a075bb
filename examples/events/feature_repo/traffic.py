"""Requests that a content network logged, as Cloudflare's log pushes have them: capital names, nanoseconds."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Percentile
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import integer, text, timestamp
from dualpath.windows import minutes

client = Entity(name="client", join_keys=["client_ip"], value_type=ValueType.STRING)
traffic = event_source(
    "traffic",
    event_id="RayID",
    event_time=timestamp("EdgeStartTimestamp", unit="ns", truncate=True),
    arrival_time=None,
    fields=[
        text("client_ip", path="ClientIP", required=True),
        integer("status", path="EdgeResponseStatus"),
        integer("size", path="EdgeResponseBytes"),
    ],
)
requested = feature_view(
    "requested",
    entity=client,
    source=traffic,
    features=[
        feature("requests_5min", Count(), over=minutes(5)),
        feature("errors_5min", Count(where="status >= 500"), over=minutes(5)),
        feature("median_size_5min", Percentile("size", p=0.5), over=minutes(5)),
    ],
)
