"""What strict fields take, what each option takes beside it, and that a reason names an option only if it is right."""

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from dualpath.admission import given, refusal, remedies, value
from dualpath.aggregates import Aggregate, Count, DistinctCount, First, Last, LastK
from dualpath.declare import event_source
from dualpath.errors import DeclarationError, InputError
from dualpath.field import Field
from dualpath.preview import preview
from dualpath.schema import boolean, decimal, double, identifier, integer, text, timestamp
from dualpath.view import Feature, View
from dualpath.windows import days
from parity_tests.written import FIELDS, ODD, texts

N, PRICE, FLAG, ID = integer("n"), decimal("price", scale=2), boolean("flag"), identifier("id")
LENIENT = {"lenient": True}


@pytest.mark.parametrize(
    ("field", "written", "expected"),
    [
        (N, "3", 3),
        (N, "+007", 7),
        (integer("n", **LENIENT), "3.0", 3),
        (integer("n", **LENIENT), " 3\n", 3),
        (integer("n", **LENIENT), "1.0E7", 10_000_000),
        (integer("n", **LENIENT), "-1e15", -(10**15)),
        (integer("n", empty_is_null=True), " ", None),
        (PRICE, "12.50", Decimal("12.50")),
        (decimal("price", scale=2, rounded=True), "19.990000000000002", Decimal("19.99")),
        (decimal("price", scale=2, rounded=True), "1.005", Decimal("1.01")),
        (decimal("price", scale=2, rounded=True), "-1.005", Decimal("-1.01")),
        (decimal("price", scale=2, rounded=True), "1.00499999999999999999999999999999999999999", Decimal("1.00")),
        (decimal("price", scale=2, rounded=True), "10000000000000.004", Decimal(10**13)),
        (decimal("price", scale=2, rounded=True, **LENIENT), " 0.30000000000000004 ", Decimal("0.30")),
        (double("score", **LENIENT), "\t1.5", 1.5),
        *((boolean("flag", **LENIENT), spelled, True) for spelled in ("True", "t", "YES", "on", "1", "1.0", " y ")),
        *((boolean("flag", **LENIENT), spelled, False) for spelled in ("False", "f", "no", "OFF", "0", "0.0")),
        (text("user", empty_is_null=True), "", None),
        (text("user"), "", ""),
        (timestamp("seen", empty_is_null=True), "", None),
        (ID, str(2**63 - 1), 2**63 - 1),
        (ID, str(1 - 2**63), 1 - 2**63),
        (ID, "9007199254740993", 2**53 + 1),
        (identifier("id", **LENIENT), f" {2**63 - 1} ", 2**63 - 1),
        (identifier("id", **LENIENT), "9.007199254740991E15", 2**53 - 1),
    ],
)
def test_a_field_takes_what_it_says_exactly(field: Field, written: str, expected: Any) -> None:
    assert refusal(written, field) is None
    found = value(written, field)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("field", "written", "reason"),
    [
        (N, "3.0", "n is not of kind integer: 3.0 (integer(..., lenient=True) takes it)"),
        (N, "", "n is not of kind integer:  (integer(..., empty_is_null=True) takes it)"),
        (N, "3\n", "n is not of kind integer: 3\n (integer(..., lenient=True) takes it)"),
        (N, "3.5", "n is not of kind integer: 3.5"),
        (N, "1,000", "n is not of kind integer: 1,000"),
        (N, "9007199254740993", "n is too large: 9007199254740993 (identifier(...) takes it)"),
        (N, "1e3", "n is not of kind integer: 1e3 (integer(..., lenient=True) takes it)"),
        (
            N,
            " 9007199254740993",
            "n is not of kind integer:  9007199254740993 (identifier(..., lenient=True) takes it)",
        ),
        (PRICE, "1.005", "price has more than 2 decimals: 1.005 (decimal(..., rounded=True) takes it)"),
        (PRICE, " 1.005", "price is not of kind decimal:  1.005 (decimal(..., lenient=True, rounded=True) takes it)"),
        (PRICE, "1e14", "price is too large: 1e14"),
        # A finer digit is seen however far behind the point, and a space of another script is no blank.
        (
            PRICE,
            "1.0000000000000000001",
            "price has more than 2 decimals: 1.0000000000000000001 (decimal(..., rounded=True) takes it)",
        ),
        (integer("n", **LENIENT), "\u00a03", "n is not of kind integer: \u00a03"),
        (decimal("price", scale=2, rounded=True), "10000000000000.005", "price is too large: 10000000000000.005"),
        (FLAG, "yes", "flag is not of kind boolean: yes (boolean(..., lenient=True) takes it)"),
        (FLAG, "maybe", "flag is not of kind boolean: maybe"),
        (double("score", **LENIENT), "NaN", "score is not finite: NaN"),
        (
            text("plan", choices=["a"]),
            "",
            "plan is not one of the declared choices:  (text(..., empty_is_null=True) takes it)",
        ),
        (integer("n", required=True), "", "n is missing"),
        (integer("n", required=True), " ", "n is not of kind integer:  "),
        (integer("n", required=True, empty_is_null=True), " ", "n is missing"),
        (integer("n", required=True), None, "n is missing"),
        (ID, str(2**63), f"id is outside -(2^63 - 1) to 2^63 - 1; declare text: {2**63}"),
        (ID, str(2**64 - 1), f"id is outside -(2^63 - 1) to 2^63 - 1; declare text: {2**64 - 1}"),
        (ID, str(-(2**63)), f"id is outside -(2^63 - 1) to 2^63 - 1; declare text: {-(2**63)}"),
        # A double does not say which of two whole numbers it was.
        (identifier("id", **LENIENT), "9.007199254740992E15", "id is not of kind identifier: 9.007199254740992E15"),
    ],
)
def test_a_reason_says_what_is_wrong_and_the_option_that_takes_it(field: Field, written: str, reason: str) -> None:
    assert refusal(written, field) == reason


def every(field: Field) -> list[Field]:
    """The field with every set of further options."""
    found = [field]
    for each in found:
        found += [other for other, _ in remedies(each) if other not in found]
    return found


@pytest.mark.parametrize("field", FIELDS, ids=repr)
def test_a_row_is_taken_under_the_named_option_and_under_none_where_none_is_named(field: Field) -> None:
    named = unnamed = 0
    for each in [*ODD, *texts(Random(1))]:
        reason = refusal(each, field)
        if reason is None:
            continue
        words = [(other, said) for other, said in remedies(field) if reason.endswith(said)]
        if words:
            named += 1
            assert any(refusal(each, other) is None for other, _ in words), (each, reason)
        else:
            unnamed += 1
            assert [other for other in every(field) if refusal(each, other) is None] == [], (each, reason)
    assert unnamed > 0 or field.kind == "text"
    assert named > 0 or not remedies(field)


@pytest.mark.parametrize("field", FIELDS, ids=repr)
def test_more_options_change_no_value_of_a_text_that_is_taken(field: Field) -> None:
    for each in [*ODD, *texts(Random(2))]:
        if refusal(each, field) is None and given(each, field) not in (None, "") and field.kind != "text":
            assert [value(each, other) for other in every(field)] == [value(each, field)] * len(every(field)), each


def test_a_field_survives_json_and_a_strict_one_is_as_ever() -> None:
    for field in FIELDS:
        assert Field.from_dict(field.to_dict()) == field
    assert N.to_dict() == {"name": "n", "kind": "integer", "scale": 0, "required": False, "choices": ()}
    assert integer("n", lenient=True).to_dict() == N.to_dict() | {"leniency": {"lenient": True}}


def test_the_time_of_an_event_cannot_be_null() -> None:
    with pytest.raises(DeclarationError, match="every event has 'ts', its time; leave out empty_is_null"):
        event_source("clicks", fields=[], event_time=timestamp("ts", empty_is_null=True))


CLICKS = event_source(
    "clicks",
    fields=[identifier("user"), identifier("item"), integer("n", lenient=True, empty_is_null=True), PRICE],
)


def view(*aggregates: Aggregate) -> View:
    return View("v", ("user",), CLICKS, tuple(Feature(f"f{i}", each, days(7)) for i, each in enumerate(aggregates)))


def test_an_id_of_64_bits_is_a_key_and_a_value_in_every_digit() -> None:
    big = 2**63 - 1
    rows = [(big, 1 - 2**63), (big, 2**53 + 1), (big - 1, 2**53), (big, 2**53 + 1)]
    events = [
        {"user": user, "item": item, "event_time": f"2026-03-01T10:0{at}:00Z"} for at, (user, item) in enumerate(rows)
    ]
    where = "item = 9007199254740993"
    chosen = view(First("item"), Last("item"), LastK("item", k=3), DistinctCount("item"), Count(where=where))
    assert preview(chosen, events, "2026-03-02") == [
        {"user": big, "f0": 1 - 2**63, "f1": 2**53 + 1, "f2": [2**53 + 1, 2**53 + 1, 1 - 2**63], "f3": 2, "f4": 2},
        {"user": big - 1, "f0": 2**53, "f1": 2**53, "f2": [2**53], "f3": 1, "f4": 0},
    ]


def test_a_preview_types_payloads_as_admission_does() -> None:
    said = [{"user": "7", "n": n, "event_time": "2026-03-01"[:10] + "T00:00:00Z"} for n in (3.0, "3", " 3 ", "", None)]
    assert preview(view(Count(), Last("n")), said, "2026-03-02T00:00:00Z") == [{"user": 7, "f0": 5, "f1": 3}]
    for wrong in (2**63, -(2**63)):
        with pytest.raises(InputError, match="does not fit the field, which is identifier; correct it"):
            preview(view(Count()), [{"user": wrong, "event_time": "2026-03-01T00:00:00Z"}], "2026-03-02T00:00:00Z")


@pytest.mark.parametrize("name", ["Sum", "Mean", "Max", "Min", "Percentile", "Variance", "DecayedSum"])
def test_an_identifier_is_not_calculated_with(name: str) -> None:
    with pytest.raises(DeclarationError, match=f"{name} does not work on identifier 'item'; it takes"):
        view(Aggregate.registry[name]("item"))
