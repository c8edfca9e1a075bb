"""Another team's features: bike stations, over rides with names of their own."""

from datetime import timedelta

from feast import Entity, FeatureService, ValueType

from dualpath.aggregates import Count, Distinct, Last, Max, Mean, Min, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.schema import boolean, decimal, integer, text
from dualpath.windows import days, hours, lifetime, minutes, today

city = Entity(name="city", join_keys=["city_code"], value_type=ValueType.STRING)
station = Entity(name="station", join_keys=["station_no"], value_type=ValueType.INT64)

rides = event_source(
    "rides",
    event_id="ride",
    event_time="ended_at",
    arrival_time="reported_at",
    fields=[
        text("city_code", required=True),
        integer("station_no", required=True),
        text("bike", choices=("city", "cargo", "electric")),
        integer("metres"),
        decimal("fare", scale=3),
        boolean("member"),
    ],
    late_after=timedelta(minutes=10),
)

station_rides = feature_view(
    "station_rides",
    entity=[city, station],
    source=rides,
    description="Rides that ended at a station.",
    features=[
        feature("rides_15min", Count(), over=minutes(15)),
        feature("guests_1h", Count(where="NOT member"), over=hours(1)),
        feature("fares_today", Sum("fare", where="bike IN ('cargo', 'electric')"), over=today("Europe/Berlin")),
        feature("mean_metres_7d", Mean("metres"), over=days(7)),
        feature("mean_metres_7d_before", Mean("metres"), over=days(7).before(days(7))),
        feature("last_bike", Last("bike"), over=days(1)),
        feature("fare_metres", Sum("fare * metres"), over=days(1)),
    ],
)

city_rides = feature_view(
    "city_rides",
    entity=city,
    source=rides,
    resolution=timedelta(minutes=1),
    description="Rides of a city, to the minute.",
    features=[
        feature("longest", Max("metres"), over=lifetime()),
        feature("cheapest_2h", Min("fare"), over=hours(2)),
        feature("stations_2h", Distinct("station_no"), over=hours(2)),
    ],
)

dispatch = FeatureService(name="dispatch", features=[station_rides, city_rides])
