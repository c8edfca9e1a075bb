"""Views of several sources: laws on generated data, ties between sources, and what a declaration refuses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from feast import Entity, ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.aggregates import Count, First, Last, LastK, Sum
from dualpath.changes import Changes
from dualpath.declare import feature, feature_view, sources_of, view_of
from dualpath.errors import DeclarationError, InputError
from dualpath.known import joint, named, place, split
from dualpath.parity.compare import differences
from dualpath.parity.oracle import formerly, oracle
from dualpath.parity.oracle_runner import MARK, SOURCE
from dualpath.parts import parts
from dualpath.preview import dictionary_of, preview
from dualpath.record import Fence, compact, layout
from dualpath.schema import EventSource, decimal, integer, text
from dualpath.view import Feature, View, digest, mark
from dualpath.windows import days, lifetime
from dualpath.words import code
from parity_tests import strategies
from parity_tests.cases import Case, cases
from parity_tests.events import entity, evaluated, records, values

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLICKS = EventSource("clicks", (text("user"), text("page")))
ORDERS = EventSource("orders", (text("user"), decimal("amount", scale=2)))
ACTIONS = View(
    "actions",
    ("user",),
    CLICKS,
    (
        Feature("actions", Count(), days(1)),
        Feature("spent", Sum("amount"), days(1)),
        Feature("last_page", Last("page"), days(1)),
        Feature("orders", Count(where="page IS NULL"), days(1)),
    ),
    others=(ORDERS,),
)
KEPT = ("user", "shop", "place", "edition", "note")
"""Fields that both sources must have: they say which row an event is a version of."""
AGGREGATES = sorted({name for name, _ in strategies.COMBINATIONS})


class Dealt:
    """The events of a case, dealt onto two sources, the second of which lacks some fields; `whole` has them in one."""

    def __init__(self, case: Case, data: st.DataObject) -> None:
        looked_up_by = {name for lookup in case.view.source.lookups for name in lookup.on}
        fields = [f.name for f in case.view.source.fields if f.name not in {*case.view.keys, *KEPT, *looked_up_by}]
        self.lacking = data.draw(st.sets(st.sampled_from(fields), max_size=3)) if fields else set()
        left = replace(case.view.source, name="left")
        kept = tuple(field for field in left.fields if field.name not in self.lacking)
        self.view = replace(case.view, source=left, others=(replace(left, name="right", fields=kept),))
        self.view = View.from_dict(json.loads(json.dumps(self.view.to_dict())))
        self.changes = case.view.source.changes
        self.parts = parts(self.view)
        apart = {row: together for together in self._together(case.events) for row in together}
        to_right = {together: data.draw(st.booleans()) for together in dict.fromkeys(apart.values())}
        own: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        plain = case.view.source.stored.names
        for event in case.events:
            to = to_right[apart[self._row(event)]]
            without = {name: event[name] for name in plain if name not in self.lacking or not to}
            own[to].append(without)
        self.events: Mapping[View, list[dict[str, Any]]] = {
            part: evaluated(part, each) for part, each in zip(self.parts, own, strict=True)
        }
        whole = [{**dict.fromkeys(plain), **event} for each in own for event in each]
        self.whole = evaluated(case.view, whole)
        self.texts = dictionary_of({**self.events, case.view: self.whole})
        self.who = case.who

    def _row(self, event: Mapping[str, Any]) -> Any:
        """What must not be dealt onto two sources: the versions of a row replace each other within one."""
        return tuple(event[name] for name in self.changes.key) if self.changes else event["event_id"]

    def _together(self, events: Sequence[Mapping[str, Any]]) -> list[frozenset[Any]]:
        """All rows of the events, those together of which one became the other."""
        found: list[frozenset[Any]] = []
        for event in events:
            mine = frozenset([self._row(event)])
            if self.changes and self.changes.before:
                mine |= {tuple(formerly(event, name) for name in self.changes.key)}
            touched = [each for each in found if each & mine]
            found = [*(each for each in found if each not in touched), mine.union(*touched)]
        return found

    def words(self, view: View, events: Sequence[dict[str, Any]]) -> np.ndarray:
        owners, words = records(view, events)
        return words[[owner == entity(self.who) for owner in owners]] if owners else words

    def each(self) -> list[np.ndarray]:
        return [self.words(part, events) for part, events in self.events.items()]


@pytest.mark.parametrize("aggregate", AGGREGATES)
@settings(derandomize=True, deadline=None, database=None, max_examples=25)
@given(data=st.data())
def test_events_dealt_onto_two_sources_give_what_they_give_in_one(aggregate: str, data: st.DataObject) -> None:
    kinds = [kind for name, kind in strategies.COMBINATIONS if name == aggregate]
    case = data.draw(cases(aggregate, data.draw(st.sampled_from(kinds))))
    dealt = Dealt(case, data)
    asked = case.instants
    one = values(case.view, dealt.words(case.view, dealt.whole), asked, dealt.texts)
    bags = dealt.each()
    together = np.concatenate(data.draw(st.permutations(bags)))
    found = values(dealt.view, together, asked, dealt.texts)
    assert differences(found, one) == []

    told = [{**event, SOURCE: part.source.name, MARK: part.mark} for part, own in dealt.events.items() for event in own]
    truth = [oracle(dealt.view, told, case.who, as_of) for as_of in asked]
    assert differences(found, {f.name: [row[f.name] for row in truth] for f in dealt.view.features}) == []

    earliest = data.draw(st.sampled_from(asked))
    later = [as_of for as_of in asked if as_of >= earliest]
    compacted = [compact(bag, layout(p), p, earliest) for p, bag in zip(dealt.parts, bags, strict=True)]
    small = values(dealt.view, np.concatenate(compacted), later, dealt.texts)
    assert differences(small, values(dealt.view, together, later, dealt.texts)) == []

    numbers = [np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(b), max_size=len(b))), int) for b in bags]
    limits = np.array([[data.draw(st.integers(-1, 3)) for _ in bags] for _ in asked], dtype=np.int64)
    beside = [
        np.column_stack([bag, of, np.full(len(bag), at)])
        for at, (bag, of) in enumerate(zip(bags, numbers, strict=True))
    ]
    known = values(dealt.view, np.concatenate(beside), asked, dealt.texts, limits=limits)
    for row, as_of in enumerate(asked):
        counting = [bag[of <= limit] for bag, of, limit in zip(bags, numbers, limits[row], strict=True)]
        alone = values(dealt.view, np.concatenate(counting), [as_of], dealt.texts)
        assert differences({name: [column[row]] for name, column in known.items()}, alone) == []


@pytest.mark.parametrize("window", [days(1), lifetime()])
def test_the_same_id_at_the_same_instant_in_two_sources_is_two_events_in_a_fixed_order(window: Any) -> None:
    left, right = (EventSource(name, (text("user"), integer("n"))) for name in ("left", "right"))
    chosen = {"first": First("n"), "last": Last("n"), "all": Count()}
    features = [Feature(name, aggregate, window) for name, aggregate in chosen.items()]
    if window.kind != "lifetime":
        features.append(Feature("lately", LastK("n", k=4), window))
    view = View("both", ("user",), left, tuple(features), others=(right,))
    event = {"user": "ann", "event_time": NOON}
    events = {"left": [{**event, "event_id": "e", "n": 1}], "right": [{**event, "event_id": "e", "n": 2}]}
    [row] = preview(view, events, NOON)
    first, last = (1, 2) if code("e") ^ mark("left") < code("e") ^ mark("right") else (2, 1)
    assert (row["first"], row["last"], row["all"]) == (first, last, 2)
    assert row.get("lately", [last, first]) == [last, first]
    [turned] = preview(replace(view, source=right, others=(left,)), events, NOON)
    assert turned == row


def test_a_row_of_changes_is_replaced_by_versions_of_its_own_source_alone() -> None:
    fields = (text("user", required=True), integer("row", required=True), integer("n"))
    left, right = (EventSource(name, fields, changes=Changes(key=("row",))) for name in ("left", "right"))
    plain = EventSource("plain", (text("user"), integer("n")))
    features = (Feature("rows", Count(), lifetime()), Feature("n", Sum("n"), lifetime()))
    view = View("rows", ("user",), left, features, others=(right, plain))
    event = {"user": "ann", "event_time": NOON}
    later = {"user": "ann", "event_time": NOON.replace(hour=13)}
    events = {
        "left": [{**event, "row": 7, "n": 1}, {**later, "row": 7, "n": 10}],
        "right": [{**event, "row": 7, "n": 100}],
        "plain": [{**event, "n": 1000}, {**event, "n": 2000}],
    }
    assert preview(view, events, NOON) == [{"user": "ann", "rows": 4, "n": 3101}]
    assert preview(view, events, later["event_time"]) == [{"user": "ann", "rows": 4, "n": 3110}]


def test_a_field_that_a_source_lacks_is_null_in_its_events() -> None:
    events: dict[str, list[dict[str, Any]]] = {
        "clicks": [{"user": "ann", "page": "home", "event_time": NOON}],
        "orders": [{"user": "ann", "amount": Decimal("1.50"), "event_time": NOON}],
    }
    expected = {"user": "ann", "actions": 2, "spent": 1.5, "last_page": "home", "orders": 1}
    assert preview(ACTIONS, events, NOON) == [expected]
    only = {"user": "ann", "actions": 1, "spent": 0.0, "last_page": "home", "orders": 0}
    assert preview(ACTIONS, {"clicks": events["clicks"]}, NOON) == [only]
    with pytest.raises(InputError, match=r"several sources; give the events of each as \{'clicks': \[...\]\}"):
        preview(ACTIONS, events["clicks"], NOON)
    with pytest.raises(InputError, match="has no source 'carts'; it has clicks, orders"):
        preview(ACTIONS, {"carts": []}, NOON)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (
            [EventSource("orders", (text("user"), decimal("page", scale=2)))],
            "'page' is text in 'clicks', and 'page' is decimal of scale 2 in 'orders'; declare the two alike, or",
        ),
        ([EventSource("orders", (text("user"), text("Page")))], "'page' is text in 'clicks', and 'Page' is text"),
        ([EventSource("orders", (text("page"),))], "'user' is not a text, integer or identifier field of 'orders'"),
        ([replace(CLICKS, late_after=CLICKS.duplicates_within)], "it names the source 'clicks' twice"),
        (
            [EventSource("orders", (integer("user"),))],
            "'user' is text in 'clicks', and 'user' is integer in 'orders'",
        ),
    ],
)
def test_sources_that_do_not_fit_together_are_refused(others: list[EventSource], said: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        replace(ACTIONS, features=ACTIONS.features[:1], others=tuple(others))
    assert said in str(refused.value)


def test_sources_whose_names_have_one_mark_are_refused() -> None:
    seen: dict[int, str] = {}
    name = next(n for n in map("s{}".format, range(10_000)) if seen.setdefault(mark(n), n) != n)
    left, right = (replace(CLICKS, name=each) for each in (seen[mark(name)], name))
    with pytest.raises(DeclarationError, match="have the same short code; rename one of them"):
        replace(ACTIONS, source=left, others=(right,), features=ACTIONS.features[:1])


def test_a_declared_view_has_its_sources_in_the_order_of_their_names() -> None:
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    made = [
        feature_view("actions", entity=user, source=given, features=[feature("n", Count(), over=days(1))])
        for given in ([CLICKS, ORDERS], [ORDERS, CLICKS])
    ]
    views = [view_of(each) for each in made]
    assert views[0] == views[1] is not None
    assert [source.name for source in views[0].sources] == ["clicks", "orders"]
    assert made[0].batch_source == made[1].batch_source and sources_of(made[0].batch_source) == [CLICKS, ORDERS]
    alone = view_of(feature_view("actions", entity=user, source=[CLICKS], features=views[0].features))
    assert alone is not None and alone.others == () and "others" not in alone.to_dict()
    assert digest(alone) != digest(views[0])
    described = replace(views[0], others=(replace(ORDERS, description="What is bought."),))
    assert digest(described) == digest(views[0])
    with pytest.raises(DeclarationError, match="no source; name at least one"):
        feature_view("actions", entity=user, source=[], features=views[0].features)


def test_state_is_built_anew_when_a_source_gains_or_loses_a_field_that_is_read() -> None:
    def state(clicks: EventSource, orders: EventSource) -> list[int]:
        return [layout(part).fingerprint for part in parts(replace(ACTIONS, source=clicks, others=(orders,)))]

    before = state(CLICKS, ORDERS)
    more = replace(CLICKS, fields=(*CLICKS.fields, decimal("amount", scale=2)))
    assert [a == b for a, b in zip(before, state(more, ORDERS), strict=True)] == [False, True]
    unread = replace(CLICKS, fields=(*CLICKS.fields, text("unread")))
    assert state(unread, ORDERS) == before
    third = replace(ORDERS, name="returns")
    assert [layout(p).fingerprint for p in parts(replace(ACTIONS, others=(ORDERS, third)))][:2] == before


def test_a_token_names_a_batch_of_each_source() -> None:
    sources, fences = ["clicks", "orders"], [Fence(1, 3), Fence(2, 0)]
    assert named(joint(sources, fences), sources) == tuple(fences)
    assert place(fences[0]) < place(fences[1])
    for wrong in ("clicks:q1b3", "orders:q2b0/clicks:q1b3", "clicks:q1b3/orders:x", "q1b3/q2b0", None, 7, ""):
        assert named(wrong, sources) is None
        with pytest.raises(InputError, match=r"known_v, row 0: .*such as 'clicks:q1b204/orders:q1b204'"):
            split([wrong], "known_v", sources)
