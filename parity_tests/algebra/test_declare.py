"""Declarations: what cannot work is refused in one sentence that names the place and the remedy."""

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import Entity, FeatureView, ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath import aggregates, schema, windows
from dualpath.aggregates import (
    Aggregate,
    ApproxDistinctCount,
    Count,
    DecayedCount,
    First,
    LastK,
    Max,
    Percentile,
    Ratio,
    Sum,
    SumBy,
)
from dualpath.changes import Changes
from dualpath.columns import EVERY
from dualpath.declare import event_source, feature, feature_view, view_of
from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.kinds import KINDS
from dualpath.schema import EventSource, decimal, integer, text
from dualpath.view import View
from dualpath.windows import calendar, days, lifetime, minutes, sliding, today
from parity_tests.strategies import CLICKS, COMBINATIONS, views

HERE = Path(__file__).name


def who(name: str) -> Entity:
    return Entity(name=name, join_keys=[name], value_type=ValueType.STRING)


def declare(*features: Any, **options: Any) -> FeatureView:
    """A view of the clicks of a user."""
    return feature_view("user_clicks", **{"entity": who("user"), "source": CLICKS, "features": features, **options})


def count(name: str = "clicks", **options: Any) -> Any:
    return feature(name, Count(**options), over=days(1))


def amount(aggregate: Aggregate) -> Any:
    return feature("it", aggregate, over=days(1))


OF_A_FEATURE = "view 'user_clicks', feature 'it': "
WRONG_FEATURES = [
    (lambda: declare(amount(Sum("price"))), "there is no column 'price'; there are action, amount"),
    (lambda: declare(amount(Count(where="price > 1"))), "there is no column 'price'; there are action, amount"),
    (lambda: declare(amount(Sum("action"))), "Sum does not work on text 'action'; it takes integer, decimal"),
    (lambda: declare(amount(Max("note"))), "Max does not work on text 'note'; it takes integer, decimal, double"),
    (
        lambda: declare(amount(SumBy("score", by="action"))),
        "SumBy does not work on double 'score'; it takes integer, decimal",
    ),
    (
        lambda: declare(amount(Ratio(top=Sum("score")))),
        "Ratio does not work on double 'score'; it takes integers and decimals",
    ),
    (lambda: declare(amount(ApproxDistinctCount("action", error=0.001))), "give one from 0.005 up to 1"),
    (lambda: declare(amount(Sum())), "Sum needs a column; name one of kind integer or decimal"),
    (lambda: declare(amount(Count("amount"))), "Count takes no column; leave out 'amount' or put it into where"),
    (lambda: declare(amount(Count(where="amount"))), 'the condition "amount" is not true or false; compare something'),
    (lambda: declare(amount(First("amount / 2"))), "is not something all engines compute alike"),
    (lambda: declare(amount(Count(where="amount >"))), "write plain SQL"),
    (
        lambda: declare(amount(LastK("amount")), resolution=timedelta(minutes=1)),
        "LastK needs single events; leave the view's resolution exact",
    ),
    (
        lambda: declare(feature("it", DecayedCount(), over=lifetime())),
        "DecayedCount needs the times of events, which all time folds away; bound the window",
    ),
    (lambda: declare(amount(Percentile("amount", p=0))), "p=0 is not a fraction; give one above 0 and at most 1"),
    (lambda: declare(amount(Percentile("amount", p=1.1))), "p=1.1 is not a fraction; give one above 0"),
    (lambda: declare(count("it"), count("it")), "the name is taken twice; rename one of the two"),
    (
        lambda: declare(count("it"), entity=who("it"), source=keyed_by("it")),
        "the name is taken twice; rename one of the two",
    ),
]
WRONG_VIEWS = [
    (lambda: declare(), "no features; declare at least one"),
    (lambda: declare(count(), entity=[]), "no entity; name at least one with a join key"),
    (
        lambda: declare(count(), entity=who("who")),
        "the join key 'who' is not a text, integer or identifier field of 'clicks'; it has user, shop",
    ),
    (
        lambda: declare(count(), entity=who("score")),
        "the join key 'score' is not a text, integer or identifier field of 'clicks'",
    ),
    (lambda: declare(count(), resolution=timedelta(seconds=7)), "7000000 µs does not divide a day; choose one"),
    (lambda: declare(count(), resolution=timedelta(days=2)), "does not divide a day; choose one"),
    (lambda: declare(count(), resolution=timedelta(0)), "a resolution of 0 µs does not divide a day; choose one"),
    (lambda: declare(count(), resolution=timedelta(seconds=-1)), "does not divide a day; choose one"),
]


def changed(*required: str, **changes: Any) -> EventSource:
    """A source of changes, some of whose fields are required."""
    fields = [Field("row", "text"), Field("lsn", "integer"), Field("price", "decimal", scale=2)]
    declared = [replace(each, required=each.name in required) for each in fields]
    return event_source("s", fields=declared, changes=Changes(**changes))


WRONG_SOURCES = [
    (lambda: event_source("s", fields=[text("a b")]), "'a b' is not a plain name; use letters, digits and underscores"),
    *((lambda name=name: event_source("s", fields=[text(name)]), "of its own; rename the field") for name in EVERY),
    (lambda: event_source("s", fields=[text("a"), text("a")]), "declared twice; remove or rename one"),
    (
        lambda: event_source("s", fields=[text("userId"), decimal("userid", scale=2, path="a.b")]),
        "field 'userid': columns do not tell it from 'userId'; give it another name, and path='a.b' says where it is",
    ),
    (
        lambda: event_source("s", fields=[text("k"), text("\N{KELVIN SIGN}")]),
        "columns do not tell it from 'k'; give it another name, and path='\N{KELVIN SIGN}' says where it is",
    ),
    (lambda: event_source("s", fields=[decimal("a", scale=10)]), "scale 10 is outside 0 to 9; choose a smaller one"),
    (lambda: event_source("s", fields=[Field("a", "money")]), "unknown kind 'money'; use one of text, integer"),
    (lambda: event_source("s", fields=[], late_after=timedelta(-1)), "late_after must not be negative"),
    (lambda: event_source("s", fields=[], duplicates_within=timedelta(0)), "duplicates_within must be positive"),
    (lambda: event_source("class", fields=[]), "'class' is not a plain name"),
    (lambda: changed("row", key="id"), "changes name the field 'id', which it does not have; name one of row, lsn"),
    (
        lambda: changed("row", key="row", version="lsn"),
        "a version without 'lsn' could not be told from others; declare the field with required=True",
    ),
    (lambda: changed("lsn", key="row"), "'row' could not be told from others; declare the field with required=True"),
    (lambda: changed("price", key="price"), "the key of changes has 'price', which is of kind decimal; use text, int"),
    (
        lambda: changed("row", "price", key="row", version="price"),
        "the version of changes is 'price', which is of kind decimal; use a field of kind integer, identifier",
    ),
]
WRONG_WINDOWS = [
    (lambda: declare(feature("it", Count(), over=minutes(0))), "cannot hold an event; give a positive width"),
    (lambda: declare(feature("it", Count(), over=today("Mars/Olympus"))), "unknown time zone 'Mars/Olympus'; use an"),
    (lambda: declare(feature("it", Count(), over=calendar("year"))), "unknown calendar unit 'year'; use day, week"),
]


def keyed_by(name: str) -> EventSource:
    return EventSource("clicks", (integer(name),))


def sentence(make: Callable[[], Any]) -> str:
    """What a wrong declaration says: one sentence."""
    with pytest.raises(DeclarationError) as error:
        make()
    said = error.value.message
    assert "\n" not in said and said.endswith(".") and said.count(". ") == 0, said
    return said


WRONG_TYPES = [
    (
        lambda: feature("it", Count(), over=7),
        "feature 'it': over=7 is a whole number; pass a window such as days(7) or",
    ),
    (
        lambda: feature("it", Count(), over="7d"),
        "feature 'it': over='7d' is a text; pass a window such as days(7) or a",
    ),
    (lambda: feature("it", "count", over=days(7)), "aggregate='count' is a text; pass an aggregate such as Count()"),
    (lambda: feature("it", Count, over=days(7)), "aggregate=<class 'dualpath.aggregates.count.Count'> is of type type"),
    (lambda: feature("it", Count(), days(7)), "feature 'it': too many positional arguments"),
    (lambda: feature("it", Count()), "feature 'it': missing a required argument: 'over'"),
    (
        lambda: declare(Count()),
        "features[0]=Count(of=None, where=None) is of type Count; pass a feature(",
    ),
    (
        lambda: declare(count(), entity="user"),
        "view 'user_clicks': entity='user' is a text; pass an object of",
    ),
    (lambda: declare(count(), source="clicks"), "source='clicks' is a text; pass an event_source(...)"),
    (lambda: declare(count(), features=count()), "is of type Feature; pass a list, each a feature(...)"),
    (lambda: declare(count(), features={count()}), "is of type set; pass a list, each a feature(...)"),
    (lambda: declare(count(), resolution=60), "resolution=60 is a whole number; pass a timedelta"),
    (lambda: declare(count(), max_records="9"), "max_records='9' is a text; pass a whole number"),
    (lambda: declare(count(), max_records=True), "max_records=True is True or False; pass a whole number"),
    (lambda: declare(count(), description=None), "description=None is None; pass a text"),
    (lambda: event_source("s", fields=["x"]), "event source 's': fields[0]='x' is a text; pass a field such as text("),
    (lambda: event_source("s", fields=text("x")), "is of type Field; pass a list, each a field such as text('name')"),
    (lambda: event_source("s", fields="x"), "fields='x' is a text; pass a list, each a field"),
    (
        lambda: event_source("s", fields=[], late_aftr=1),
        "event source 's': there is no option 'late_aftr'; write",
    ),
    (lambda: event_source("s", fields=[], late_after=3600), "late_after=3600 is a whole number; pass a timedelta"),
    (lambda: event_source("s"), "event source 's': missing a required argument: 'fields'"),
    (lambda: event_source(7, fields=[]), "event source: name=7 is a whole number; pass a text"),
    (
        lambda: event_source("s", fields=[Field("a", "text", scale=1.5)]),
        "Field 'a': scale=1.5 is a number; pass a",
    ),
    (lambda: text("a", choices="abc"), "text 'a': choices='abc' is a text; pass a list, each a text"),
    (lambda: decimal("a"), "decimal 'a': missing a required argument: 'scale'"),
    (lambda: Count(wher="x"), "Count: there is no option 'wher'; write where"),
    (lambda: Count(where=7), "Count: where=7 is a whole number; pass a text or None"),
    (lambda: LastK("action", last=3), "LastK: there is no option 'last'; it takes of, where, k"),
    (lambda: LastK("action", k="3"), "LastK: k='3' is a text; pass a whole number"),
    (lambda: Ratio(top="amount"), "Ratio: top='amount' is a text; pass an aggregate such as Count()"),
    (lambda: DecayedCount(half_life=float("inf")), "DecayedCount: half_life=inf is not finite; pass a number"),
    (lambda: days("7"), "days: n='7' is a text; pass a number"),
    (lambda: days(float("nan")), "days: n=nan is not finite; pass a number"),
    (lambda: days(10**10), "days(10000000000) is longer than any log of events; use lifetime()"),
    (lambda: today(7), "today: zone=7 is a whole number; pass a text"),
    (lambda: days(7).before(7), "before: offset=7 is a whole number; pass a window such as days(7) or a timedelta"),
]
PUBLIC = [
    *(event_source, feature, feature_view),
    *(getattr(schema, kind) for kind in KINDS),
    *(windows.seconds, windows.minutes, windows.hours, windows.days, windows.sliding, windows.calendar, windows.today),
    *(getattr(aggregates, name) for name in Aggregate.registry),
]
RIGHT = {
    **{"name": "it", "fields": [], "aggregate": Count(), "over": days(1), "entity": who("user"), "source": CLICKS},
    **{"features": [count()], "scale": 2, "n": 1, "width": timedelta(1), "unit": "day"},
}


@pytest.mark.parametrize(("make", "says"), WRONG_TYPES, ids=lambda each: each if isinstance(each, str) else "")
def test_a_value_of_another_type_names_file_line_and_remedy(make: Callable[[], Any], says: str) -> None:
    line = make.__code__.co_firstlineno
    said = sentence(make)
    assert re.match(rf"{HERE}:\d+: ", said) and says in said
    assert "declare(" in inspect.getsource(make) or said.startswith(f"{HERE}:{line}: ")


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.__name__)
def test_everything_that_a_declaration_calls_checks_everything_it_takes(public: Callable[..., Any]) -> None:
    taken = inspect.signature(public).parameters
    needed = {name: RIGHT[name] for name, each in taken.items() if each.default is each.empty}
    public(**needed)
    for name in taken:
        assert f"{name}=" in sentence(lambda name=name: public(**{**needed, name: object()}))
    assert "there is no option 'nonsense'" in sentence(lambda: public(**needed, nonsense=1))


def test_a_timedelta_is_the_sliding_window_of_that_width() -> None:
    assert feature("it", Count(), over=timedelta(days=7)).over == days(7) == sliding(timedelta(days=7))
    assert days(7).before(timedelta(days=7)) == days(7).before(days(7))


def test_a_declaration_takes_any_list_and_the_error_of_a_registry_has_no_place() -> None:
    declared = declare(*[count()], entity=(who("user"),), features=(count(name) for name in ("a", "b")))
    assert [f.name for f in view_of(declared).features] == ["a", "b"]
    with pytest.raises(DeclarationError, match=r"^unknown aggregate"):
        Aggregate.from_dict({"aggregate": "Median"})


@pytest.mark.parametrize(("make", "says"), WRONG_FEATURES, ids=lambda each: each if isinstance(each, str) else "")
def test_a_wrong_feature_names_file_view_feature_and_remedy(make: Callable[[], Any], says: str) -> None:
    said = sentence(make)
    assert re.match(rf"{HERE}:\d+: {OF_A_FEATURE}", said)
    assert says in said


@pytest.mark.parametrize(("make", "says"), WRONG_VIEWS, ids=lambda each: each if isinstance(each, str) else "")
def test_a_wrong_view_names_file_view_and_remedy(make: Callable[[], Any], says: str) -> None:
    said = sentence(make)
    assert re.match(rf"{HERE}:\d+: view 'user_clicks': ", said)
    assert says in said


@pytest.mark.parametrize(("make", "says"), WRONG_SOURCES, ids=lambda each: each if isinstance(each, str) else "")
def test_a_wrong_source_names_file_source_and_remedy(make: Callable[[], Any], says: str) -> None:
    said = sentence(make)
    assert re.match(rf"{HERE}:\d+: event source '", said)
    assert says in said


@pytest.mark.parametrize(("make", "says"), WRONG_WINDOWS, ids=lambda each: each if isinstance(each, str) else "")
def test_a_wrong_window_names_file_view_and_feature(make: Callable[[], Any], says: str) -> None:
    said = sentence(make)
    assert re.match(rf"{HERE}:\d+: {OF_A_FEATURE}", said)
    assert says in said


def test_a_feature_may_be_named_after_any_column_but_a_key() -> None:
    assert view_of(declare(count("amount"))).features[0].name == "amount"


def test_a_declaration_travels_in_the_feast_view() -> None:
    declared = declare(count(where="action = 'buy'"), resolution=timedelta(minutes=1), description="About clicks.")
    view = view_of(declared)
    assert (view.name, view.keys, view.source, view.resolution) == ("user_clicks", ("user",), CLICKS, 60_000_000)
    assert view.features == (count(where="action = 'buy'"),)
    assert view.description == declared.description == "About clicks."


def test_an_ordinary_feast_view_carries_no_declaration() -> None:
    declared = declare(count())
    declared.tags = {"team": "risk"}
    assert view_of(declared) is None


@pytest.mark.parametrize(("name", "kind"), COMBINATIONS, ids=lambda each: each or "rows")
@settings(derandomize=True, deadline=None, database=None, max_examples=10)
@given(data=st.data())
def test_a_view_survives_json(name: str, kind: str | None, data: st.DataObject) -> None:
    view = data.draw(views(name, kind))
    restored = View.from_dict(json.loads(json.dumps(view.to_dict())))
    assert restored == view and hash(restored) == hash(view)
    assert (restored.lookback, restored.bounded_lookback) == (view.lookback, view.bounded_lookback)
    assert [restored.output(f) for f in restored.features] == [view.output(f) for f in view.features]


def test_a_source_survives_json_to_the_microsecond() -> None:
    source = EventSource(
        "odd",
        (text("a", choices=("x", "y"), required=True), decimal("b", scale=9)),
        event_id=None,
        arrival_time=None,
        occurrence="a",
        late_after=timedelta(days=300, microseconds=1),
        duplicates_within=timedelta(microseconds=1),
        description="Odd.",
    )
    assert EventSource.from_dict(json.loads(json.dumps(source.to_dict()))) == source


def test_an_aggregate_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(DeclarationError, match="unknown aggregate 'Median'; this version has"):
        Aggregate.from_dict({"aggregate": "Median", "of": "amount"})
