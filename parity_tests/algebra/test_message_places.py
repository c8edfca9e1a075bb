"""Places around payloads: what can be declared, the form of a declaration, and what a preview reads there."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualpath import kafka, paths
from dualpath.aggregates import CountBy, Sum
from dualpath.changes import Changes
from dualpath.declare import event_source
from dualpath.dimension import dimension
from dualpath.errors import DeclarationError, InputError
from dualpath.log.evolution import identity
from dualpath.paths import first_of
from dualpath.preview import preview
from dualpath.schema import EventSource, decimal, identifier, integer, text, timestamp
from dualpath.sources.files import members
from dualpath.view import Feature, View
from dualpath.windows import lifetime

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDERS = event_source(
    "orders",
    each="items",
    where="type = 'order'",
    event_id=text("ce", path=kafka.header("ce_id")),
    event_time=timestamp("at", path=kafka.time),
    arrival_time=None,
    fields=[
        text("type", path=kafka.header("type")),
        text("user", path=first_of(kafka.key("user.id"), kafka.key), required=True),
        decimal("price", scale=2, path="items[*].price"),
        integer("partition", path=kafka.partition),
    ],
)


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_header_of_any_name_is_a_path_that_is_read_back(name: str) -> None:
    place = kafka.header(name)
    assert paths.parse(paths.written(place)) == place
    assert kafka.is_place(place) and kafka.is_around(place)


def test_a_declaration_with_places_around_payloads_is_read_back_equal() -> None:
    assert EventSource.from_dict(ORDERS.to_dict()) == ORDERS
    [kind, user, _, partition] = ORDERS.to_dict()["fields"]
    assert kind["path"] == "$kafka.headers.type" and partition["path"] == "$kafka.partition"
    assert (user["path"], user["fallbacks"]) == ("$kafka.key.user.id", ["$kafka.key"])
    assert ORDERS.to_dict()["ids"][0]["path"] == "$kafka.headers.ce_id"


SENT = timestamp("sent", path=kafka.time)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (
            {"fields": [text("f", path="$kafka.value")]},
            "a message has no $kafka.value; use kafka.key, ",
        ),
        ({"fields": [text("f", path="$kafka")]}, "a message has no $kafka; use"),
        ({"fields": [text("f", path="$kafka.topic.name")]}, "a message has no $kafka.topic.name; use"),
        ({"fields": [text("f", path="$kafka.headers.a.b")]}, "a message has no $kafka.headers.a.b; use"),
        ({"fields": [text("f", path=first_of("f", "$kafka.x"))]}, "a message has no $kafka.x; use"),
        ({"fields": [integer("f", path=kafka.time)]}, "declare timestamp('f', path=kafka.time), with nothing about"),
        ({"fields": [timestamp("f", unit="ms", path=kafka.time)]}, "declare timestamp('f', path=kafka.time), with"),
        ({"event_time": timestamp("f", zone="UTC", path=kafka.time)}, "declare timestamp('f', path=kafka.time), with"),
        ({"event_id": text("f", path=kafka.offset)}, "other messages have the same offset, so it cannot be an id"),
        ({"event_id": text("f", path=first_of("id", kafka.topic))}, "other messages have the same topic"),
        (
            {"event_id": None, "occurrence": text("f", path=kafka.offset)},
            "a message that is sent again has another offset, and would count twice",
        ),
        ({"each": "$kafka.headers"}, "each='$kafka.headers' is no list of the payload"),
        ({"fields": [text("f", path="$kafka.key.items[*].sku")]}, "the path has a [*] of no declared list"),
        (
            {"each": "items", "fields": [text("f", path=first_of("items[*].sku", kafka.header("sku")))]},
            "one path is of the payload and one of its elements",
        ),
    ],
)
def test_what_no_message_has_is_refused_at_the_declaration(declared: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError) as refusal:
        event_source("s", **{"fields": [SENT]} | declared)
    assert sentence in refusal.value.message


def test_a_path_into_the_key_names_one_value() -> None:
    with pytest.raises(DeclarationError, match=r"kafka.key\('items\[\*\]'\) is of several values; name one"):
        kafka.key("items[*]")
    with pytest.raises(DeclarationError, match=r"kafka.key\(5\) is no path; name a member, as kafka.key\('id'\)"):
        kafka.key(5)  # type: ignore[arg-type]


def test_what_a_message_has_anew_when_it_is_sent_again_is_no_part_of_the_identity_of_its_events() -> None:
    fields = [text("user"), integer("n", path=kafka.offset), timestamp("at", path=first_of("at", kafka.time))]
    found = identity(event_source("s", fields=fields, event_id=None))
    assert [name for name, _ in found["content"]] == ["user", "at"]


def test_a_header_without_a_name_and_a_function_for_a_path_are_refused_where_they_are_written() -> None:
    with pytest.raises(DeclarationError, match=r"test_message_places\.py:\d+.*name=5 is a whole number; pass a text"):
        kafka.header(5)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match=r"test_message_places\.py:\d+.*path="):
        text("f", path=kafka.header)  # type: ignore[arg-type]


def test_a_preview_takes_what_is_around_a_payload_as_its_member() -> None:
    view = View("v", ("user",), ORDERS, (Feature("spent", Sum("price"), lifetime()),))
    around = {"key": "ann", "headers": {"type": "order"}, "partition": 3, "time": NOON}
    events = [
        {"items": [{"price": "1.50"}, {"price": 2}], "$kafka": around},
        {"items": [{"price": 4}], "$kafka": around | {"key": {"user": {"id": "ann"}}}},
        {"items": [{"price": 8}], "$kafka": around | {"headers": {"type": "refund"}}},
        {"items": [{"price": 16}], "$kafka": around | {"headers": {"type": " "}}},
    ]
    assert preview(view, events, NOON) == [{"user": "ann", "spent": 7.5}]
    assert preview(view, [events[0] | {"$kafka": around | {"key": key}} for key in (None, " ")], NOON) == []
    with pytest.raises(InputError, match="event 0: None is no payload; pass a dict"):
        preview(view, [None], NOON)  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"event 0: \$kafka has no header; it has key, headers, topic, partition,"):
        preview(view, [{"items": [], "$kafka": {"header": {}}}], NOON)


def test_a_table_without_messages_is_refused_if_an_event_needs_one() -> None:
    with pytest.raises(InputError, match=r"a.csv: no column \$kafka, which source 'orders' needs; it has items"):
        members(["items"], ORDERS, "a.csv")
    assert members(["items", "$kafka", "more"], ORDERS, "a.parquet") == ["items", "$kafka"]


def test_a_dimension_has_no_place_around_its_rows() -> None:
    with pytest.raises(DeclarationError, match="field 'sku': around a row of a table is no message; name one"):
        dimension("skus", path="skus.csv", keys=[text("sku", path=kafka.key)], fields=[text("brand")])


def test_changes_have_the_key_of_their_messages() -> None:
    rows = event_source(
        "rows",
        event_id=None,
        event_time=timestamp("at", path=kafka.time),
        arrival_time=None,
        fields=[identifier("row", path=kafka.key("id"), required=True), text("owner", required=True), text("state")],
        changes=Changes(key=["owner", "row"]),
    )
    view = View("v", ("owner",), rows, (Feature("states", CountBy("state"), lifetime()),))
    versions = [
        {"owner": "ann", "state": state, "$kafka": {"key": {"id": key}, "time": NOON.replace(minute=minute)}}
        for minute, (key, state) in enumerate([(1, "new"), (2, "new"), (1, "paid")])
    ]
    assert preview(view, versions, NOON.replace(hour=13)) == [{"owner": "ann", "states": {"new": 1, "paid": 1}}]
