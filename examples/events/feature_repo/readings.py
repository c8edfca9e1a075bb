"""Readings of machines in CloudEvents' envelope: nanoseconds, binary noise, and flags of several spellings."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Max, Mean
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import boolean, decimal, text, timestamp
from dualpath.windows import hours

tank = Entity(name="tank", join_keys=["tank_id"], value_type=ValueType.STRING)
readings = event_source(
    "readings",
    event_id="id",
    event_time=timestamp("time", truncate=True),
    arrival_time=None,
    fields=[
        text("tank_id", path="subject", required=True),
        decimal("celsius", scale=1, path='data["temperature °C"]', rounded=True),
        boolean("alarm", path="data.alarm", lenient=True, empty_is_null=True),
    ],
)
heat = feature_view(
    "heat",
    entity=tank,
    source=readings,
    features=[
        feature("mean_1h", Mean("celsius"), over=hours(1)),
        feature("max_1h", Max("celsius"), over=hours(1)),
        feature("alarms_1h", Count(where="alarm"), over=hours(1)),
    ],
)
