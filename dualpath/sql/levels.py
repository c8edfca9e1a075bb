"""A CASE over aggregates becomes an on-demand view: conditions over features."""

from collections.abc import Callable

from sqlglot import exp

from dualpath.sql.query import Aggregated, Levels
from dualpath.sql.refusal import refuse

OPERATORS: dict[type[exp.Expr], str] = {
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.EQ: "==",
    exp.NEQ: "!=",
}
NEVER_NULL = ("Count", "DistinctCount")
"""Aggregates that SQL and dualpath agree on for no event, so a comparison is never unknown."""


def levels(name: str, case: exp.Case, feature: Callable[[exp.Expr], tuple[str, Aggregated]]) -> Levels:
    """The levels of a CASE; `feature` declares an aggregate and returns its name. Refuses what has no plain value."""
    if case.this is not None or case.args.get("default") is None:
        refuse(
            case, f"{name} has a CASE without conditions or without ELSE", "write CASE WHEN ... THEN ... ELSE ... END"
        )
    cases = tuple((_condition(each.this, feature), _value(each.args["true"])) for each in case.args["ifs"])
    default = _value(case.args["default"])
    kinds = {type(value) for _, value in cases} | {type(default)}
    if len(kinds) > 1:
        refuse(case, f"the levels of {name} are of different types", "make them all texts or all whole numbers")
    return Levels(name, cases, default)


def _condition(node: exp.Expr, feature: Callable[[exp.Expr], tuple[str, Aggregated]]) -> str:
    """A condition in Python, over the columns of a data frame."""
    match node:
        case exp.Paren():
            return _condition(node.this, feature)
        case exp.And() | exp.Or():
            sides = [_condition(side, feature) for side in (node.left, node.right)]
            return f" {'&' if isinstance(node, exp.And) else '|'} ".join(f"({side})" for side in sides)
        case exp.Not():
            return f"~({_condition(node.this, feature)})"
    operator = OPERATORS.get(type(node))
    if operator is None or not isinstance(node.expression, exp.Literal) or node.expression.is_string:
        refuse(node, f"{node.sql()} is no comparison of an aggregate with a number", "write COUNT(*) > 5, say")
    name, aggregated = feature(node.this)
    if aggregated.aggregate not in NEVER_NULL and not (aggregated.aggregate == "Sum" and not aggregated.of_nothing):
        refuse(
            node, f"{node.this.sql()} may be NULL, and a comparison unknown", "compare a COUNT or COALESCE(SUM(x), 0)"
        )
    return f'inputs["{name}"] {operator} {node.expression.name}'


def _value(node: exp.Expr) -> object:
    if not isinstance(node, exp.Literal) or not (node.is_string or node.name.isdecimal()):
        refuse(node, f"{node.sql()} is no level", "write a text or a whole number")
    return node.name if node.is_string else int(node.name)
