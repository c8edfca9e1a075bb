"""A preview: values are the oracle's (the laws hold `records` and `values` against it), and misuse is one sentence."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from feast import Entity, FeatureView, FileSource, ValueType

from dualpath.aggregates import Count, Distinct, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.errors import InputError
from dualpath.payloads import events
from dualpath.preview import preview
from dualpath.schema import EventSource, boolean, decimal, double, integer, text, timestamp
from dualpath.view import Feature, View
from dualpath.windows import hours, lifetime

rides = event_source(
    "rides",
    event_id="ride",
    event_time="ended",
    arrival_time="reported",
    fields=[
        text("city"),
        integer("station"),
        integer("metres"),
        decimal("fare", scale=2),
        double("score"),
        boolean("member"),
        timestamp("began"),
    ],
)
NOON = datetime(2026, 3, 1, 12)
RIDES = (feature("rides", Count(), over=hours(1)), feature("fares", Sum("fare"), over=hours(1)))
VIEW = View("rides_of_city", ("city",), rides, RIDES)


def ride(city: str | None, ago: int = 0, **fields: Any) -> dict[str, Any]:
    return {"city": city, "ended": NOON - timedelta(minutes=ago), **fields}


def test_a_preview_has_a_row_for_every_entity_in_order_of_appearance() -> None:
    events = [ride("par", fare="1.50"), ride("ber", 59), ride(None), ride("par", 60), ride("par", -1)]
    assert preview(VIEW, events, NOON) == [
        {"city": "par", "rides": 1, "fares": 1.5},
        {"city": "ber", "rides": 1, "fares": 0.0},
    ]
    assert preview(VIEW, [], NOON) == []


def test_a_preview_takes_what_a_feature_repo_declares() -> None:
    city = Entity(name="city", join_keys=["city"], value_type=ValueType.STRING)
    station = Entity(name="station", join_keys=["station"], value_type=ValueType.INT64)
    declared = feature_view("stations", entity=[city, station], source=rides, features=RIDES)
    assert preview(declared, [ride("par", station=7)], "2026-03-01T13:00:00.000001+01:00") == [
        {"city": "par", "station": 7, "rides": 1, "fares": 0.0}
    ]
    ordinary = FeatureView(name="ordinary", entities=[city], source=FileSource(name="file", path="file"))
    with pytest.raises(InputError, match="view 'ordinary' is not windowed"):
        preview(ordinary, [], NOON)


def test_expressions_may_use_every_kind_of_field() -> None:
    where = "member AND score = score AND began <= event_time AND arrival_time >= event_time"
    view = View("v", ("city",), rides, (Feature("kilometres", Distinct("metres * 3", where), lifetime()),))
    event = ride("par", metres=5, score=1.5, member=True, began=NOON, reported=NOON.replace(tzinfo=UTC))
    assert preview(view, [event], NOON) == [{"city": "par", "kilometres": [15]}]


def test_times_are_read_as_the_source_declares_them_or_given_as_instants() -> None:
    told = event_source(
        "rides",
        fields=[text("city"), timestamp("began", zone="Europe/Berlin")],
        event_time=timestamp("ended", unit="ms"),
        arrival_time=timestamp("reported", unit="s"),
    )
    where = "arrival_time >= event_time AND began < event_time"
    view = View("v", ("city",), told, (Feature("rides", Count(where=where), lifetime()),))
    milliseconds = 1772366400000
    written = [
        {"ended": milliseconds, "reported": 1772366400.001, "began": "2026-03-01 12:59:59"},
        {"ended": str(milliseconds), "reported": "1.7723664E9", "began": "2026-03-01T11:59:59Z"},
        {"ended": NOON, "reported": NOON, "began": NOON - timedelta(seconds=1)},
        {"ended": NOON, "began": "2026-03-01 13:00"},
    ]
    assert preview(view, [{"city": "par", **each} for each in written], NOON) == [{"city": "par", "rides": 3}]
    with pytest.raises(InputError, match="event 0, ended: '2026-03-01T12:00:00Z' is a text and not a number; declare"):
        preview(view, [{"city": "par", "ended": "2026-03-01T12:00:00Z"}], NOON)
    with pytest.raises(InputError, match="event 0, ended: True is not an instant"):
        preview(view, [{"city": "par", "ended": True}], NOON)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"fare": "1.505"},
            "event 0, fare: '1.505' does not fit the field, which is a decimal with 2 digits after the point "
            "(decimal(..., rounded=True) takes it); correct it.",
        ),
        ({"fare": "NaN"}, "event 0, fare: 'NaN' does not fit the field, which is a decimal"),
        ({"fare": 10**14}, "event 0, fare: 100000000000000 does not fit the field, which is a decimal"),
        (
            {"metres": 1.0},
            "event 0, metres: 1.0 does not fit the field, which is integer (integer(..., lenient=True) takes it);",
        ),
        ({"metres": True}, "event 0, metres: True does not fit the field, which is integer"),
        ({"metres": 10**16}, "event 0, metres: 10000000000000000 does not fit the field, which is integer"),
        ({"score": float("inf")}, "event 0, score: inf does not fit the field, which is double"),
        ({"score": "high"}, "event 0, score: 'high' does not fit the field, which is double"),
        ({"member": 1}, "event 0, member: 1 does not fit the field, which is boolean"),
        ({"city": 1}, "event 0, city: 1 does not fit the field, which is text"),
        ({"began": "noon"}, "event 0, began: 'noon' is not an ISO-8601 instant."),
        ({"ended": None}, "event 0, ended: None is not an instant"),
        ({"fares": 1}, "event 0: 'rides' has no fares; correct the name."),
    ],
)
def test_what_admission_would_refuse_is_refused_with_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        preview(VIEW, [{**ride("par"), **fields}], NOON)
    assert refusal.value.message.startswith(sentence)


ORDERS = event_source(
    "orders",
    each="items",
    event_id=text("id"),
    event_time="ts",
    arrival_time=None,
    fields=[text("user"), text("sku", path="items[*].sku")],
)
LINES = event_source(
    "lines",
    each="items",
    event_id=text("line", path="items[*].line"),
    event_time="ts",
    arrival_time=None,
    fields=ORDERS.fields,
)


@pytest.mark.parametrize("kind", [list, tuple])
def test_an_element_has_its_own_id_or_that_of_the_payload_with_its_place(kind: type) -> None:
    order = {"id": "o1", "user": "ann", "ts": NOON, "items": kind([{"sku": "a", "line": "x"}, {"sku": "b"}])}
    ids = {source.name: [each["event_id"] for each in events(of_skus(source), 7, order)] for source in (ORDERS, LINES)}
    assert ids == {"orders": ["o1/0", "o1/1"], "lines": ["x", "7/1"]}


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (None, "event 7: items is missing; write a list there"),
        ({"sku": "a"}, "event 7: items is not a list; write a list there"),
        ([{"sku": "a"}, None], r"event 7: items\[1\] is null; correct it"),
        ([{"sku": "a"}, "b"], r"event 7: items\[1\] is no object; correct it"),
        ([{}] * 10_001, "event 7: items has more than 10,000 elements; write them in several payloads"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_with_its_place(items: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        list(events(of_skus(ORDERS), 7, {"id": "o1", "user": "ann", "ts": NOON, "items": items}))


def of_skus(source: EventSource) -> View:
    return View("bought", ("user",), source, (Feature("skus", Distinct("sku"), hours(1)),))
