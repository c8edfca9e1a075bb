"""Sources whose payloads are many events, or those of several sources: declarations, outcomes, and previews."""

from typing import Any

import pytest

from dualpath.aggregates import Count, Sum
from dualpath.declare import event_source
from dualpath.errors import DeclarationError, InputError
from dualpath.log.outcomes import Outcomes
from dualpath.preview import preview
from dualpath.schema import EventSource, integer, text, timestamp
from dualpath.view import Feature, View
from dualpath.windows import days

NOON = "2026-03-01T12:00:00Z"
FIELDS = [
    text("kind"),
    text("user"),
    text("sku", path="order.items[*].sku"),
    integer("n", path='order.items[*]["how many"]'),
]
ITEMS = event_source("items", each="order.items", fields=FIELDS, event_id=None, arrival_time=None)
BOUGHT = event_source(
    "items", each="order.items", where="kind = 'buy' and n > 1", fields=FIELDS, event_id=None, arrival_time=None
)


def counted(source: EventSource, *payloads: dict[str, Any]) -> dict[str, Any]:
    """Items and their sum, of ann."""
    features = (Feature("items", Count(), days(1)), Feature("sum", Sum("n"), days(1)))
    found = preview(View("v", ("user",), source, features), payloads, NOON)
    return {name: found[0][name] for name in ("items", "sum")} if found else {}


def order(items: Any, **more: Any) -> dict[str, Any]:
    return {"event_time": NOON, "user": "ann", "order": {"items": items}, **more}


@pytest.mark.parametrize(
    ("path", "each", "said"),
    [
        ("items[*].sku", None, r"field|has a \[\*\] of no declared list; declare the list"),
        ("lines[*].sku", "items", r"write one \[\*\], after 'items'"),
        ("items[*].parts[*].sku", "items", r"write one \[\*\], after 'items'"),
        ("items[0].sku", "items", r"begin it with items\[\*\]"),
        ("items.sku", "items", r"begin it with items\[\*\]"),
        ("sku", "items", r"nothing is read of the elements; begin a path with items\[\*\]"),
        ("orders[*].items[*].sku", "orders[*].items", "is of several lists; name one list"),
    ],
)
def test_a_path_that_is_not_plainly_of_the_message_or_of_the_element_is_refused(
    path: str, each: str | None, said: str
) -> None:
    with pytest.raises(DeclarationError, match=said):
        event_source("orders", fields=[text("sku", path=path)], each=each)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("kind", "is text; write a condition"),
        ("n + 1 > 2", r"calculates n \+ 1; compare fields as they are"),
        ("event_time > '2026-01-01'", "event_time"),
        ("event_time IS NULL", "reads event_time; compare fields alone"),
        ("colour = 'red'", "there is no column 'colour'"),
    ],
)
def test_a_condition_that_cannot_be_judged_first_is_refused(where: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=rf"event source 'items', where: .*{said}"):
        event_source("items", each="order.items", where=where, fields=FIELDS)


def test_a_declaration_is_the_same_after_its_json_and_a_flat_one_has_no_word_of_it() -> None:
    assert EventSource.from_dict(BOUGHT.to_dict()) == BOUGHT != ITEMS
    assert BOUGHT.to_dict()["each"] == "order.items"
    assert event_source("flat", fields=[text("kind")]).to_dict().keys().isdisjoint({"each", "where"})


def test_times_and_ids_may_be_of_the_element() -> None:
    source = event_source(
        "clicks",
        each="clicks",
        event_id=text("id", path="clicks[*].id"),
        event_time=timestamp("at", path="clicks[*].at", unit="s"),
        arrival_time=None,
        fields=[text("user"), integer("n", path="clicks[*].n")],
    )
    day = 1_772_366_400
    clicks = [{"id": "a", "at": day, "n": 1}, {"id": "b", "at": day - 90_000, "n": 5}]
    assert counted(source, {"user": "ann", "clicks": clicks}) == {"items": 1, "sum": 1}


def test_every_element_counts_with_what_its_message_says() -> None:
    three = [{"sku": "a", "how many": 1}, '{"how many": 2}', {}]
    assert counted(ITEMS, order(three), order([]), order([{"how many": 4}])) == {"items": 4, "sum": 7}
    assert counted(ITEMS, order([])) == {}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (None, "order.items is missing"),
        ({"sku": "a"}, "order.items is not a list"),
        ([{}, None], r"order.items\[1\] is null"),
        ([{}, 5], r"order.items\[1\] is no object"),
        ([{}] * 10_001, "more than 10,000 elements"),
        ([{"how many": "x"}], "'x' does not fit the field"),
    ],
)
def test_a_list_that_admission_would_refuse_is_an_error_of_a_preview(items: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"event 0.*{said}"):
        counted(ITEMS, order(items))
    if items is not None:
        assert counted(BOUGHT, order(items, kind="see")) == {}


def test_a_condition_leaves_out_what_it_is_not_true_for_whatever_else_is_wrong_there() -> None:
    items = [{"how many": 1}, {"how many": 2}, {"how many": None}]
    other = {"kind": "see", "something": "else"}
    assert counted(BOUGHT, order(items, kind="buy"), other, order([{"how many": "x"}], kind="see")) == {
        "items": 1,
        "sum": 2,
    }
    with pytest.raises(InputError, match=r"n \(order.items\[\*\]\[\"how many\"\]\) is not of kind integer: x"):
        counted(BOUGHT, order([{"how many": "x"}], kind="buy"))


def test_skipped_rows_are_an_outcome_and_further_ones_are_of_a_message_that_was_counted() -> None:
    outcomes = Outcomes(rows_read=7, accepted=3, duplicate=1, dead_letter=1, skipped=2, further=4)
    assert outcomes.adds_up and outcomes.messages == 3
    assert not Outcomes(rows_read=7, accepted=3, duplicate=1, dead_letter=1).adds_up
