"""A source's declaration may change in ways that every stored event allows; every other change is refused."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dualpath.errors import DeclarationError, StateError
from dualpath.field import Field
from dualpath.log import forms
from dualpath.log.reading import Reading
from dualpath.log.table import ACCEPTED
from dualpath.log.tail import Tail
from dualpath.parity import events
from dualpath.paths import first_of
from dualpath.schema import EventSource, boolean, decimal, double, identifier, integer, text, timestamp
from parity_tests import logged
from parity_tests.evolved import START, append, orders, payload, storage


def column(folder: Path, source: EventSource, name: str) -> list[Any]:
    """A field of all events, in the order of their ids."""
    rows = events.read(storage(folder), source).sort_by("event_id")
    return rows[source.by_name[name].column].to_pylist()


WIDER: dict[str, tuple[Field, Field, Any, Any, Any]] = {
    "integer to identifier": (integer("x"), identifier("x"), 7, 7, 2**62),
    "integer to decimal": (integer("x"), decimal("x", scale=2), -7, Decimal("-7.00"), "0.25"),
    "integer to a decimal without digits": (integer("x"), decimal("x", scale=0), 10**15, Decimal(10**15), 1),
    "integer to double": (integer("x"), double("x"), 10**15 - 1, 1e15 - 1, 0.1),
    "a larger scale": (decimal("x", scale=1), decimal("x", scale=4), "0.1", Decimal("0.1000"), "0.0001"),
    "more choices": (text("x", choices=["a"]), text("x", choices=["a", "b"]), "a", "a", "b"),
    "all choices": (text("x", choices=["a"]), text("x"), "a", "a", "anything"),
    "optional": (integer("x", required=True), integer("x"), 1, 1, None),
    "a zone that is said": (timestamp("x"), timestamp("x", zone="UTC"), START, ..., "2026-03-01T11:00:00"),
    "another spelling of a time": (timestamp("x"), timestamp("x", unit="s"), "2026-03-01T00:00:00Z", ..., 1772323200),
}


@pytest.mark.parametrize("change", WIDER)
def test_a_wider_field_has_the_exact_values_of_the_events_of_before(change: str, tmp_path: Path) -> None:
    old, new, before, read, after = WIDER[change]
    append(storage(tmp_path), orders(old), [payload(1, x=before)])
    forms.check(storage(tmp_path), orders(new))
    was = column(tmp_path, orders(old), "x")
    assert column(tmp_path, orders(new), "x") == ([read] if read is not ... else was)
    append(storage(tmp_path), orders(new), [payload(2, x=after)])
    found = column(tmp_path, orders(new), "x")
    assert [repr(found[0])] == [repr(each) for each in ([read] if read is not ... else was)]
    assert found[1] is not None or after is None
    rows = Tail(storage(tmp_path), orders(new)).read(["event_id", "x"])
    assert rows["x"].type == new.stored and rows["x"].to_pylist() == found


def test_an_added_field_is_null_in_the_events_of_before_and_a_removed_one_is_not_read(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(text("old")), [payload(1, old="a")])
    changed = orders(integer("new"))
    assert column(tmp_path, changed, "new") == [None]
    append(storage(tmp_path), changed, [payload(2, new=5)])
    assert column(tmp_path, changed, "new") == [None, 5]
    assert events.read(storage(tmp_path), changed).column_names == changed.stored.names
    again = orders(integer("new"), text("old"))
    append(storage(tmp_path), again, [payload(3, new=6, old="c")])
    assert (column(tmp_path, again, "new"), column(tmp_path, again, "old")) == ([None, 5, 6], ["a", None, "c"])


def test_a_renamed_field_is_read_by_its_former_names_and_may_be_wider(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(text("sku"), integer("price")), [payload(1, sku="a", price=3)])
    second = orders(text("product").was("sku"), decimal("cost", scale=1).was("price"))
    append(storage(tmp_path), second, [payload(2, product="b", cost="4.5")])
    third = orders(text("item").was("product", "sku"), decimal("cost", scale=3).was("price"))
    append(storage(tmp_path), third, [payload(3, item="c", cost="0.125")])
    assert column(tmp_path, third, "item") == ["a", "b", "c"]
    assert column(tmp_path, third, "cost") == [Decimal("3"), Decimal("4.5"), Decimal("0.125")]
    log = events.Log(storage(tmp_path), third)
    some = log.batches(["cost"], (log.reading.column("item") == "b") & (log.reading.column("user") == "ann"))
    assert pa.Table.from_batches(some)["cost"].to_pylist() == [Decimal("4.5")]


def test_a_path_may_change_and_the_first_of_several_with_a_value_counts(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(text("sku", path="product_id")), [payload(1, product_id="a")])
    changed = orders(text("sku", path=first_of("product.sku", "product_id")))
    both = payload(2, product={"sku": "b"}, product_id="x")
    append(storage(tmp_path), changed, [both, payload(3, product={"sku": None}, product_id="c"), payload(4)])
    assert column(tmp_path, changed, "sku") == ["a", "b", "c", None]


def test_files_that_were_written_are_not_touched_and_a_column_keeps_its_type(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(integer("x")), [payload(1, x=1)])
    [file] = map(Path, storage(tmp_path).paths())
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    append(storage(tmp_path), orders(decimal("x", scale=2)), [payload(2, x="0.5")])
    append(storage(tmp_path), orders(decimal("X", scale=2).was("x")), [payload(3, X="0.5")])
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    columns = [set(pq.read_schema(path).names) for path in storage(tmp_path).paths()]
    every = {"event_id", "event_time", "arrival_time", "user", "late", "query", "batch"}
    assert [found - every for found in columns] == [{"x"}, {"x-decimal2"}, {"X-decimal2-2"}]


def test_a_compacted_file_of_several_forms_reads_as_before(tmp_path: Path) -> None:
    last = orders(decimal("y", scale=2).was("x"))
    for number, source in enumerate([orders(integer("x")), orders(decimal("x", scale=1)), last]):
        append(storage(tmp_path), source, [payload(number, **{source.fields[-1].name: 7})])
    before, read = column(tmp_path, last, "y"), Tail(storage(tmp_path), last).read(["y"])
    assert logged.compact(storage(tmp_path)) == len(storage(tmp_path).paths()) == 1
    assert column(tmp_path, last, "y") == before == [Decimal("7.00")] * 3
    assert Tail(storage(tmp_path), last).read(["y"]).equals(read)


def test_a_log_without_events_takes_any_declaration(tmp_path: Path) -> None:
    forms.note(storage(tmp_path), orders(text("x")))
    forms.check(storage(tmp_path), orders(integer("x")))
    assert events.read(storage(tmp_path), orders(integer("x"))).num_rows == 0
    assert forms.note(storage(tmp_path), orders(integer("x"))).columns(orders(integer("x")))["x"] == "x"


def test_the_table_has_the_columns_of_every_form_and_those_of_a_log_without_events_are_forgotten(
    tmp_path: Path,
) -> None:
    """Whoever reads the table without dualpath trusts its schema."""
    table = storage(tmp_path).table
    for source in (orders(text("x"), boolean("gone")), orders(integer("x"))):
        table.ensure(forms.schema(forms.note(storage(tmp_path), source)))
    append(storage(tmp_path), orders(integer("x")), [payload(1, x=7)])
    append(storage(tmp_path), orders(decimal("x", scale=2)), [payload(2, x="0.5")])
    found = table.opened().to_pyarrow_dataset().to_table(filter=pc.field("outcome") == ACCEPTED).sort_by("event_id")
    assert found["x"].type == pa.int64() and found["x"].to_pylist() == [7, None]
    assert found["x-decimal2"].to_pylist() == [None, Decimal("0.50")] and "gone" not in found.column_names


def test_a_log_of_an_earlier_version_is_of_the_declaration_that_is_applied(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(integer("x")), [payload(1, x=1)])
    (storage(tmp_path).folder("ledger") / "forms.json").unlink()
    assert column(tmp_path, orders(integer("x")), "x") == [1]
    forms.check(storage(tmp_path), orders(decimal("x", scale=2)), before=orders(integer("x")))
    assert column(tmp_path, orders(decimal("x", scale=2)), "x") == [Decimal("1.00")]


IDLESS = {"event_id": None}
REFUSED: dict[str, tuple[EventSource, EventSource, str]] = {
    "a smaller scale": (
        orders(decimal("x", scale=2)),
        orders(decimal("x", scale=1)),
        "field 'x': it was decimal(scale=2) and is decimal(scale=1), and stored values are not exactly that; declare a "
        "new field with path='x', or declare a new source and let it read the producer's topic from the beginning.",
    ),
    "text to integer": (
        orders(text("x", path="a.b")),
        orders(integer("x", path="a.b")),
        "field 'x': it was text and is integer, and stored values are not exactly that; declare a new field with "
        "path='a.b', or declare a new source and let it read the producer's topic from the beginning.",
    ),
    "double to decimal": (
        orders(double("x")),
        orders(decimal("x", scale=9)),
        "field 'x': it was double and is decimal(scale=9), and stored values",
    ),
    "identifier to integer": (orders(identifier("x")), orders(integer("x")), "it was identifier and is integer"),
    "identifier to double": (orders(identifier("x")), orders(double("x")), "it was identifier and is double"),
    "boolean to integer": (orders(boolean("x")), orders(integer("x")), "it was boolean and is integer"),
    "integer to text": (orders(integer("x")), orders(text("x")), "it was integer and is text"),
    "decimal to double": (orders(decimal("x", scale=2)), orders(double("x")), "was decimal(scale=2) and is double"),
    "a former name of another kind": (orders(text("x")), orders(integer("y").was("x")), "it was text and is integer"),
    "fewer choices": (
        orders(text("x", choices=["a", "b"])),
        orders(text("x", choices=["a"])),
        "field 'x': it was text(choices=['a', 'b']) and is text(choices=['a']), and stored events may have other "
        "texts; leave in all choices that it ever had, or declare a new field with path='x', or declare",
    ),
    "choices of a free text": (orders(text("x")), orders(text("x", choices=["a"])), "it was text and is text(choices"),
    "a field that is required now": (
        orders(integer("x")),
        orders(integer("x", required=True)),
        "field 'x': it was optional and is required, and stored events may lack it; leave out required=True, or "
        "declare a new source and let it read the producer's topic from the beginning.",
    ),
    "a new field that is required": (
        orders(),
        orders(integer("x", required=True)),
        "field 'x': it is new and required, and stored events lack it; leave out required=True.",
    ),
    "another unit": (
        orders(timestamp("x", unit="s")),
        orders(timestamp("x", unit="ms")),
        "field 'x': its unit was 's' and is 'ms', which no number tells apart; declare a new field with path='x', or",
    ),
    "another zone": (
        orders(timestamp("x")),
        orders(timestamp("x", zone="Europe/Berlin")),
        "field 'x': its zone was UTC and is Europe/Berlin; declare a new field with path='x', or",
    ),
    "another id": (
        orders(),
        orders(event_id="id"),
        "event source 'orders': the id of its events was event_id and is id; declare a new source and let it read the "
        "producer's topic from the beginning.",
    ),
    "no id": (orders(), orders(**IDLESS), "was event_id and is that of the transport or of the content; declare"),
    "another time": (
        orders(event_time=timestamp("ts", unit="s")),
        orders(event_time=timestamp("ts", unit="ms")),
        "event source 'orders': the time of its events was ts with unit='s' and is ts with unit='ms'; declare a new",
    ),
    "another occurrence": (
        orders(**IDLESS),
        orders(**IDLESS, occurrence="line"),
        "event source 'orders': the occurrence of its events was not declared and is line; declare a new source",
    ),
    "a field less in a source without ids": (
        orders(integer("x"), text("y"), **IDLESS),
        orders(text("y"), **IDLESS),
        "event source 'orders': its events have no id of their own, so all fields, in their order, tell them apart, "
        "and 'x' is not as it was: an event that comes again would count twice; leave 'x' in its place (a field that "
        "no view reads costs no record, and path=first_of(...) follows a producer's new name), or declare a new source "
        "and let it read the producer's topic from the beginning.",
    ),
    "another order in a source without ids": (
        orders(integer("x"), text("y"), **IDLESS),
        orders(text("y"), integer("x"), **IDLESS),
        "and 'y' is not as it was: an event that comes again would count twice; leave 'y' in its place",
    ),
    "another type in a source without ids": (
        orders(integer("x"), **IDLESS),
        orders(decimal("x", scale=1), **IDLESS),
        "and 'x' is not as it was",
    ),
}


def value_of(field: Field | None) -> Any:
    if field is None or field.kind == "timestamp":
        return START if field and field.time.unit is None else 1_772_323_200
    return {"text": "a", "boolean": True}.get(field.kind, 1)


@pytest.mark.parametrize("change", REFUSED)
def test_a_change_that_stored_events_do_not_allow_is_refused_in_one_sentence(change: str, tmp_path: Path) -> None:
    old, new, said = REFUSED[change]
    event = payload(1, ts=1_772_323_200, a={"b": "7"}, x=value_of(old.by_name.get("x")))
    read = {place[0] for field in (*old.fields, *old.members.values()) for place in field.places}
    append(storage(tmp_path), old, [{name: value for name, value in event.items() if name in read}])
    with pytest.raises(DeclarationError) as refused:
        forms.check(storage(tmp_path), new)
    assert said in refused.value.message and refused.value.message.startswith("event source 'orders'")
    with pytest.raises(DeclarationError):
        forms.note(storage(tmp_path), new)
    forms.check(storage(tmp_path), old)


def test_a_source_without_ids_may_have_new_fields_and_wider_ones_of_one_type(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(integer("x"), **IDLESS), [{"event_time": START, "user": "ann", "x": 1}])
    forms.check(storage(tmp_path), orders(text("new"), identifier("x", path="n"), boolean("more"), **IDLESS))


def test_a_field_that_was_away_is_no_longer_in_all_stored_events(tmp_path: Path) -> None:
    held = orders(integer("x", required=True))
    append(storage(tmp_path), held, [payload(1, x=1)])
    forms.check(storage(tmp_path), held)
    append(storage(tmp_path), orders(), [payload(2)])
    with pytest.raises(DeclarationError, match="field 'x': it is new and required, and stored events lack it"):
        forms.check(storage(tmp_path), held)


def test_a_former_name_that_is_left_out_later_is_refused(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(text("a")), [payload(1, a="1")])
    append(storage(tmp_path), orders(text("b").was("a")), [payload(2, b="2")])
    for changed in (orders(text("b")), orders(text("c").was("b"))):
        with pytest.raises(DeclarationError, match=r"'b' was 'a', whose events would be lost; write \.was\(.*'a'\)\."):
            forms.check(storage(tmp_path), changed)
    forms.check(storage(tmp_path), orders(text("c").was("b", "a")))


def test_a_name_that_a_field_had_is_no_new_field_s(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="field 'b': it was 'a', and so is or was 'a'; events of before would"):
        orders(text("a"), text("b").was("a"))


def test_a_stored_value_too_large_for_a_larger_scale_is_refused(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(integer("x")), [payload(1, x=10**13), payload(2, x=-(10**13) - 1)])
    forms.check(storage(tmp_path), orders(decimal("x", scale=1)))
    said = (
        r"field 'x': it was integer and is decimal\(scale=2\), which goes up to 10,000,000,000,000, and a stored event "
        r"has 10,000,000,000,001; declare a smaller scale\."
    )
    with pytest.raises(DeclarationError, match=said):
        forms.check(storage(tmp_path), orders(decimal("x", scale=2)))


def test_a_declaration_that_was_taken_unchecked_is_refused_by_readers(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(text("x")), [payload(1, x="a")])
    with pytest.raises(StateError, match="event source 'orders', field 'x': it was text and is integer"):
        Reading(storage(tmp_path), orders(integer("x")))


def test_what_only_says_how_payloads_write_a_field_may_change(tmp_path: Path) -> None:
    append(storage(tmp_path), orders(integer("x"), text("y")), [payload(1, x=1, y="a")])
    changed = orders(
        integer("x", path="n", lenient=True, empty_is_null=True),
        text("y", empty_is_null=True),
        late_after=timedelta(days=1),
        description="Orders of the shop.",
    )
    forms.check(storage(tmp_path), changed)
    assert column(tmp_path, changed, "x") == [1]
    assert forms.note(storage(tmp_path), changed) == forms.known(storage(tmp_path), orders(integer("x"), text("y")))
