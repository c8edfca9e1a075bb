"""Writes expressions in each engine's own SQL, so that all compute the same: exact, and never out of range.

Arithmetic is exact as long as its result has at most seventeen digits (`DERIVED_BOUND`). Admission refuses a row for
which it would not be, so no calculation overflows on an event of the log.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from dualpath.expression import DIGITS, EVENT_COLUMNS, Checker, is_number, operands_of_one_type, parse
from dualpath.field import Field
from dualpath.schema import DERIVED_BOUND
from dualpath.union import Absent

ARITHMETIC = (exp.Add, exp.Sub, exp.Mul)
STORED = {"text": "string", "integer": "bigint", "identifier": "bigint"}
"""Spark's types of kinds that are called otherwise."""


def spell(sql: str, dialect: str, fields: Mapping[str, Field]) -> str:
    """The expression in an engine's dialect (`spark` or `duckdb`), over events with these fields.

    >>> from dualpath.schema import decimal, integer
    >>> fields = {"price": decimal("price", scale=2), "quantity": integer("quantity")}
    >>> spell("price * quantity > 1.5", "duckdb", fields)
    'CAST("price" * "quantity" AS DECIMAL(18, 2)) > 1.5'
    """
    tree = parse(sql).copy()
    checker = Checker(sql, {**EVENT_COLUMNS, **fields})
    compared = [nodes for node in tree.walk() if (nodes := operands_of_one_type(node))]
    doubles = [n for nodes in compared if _has_double(checker, nodes) for n in nodes if is_number(n)]
    kinds = [(node, checker.type(node)) for node in tree.find_all(*ARITHMETIC)]
    for column in list(tree.find_all(exp.Column)):
        if isinstance(field := fields.get(column.name), Absent):
            nothing = _nothing(field)
            tree = nothing if column is tree else tree
            column.replace(nothing)
        else:
            column.set("this", _column(column.name, fields))
    for number in doubles:
        number.replace(_cast(exp.Literal.string(number.sql()), "double"))
    # The inner ones first: a node is replaced by a copy of itself.
    for node, kind in reversed(kinds):
        for side in (node.this, node.expression):
            if isinstance(side, exp.Literal) and "." not in side.name:
                side.replace(_cast(side, "bigint"))
        if kind.kind == "decimal":
            wrapped = _cast(node, f"decimal({DIGITS}, {kind.scale})")
            tree = wrapped if node is tree else tree
            node.replace(wrapped)
    return tree.sql(dialect=dialect)


@dataclass(frozen=True)
class Excess:
    """A calculation, as it is declared; it is out of range where the Spark SQL `condition` over an event is true."""

    calculation: str
    condition: str


def excesses(sqls: Iterable[str], fields: Mapping[str, Field]) -> list[Excess]:
    """When each calculation in the expressions might have more digits than are computed exactly.

    Each size is bounded from above, in doubles, which do not overflow: that of a sum by the sum of the sizes, that
    of alternatives by the largest.

    >>> from dualpath.schema import integer
    >>> [each.condition for each in excesses(["n - 1"], {"n": integer("n")})]
    ["ABS(CAST(`n` AS DOUBLE)) + CAST('1' AS DOUBLE) > CAST('1e17' AS DOUBLE)"]
    """
    found: dict[str, Excess] = {}
    for sql in sqls:
        checker = Checker(sql, {**EVENT_COLUMNS, **fields})
        for node in parse(sql).find_all(*ARITHMETIC):
            digits = len(str(DERIVED_BOUND)) - 1 - checker.type(node).scale
            text = node.sql(dialect="spark")
            found[text] = Excess(text, f"{_size(node, fields)} > CAST('1e{digits}' AS DOUBLE)")
    return list(found.values())


def _size(node: exp.Expr, fields: Mapping[str, Field]) -> str:
    """Spark SQL of a double that is not smaller than the number's absolute value; null only where that is."""
    match node:
        case exp.Paren() | exp.Neg():
            return _size(node.this, fields)
        case exp.Column() if isinstance(fields.get(node.name), Absent):
            return "CAST(NULL AS DOUBLE)"
        case exp.Column():
            return f"ABS(CAST({_column(node.name, fields).sql(dialect='spark')} AS DOUBLE))"
        case exp.Literal():
            return f"CAST('{node.name}' AS DOUBLE)"
        case exp.Null():
            return "CAST(NULL AS DOUBLE)"
        case exp.Mul():
            return f"({_size(node.this, fields)}) * ({_size(node.expression, fields)})"
        case exp.Add() | exp.Sub():
            return f"{_size(node.this, fields)} + {_size(node.expression, fields)}"
    sizes = [_size(each, fields) for each in operands_of_one_type(node)]
    return f"GREATEST({', '.join(sizes)})" if len(sizes) > 1 else sizes[0]


def _column(name: str, fields: Mapping[str, Field]) -> exp.Identifier:
    """A field's column in the event log, or a time; quoted, so that any name is one in any engine."""
    return exp.to_identifier(fields[name].column if name in fields else name, quoted=True)


def _nothing(field: Field) -> exp.Expr:
    """The null of a field's type."""
    kind = STORED.get(field.kind, field.kind)
    return _cast(exp.Null(), f"decimal({DIGITS}, {field.scale})" if kind == "decimal" else kind)


def _has_double(checker: Checker, nodes: list[exp.Expr]) -> bool:
    return any(not is_number(node) and checker.type(node).kind == "double" for node in nodes)


def _cast(node: exp.Expr, kind: str) -> exp.Expr:
    return exp.Cast(this=node.copy(), to=exp.DataType.build(kind, dialect="spark"))
