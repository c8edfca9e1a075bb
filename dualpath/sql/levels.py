"""A CASE over aggregates becomes an on-demand view: conditions over features.

A comparison with NULL is unknown in SQL, and a CASE passes over it. So a comparison with an aggregate that may be NULL
holds only where there are values. NOT goes down to the comparisons, where it turns the operator: unknown stays unknown.
"""

from collections.abc import Callable

from sqlglot import exp

from dualpath.sql.query import Aggregated, Levels
from dualpath.sql.refusal import refuse, shown
from dualpath.sql.windows import bare

OPERATORS: dict[type[exp.Expr], str] = {
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.EQ: "==",
    exp.NEQ: "!=",
}
NEGATED = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}
TURNED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "==", "!=": "!="}
DIGITS = 15
"""Of numbers with so many digits no two are the same double."""
LARGEST = 2**63 - 1

Named = Callable[[Aggregated], str]
"""The name of the feature that is an aggregate; one is declared if there is none."""


class Conditions:
    """The conditions of a CASE in Python, over the columns of a data frame."""

    def __init__(self, aggregate: Callable[[exp.Expr], tuple[Aggregated, int | None]], named: Named) -> None:
        """`aggregate` translates one, and says how many digits after the point its values have; None: no number."""
        self.aggregate, self.named = aggregate, named

    def levels(self, name: str, case: exp.Case) -> Levels:
        """The levels of a CASE. Refuses what has no plain value."""
        if case.this is not None or case.args.get("default") is None:
            good = "write CASE WHEN ... THEN ... ELSE ... END"
            refuse(case, f"{name} has a CASE without conditions or without ELSE", good)
        cases = tuple((self.condition(each.this), _value(each.args["true"])) for each in case.args["ifs"])
        default = _value(case.args["default"])
        if len({type(value) for _, value in cases} | {type(default)}) > 1:
            refuse(case, f"the levels of {name} are of different types", "make them all texts or all whole numbers")
        return Levels(name, cases, default)

    def condition(self, node: exp.Expr, negated: bool = False) -> str:
        """One condition, or its negation."""
        match node:
            case exp.Paren():
                return self.condition(node.this, negated)
            case exp.Not():
                return self.condition(node.this, not negated)
            case exp.And() | exp.Or():
                sides = [self.condition(side, negated) for side in (node.left, node.right)]
                return f" {'&' if isinstance(node, exp.And) != negated else '|'} ".join(f"({side})" for side in sides)
            case exp.Between() if not node.args.get("symmetric"):
                low, high = (exp.GTE(this=node.this, expression=node.args["low"]), node.args["high"])
                both = exp.And(this=low, expression=exp.LTE(this=node.this, expression=high))
                return self.condition(both, negated)
        operator, number = OPERATORS.get(type(node)), None
        if operator is not None:
            of, number = node.this, _number(node.expression)
            if number is None:
                operator, of, number = TURNED[operator], node.expression, _number(node.this)
        if operator is None or number is None:
            refuse(node, f"{shown(node)} is no comparison of an aggregate with a number", "write COUNT(*) > 5, say")
        return self._compared(node, of, NEGATED[operator] if negated else operator, number)

    def _compared(self, node: exp.Expr, of: exp.Expr, operator: str, number: str) -> str:
        found, scale = self.aggregate(of)
        if scale is None:
            refuse(node, f"{shown(of)} is no number", "compare a COUNT, say")
        whole, _, fraction = number.removeprefix("-").partition(".")
        if len(whole) + max(len(fraction), scale) > DIGITS:
            refuse(node, f"{shown(node)} needs more than {DIGITS} digits", "write a shorter number")
        text = f'inputs["{self.named(found)}"] {operator} {number}'
        if not found.nullable:
            return text
        if found.values is None:
            refuse(node, f"{shown(of)} may be NULL, and a comparison unknown", "compare COALESCE(SUM(x), 0)")
        return f'(inputs["{self.named(found.values)}"] > 0) & ({text})'


def _number(node: exp.Expr) -> str | None:
    """A number as Python has it; None if a node is none."""
    node = bare(node)
    if isinstance(node, exp.Neg):
        number = _number(node.this)
        return None if number is None or number.startswith("-") else f"-{number}"
    if not isinstance(node, exp.Literal) or node.is_string:
        return None
    whole, _, fraction = node.name.partition(".")
    if not (whole + fraction).isdecimal():
        return None
    return f"{int(whole or 0)}{f'.{fraction}' if fraction else ''}"


def _value(node: exp.Expr) -> object:
    if isinstance(node, exp.Literal) and node.is_string:
        return node.name
    number = _number(node)
    if number is None or "." in number or abs(int(number)) > LARGEST:
        refuse(node, f"{shown(node)} is no level", "write a text or a whole number")
    return int(number)
