"""Paths: the notation, the walk, the columns of the log, and what preview makes of payloads with paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualpath import paths
from dualpath.aggregates import Count, Sum
from dualpath.columns import OWN, column, folded
from dualpath.declare import event_source
from dualpath.errors import DeclarationError, InputError
from dualpath.field import Field
from dualpath.preview import preview
from dualpath.schema import EventSource, decimal, integer, text, timestamp
from dualpath.view import Feature, View
from dualpath.windows import minutes

STEPS = st.tuples(st.text(), st.lists(st.text() | st.integers(0, 2**31 - 1), max_size=5)).map(lambda t: [t[0], *t[1]])


@given(STEPS)
def test_a_path_that_is_written_is_read_as_the_same_steps(steps: list[str | int]) -> None:
    assert paths.parse(paths.written(steps)) == tuple(steps) == paths.parse(steps)


@pytest.mark.parametrize(
    "path",
    ["", "$", "[0].a", "a..b", "a.", ".a", "a[-1]", "a[01]", "a[1:2]", "a b", 'a["b]', "a['\\x']", "a]", [], [0]],
)
def test_a_path_that_names_no_value_is_refused_with_the_way_to_write_it(path: str | list[str | int]) -> None:
    with pytest.raises(DeclarationError, match=r"field 'f': the path .*(write|correct)"):
        text("f", path=path)


def test_both_quotes_and_a_root_are_read_as_in_jsonpath() -> None:
    assert paths.parse("""$['it\\'s "it"']["\\u00e9"].x""") == ('it\'s "it"', "é", "x")


NAMES = [*OWN, *map(str.upper, OWN), "userId", "late_2", "field_late", "\u017f", "\u212a", "straße"]


def test_each_field_has_a_column_by_its_name_alone_that_is_none_of_the_logs_own() -> None:
    found = {name: column(name) for name in NAMES}
    assert {folded(each) for each in found.values()}.isdisjoint(map(folded, OWN))
    assert len({folded(each) for each in found.values()}) == len({*map(folded, NAMES)})
    assert {name for name in NAMES if found[name] == name} == {*NAMES} - {*OWN} - {*map(str.upper, OWN)}


def test_a_declaration_without_paths_has_the_form_that_it_had() -> None:
    source = event_source("clicks", fields=[text("user", path="user"), integer("n")])
    assert source.to_dict().keys().isdisjoint({"ids", "times", "columns"})
    assert [each.keys() for each in source.to_dict()["fields"]] == [
        {"name", "kind", "scale", "required", "choices"}
    ] * 2


ORDERS = event_source(
    "orders",
    fields=[
        text("batch", path="context.user.id"),
        decimal("late", scale=2, path="items[0].price"),
        decimal("Query", scale=2, path='["unit price"].$amount'),
        text("straße", path=["straße"]),
    ],
    event_id=text("id", path="meta.id"),
    event_time=timestamp("ts", path="meta.ts", unit="ms"),
    arrival_time=None,
)
SUMS = View(
    "sums",
    ("batch",),
    ORDERS,
    (
        Feature("orders", Count(where="straße = 'x'"), minutes(5)),
        Feature("late_sum", Sum("late"), minutes(5)),
        Feature("both", Sum("late + Query"), minutes(5)),
    ),
)


def test_a_source_with_paths_is_restored_from_its_json_form() -> None:
    assert EventSource.from_dict(ORDERS.to_dict()) == ORDERS
    assert ORDERS.to_dict()["fields"][1]["path"] == "items[0].price"
    assert Field.from_dict(ORDERS.fields[2].to_dict()) == ORDERS.fields[2]


def test_preview_reads_events_by_their_paths_with_names_of_any_kind() -> None:
    event = {
        "meta": {"id": "e1", "ts": 1_772_359_200_000},
        "context": {"user": {"id": "ann"}},
        "items": [{"price": "1.50"}],
        "unit price": {"$amount": "0.25"},
        "straße": "x",
    }
    bare = {"meta": {"ts": 1_772_359_200_000}, "context": {"user": {"id": "ann"}}, "items": [], "unit price": 5}
    assert preview(SUMS, [event, bare], "2026-03-01T10:01:00Z") == [
        {"batch": "ann", "orders": 1, "late_sum": 1.5, "both": 1.75}
    ]


def test_preview_refuses_a_field_beside_its_path() -> None:
    with pytest.raises(InputError, match=r"'orders' reads batch \(context.user.id\) at its path; write it there"):
        preview(SUMS, [{"meta": {"ts": 1}, "batch": "ann"}], "2026-03-01T10:01:00Z")
