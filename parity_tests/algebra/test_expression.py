"""Expressions: what they are, what is refused, and that another engine agrees on the type."""

from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from dualpath.aggregates import Count, First
from dualpath.errors import DeclarationError
from dualpath.expression import Type, check, columns
from dualpath.schema import text
from dualpath.spelling import excesses, spell
from dualpath.view import Feature, View
from dualpath.windows import lifetime
from parity_tests.events import evaluated
from parity_tests.strategies import CLICKS, OF, POOLS, WHERE

BOOLEAN, INTEGER = Type("boolean"), Type("integer")
PYTHON = {
    "text": str,
    "identifier": int,
    "integer": int,
    "decimal": Decimal,
    "double": float,
    "boolean": bool,
    "timestamp": int,
}
ALL = [(kind, sql) for kind, sqls in OF.items() for sql in sqls] + [("boolean", sql) for sql in WHERE if sql]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("quantity", INTEGER),
        ("(amount)", Type("decimal", 2)),
        ("amount + 0.125", Type("decimal", 3)),
        ("amount * amount - 1", Type("decimal", 4)),
        ("quantity * 2", INTEGER),
        ("-amount", Type("decimal", 2)),
        ("-score", Type("double")),
        ("event_time", Type("timestamp")),
        ("CASE WHEN flag THEN 1 ELSE 2.5 END", Type("decimal", 1)),
        ("CASE WHEN flag THEN action END", Type("text")),
        ("coalesce(amount, quantity, 0)", Type("decimal", 2)),
        ("upper(lower(note))", Type("text")),
        ("NOT flag AND (action = 'buy' OR NULL)", BOOLEAN),
        ("amount IS NOT NULL", BOOLEAN),
        ("quantity NOT IN (1, 2.5)", BOOLEAN),
        ("event_time <= arrival_time", BOOLEAN),
        ("amount = NULL", BOOLEAN),
        ("`action` LIKE 'b%'", BOOLEAN),
        ("true", BOOLEAN),
        ("owner <> 9223372036854775807", BOOLEAN),
        ("coalesce(owner, 0)", Type("identifier")),
    ],
)
def test_an_expression_has_a_type(sql: str, expected: Type) -> None:
    assert check(sql, CLICKS.by_name) == expected


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("price", "there is no column 'price'; there are action, amount, arrival_time"),
        ("clicks.amount", "there is no column 'clicks.amount'"),
        ("event_id", "there is no column 'event_id'"),
        ("amount / 2", "is not something all engines compute alike"),
        ("quantity % 2", "is not something all engines compute alike"),
        ("count(*)", "is not something all engines compute alike"),
        ("quantity IN (SELECT 1)", "is not something all engines compute alike"),
        ("amount; quantity", "is not something all engines compute alike"),
        ("amount AS x", "is not something all engines compute alike"),
        ("CAST(amount AS INT)", "is not something all engines compute alike"),
        ("current_timestamp() > event_time", "is not something all engines compute alike"),
        ("CASE action WHEN 'buy' THEN 1 END", "is not something all engines compute alike"),
        ("CASE WHEN quantity THEN 1 END", "'quantity' is integer, not boolean"),
        ("action + 1", "'action' is not a number"),
        ("score + 1", "arithmetic on doubles rounds differently"),
        ("score > amount", "decimal and double do not compare"),
        ("score > quantity", "double and integer do not compare"),
        ("note LIKE 'a\\\\%'", "engines read a backslash in a LIKE pattern differently"),
        ("amount > 123456789012345678", "has 18 digits or more"),
        (" * ".join(["amount"] * 10), "has 20 digits after the point, and 18 is the most"),
        ("action = 1", "integer and text do not compare"),
        ("action IN ('a', 1)", "integer and text do not compare"),
        ("amount BETWEEN 1 AND 'z'", "decimal and integer and text do not compare"),
        ("event_time > '2024-01-01'", "text and timestamp do not compare"),
        ("coalesce(NULL, NULL)", "nulls do not compare"),
        ("coalesce(flag, action)", "boolean and text do not compare"),
        ("NOT quantity", "'quantity' is integer, not boolean"),
        ("flag AND quantity", "'quantity' is integer, not boolean"),
        ("quantity LIKE '1'", "'quantity' is integer, not text"),
        ("action LIKE 1", "'1' is integer, not text"),
        ("lower(quantity)", "'quantity' is integer, not text"),
        ("flag IS TRUE", "IS goes with NULL only"),
        ("owner + 1", "'owner' is an identifier, which is not calculated with; declare an integer"),
        ("-owner", "'owner' is an identifier, which is not calculated with"),
        ("owner = 9223372036854775808", "9223372036854775808 is no identifier; those are whole numbers of 64 bits"),
        ("owner IN (-9223372036854775808, 1)", "-9223372036854775808 is no identifier"),
        ("owner = 1.0", "1.0 is no identifier"),
        ("owner = quantity", "identifier and integer do not compare"),
        ("owner = 'ann'", "identifier and text do not compare"),
        ("quantity > 1e3", "the number 1e3 is not a plain decimal"),
    ],
)
def test_what_engines_would_compute_differently_is_refused(sql: str, why: str) -> None:
    with pytest.raises(DeclarationError) as error:
        check(sql, CLICKS.by_name)
    assert f'the expression "{sql}" cannot be used: ' in error.value.message
    assert why in error.value.message
    assert error.value.message.endswith(".")


@pytest.mark.parametrize("sql", ["", "amount >", "((flag)", "action = 'buy", 'action = "buy"', "\"action\" = 'buy'"])
def test_what_is_not_sql_is_refused_in_one_line(sql: str) -> None:
    with pytest.raises(DeclarationError, match="cannot read the expression") as error:
        check(sql, CLICKS.by_name)
    assert "\n" not in error.value.message


def test_an_expression_is_spelled_for_each_engine() -> None:
    fields = CLICKS.by_name
    assert spell("`action` = 'it\\'s'", "duckdb", fields) == "\"action\" = 'it''s'"
    assert spell("`action` = 'it\\'s'", "spark", fields) == "`action` = 'it\\'s'"
    assert spell("-(amount * 3 - quantity)", "spark", fields) == (
        "-(CAST(CAST(`amount` * CAST(3 AS BIGINT) AS DECIMAL(18, 2)) - `quantity` AS DECIMAL(18, 2)))"
    )
    assert spell("score IN (-0.5, 2)", "duckdb", fields) == "\"score\" IN (CAST('-0.5' AS DOUBLE), CAST('2' AS DOUBLE))"


@pytest.mark.parametrize(
    ("sql", "event", "refused"),
    [
        ("quantity * quantity", {"quantity": 316_227_766}, False),
        ("quantity * quantity", {"quantity": -316_227_767}, True),
        ("amount * quantity", {"amount": Decimal("10000000000000.00"), "quantity": 100}, False),
        ("amount * quantity", {"amount": Decimal("10000000000000.00"), "quantity": 101}, True),
        ("amount * quantity > 5", {"amount": None, "quantity": 10**15}, False),
        ("coalesce(quantity, 7) * quantity", {"quantity": 10**12}, True),
        ("(CASE WHEN flag THEN 1 ELSE quantity END) * 1000", {"quantity": 10**15, "flag": True}, True),
        ("coalesce(amount, 0.5)", {"amount": Decimal("10000000000000.00")}, False),
    ],
)
def test_what_has_too_many_digits_to_be_calculated_is_found(sql: str, event: dict[str, Any], refused: bool) -> None:
    names = {name: pa.array([event.get(name)], CLICKS.by_name[name].stored) for name in CLICKS.by_name}
    with duckdb.connect() as connection:
        connection.register("events", pa.table(names))
        conditions = [each.condition for each in excesses([sql], CLICKS.by_name)]
        found = [row for each in conditions for row in connection.sql(f"SELECT {each} FROM events").fetchall()]
    assert ((True,) in found) == refused


def test_the_columns_of_an_expression_are_found_wherever_they_stand() -> None:
    sql = "CASE WHEN flag OR action IN ('a', note) THEN coalesce(amount, -quantity) END"
    assert columns(sql) == {"flag", "action", "note", "amount", "quantity"}


@pytest.mark.parametrize(("kind", "sql"), ALL, ids=str)
def test_another_engine_agrees_on_the_type(kind: str, sql: str) -> None:
    aggregate = Count(where=sql) if kind == "boolean" else First(sql)
    view = View("v", ("user",), CLICKS, (Feature("f", aggregate, lifetime()),))
    longest = max(map(len, POOLS.values()))
    events = [
        {"event_id": "e", "event_time": 0, "arrival_time": 0, **{k: p[i % len(p)] for k, p in POOLS.items()}}
        for i in range(longest)
    ]
    found = [e[sql] for e in evaluated(view, events) if e[sql] is not None]
    declared = check(sql, CLICKS.by_name)
    assert declared.kind == kind
    assert found and {type(value) for value in found} == {PYTHON[kind]}
    if kind == "decimal":
        assert {value % Decimal(1).scaleb(-declared.scale) for value in found} == {0}


WORDS = ("call", "type", "order", "group", "values", "desc", "date", "from", "where", "current_date", "VALUES")


@pytest.mark.parametrize("name", WORDS)
def test_a_field_may_be_called_as_a_word_of_sql_that_no_expression_has(name: str) -> None:
    fields = {name: text(name)}
    assert check(f"{name} IN ('call', 'x') AND lower({name}) LIKE 'from%'", fields).kind == "boolean"
    for dialect in ("spark", "duckdb"):
        quoted = f"`{name}`" if dialect == "spark" else f'"{name}"'
        assert spell(f"{name} = 'desc'", dialect, fields) == f"{quoted} = 'desc'"
