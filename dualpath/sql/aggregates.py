"""Aggregates of SQL become those of dualpath. Where they differ for no event, the translation says so."""

from dataclasses import replace
from typing import Any

from sqlglot import exp

from dualpath import expression
from dualpath.aggregates import Aggregate
from dualpath.kinds import REALS
from dualpath.schema import EventSource
from dualpath.sql.query import Aggregated
from dualpath.sql.refusal import declaring, refuse, shown
from dualpath.sql.windows import asks_now, bare, conjuncts, window

PLAIN: dict[type[exp.Expr], str] = {exp.Min: "Min", exp.Max: "Max", exp.Avg: "Mean", exp.Sum: "Sum"}
KNOWN = "COUNT, SUM, AVG, MIN, MAX, ARRAY_AGG(DISTINCT x) and (ARRAY_AGG(x ORDER BY time DESC))[1:k] are"
ZERO = "0, and NULL in SQL"
LIST = "[], and NULL in SQL; NULLs are left out"


class Translator:
    """Translates the aggregates of one query over `source`; `where` is the query's own condition."""

    def __init__(self, source: EventSource, where: exp.Expr | None) -> None:
        self.source, self.time, self.where = source, source.event_time, where

    def aggregate(self, node: exp.Expr) -> Aggregated:
        """One aggregate; raises `InputError` that names what cannot be declared."""
        if not isinstance(node, exp.Coalesce):
            return self._filtered(node)
        default = node.expressions[0] if len(node.expressions) == 1 else None
        if not isinstance(default, exp.Literal) or default.is_string or float(default.name) != 0:
            refuse(node, f"{shown(node)} has a default of its own", "COALESCE(SUM(x), 0) is what can be declared")
        found = self._filtered(node.this)
        if found.nullable and found.of_nothing != ZERO:
            refuse(node, f"{shown(node)} has a default", "COALESCE(SUM(x), 0) is what can be declared")
        return replace(found, of_nothing="", nullable=False, values=None)

    def number(self, node: exp.Expr) -> tuple[Aggregated, int | None]:
        """One aggregate, and how many digits after the point it is made of; None if it is no number."""
        found = self.aggregate(node)
        of = found.aggregate.check(lambda sql: expression.check(sql, self.source.by_name))
        output = found.aggregate.output(of)
        return found, of.scale if output.type.kind in REALS and not output.many else None

    def _filtered(self, whole: exp.Expr) -> Aggregated:
        """An aggregate with its FILTER, and with `[1:k]`."""
        node, limit, own = whole, None, None
        if isinstance(node, exp.Bracket):
            limit, node = _limit(node), node.this
        node = bare(node)
        if isinstance(node, exp.Filter):
            own, node = node.expression.this, node.this
        conditions = conjuncts(self.where) + conjuncts(own)
        if isinstance(node, exp.ArrayAgg):
            return self._listed(whole, node, conditions, limit)
        if limit is not None:
            refuse(node, f"[1:{limit}] of {shown(node)}", "only of ARRAY_AGG(x ORDER BY time DESC)")
        name = "Count" if isinstance(node, exp.Count) else PLAIN.get(type(node))
        if name is None:
            refuse(node, f"{shown(node)} cannot be declared", f"{KNOWN} what can be")
        if node.expressions:
            refuse(node, f"{shown(node)} aggregates several columns", "name one")
        of = node.this
        if isinstance(of, exp.Distinct):
            if name != "Count" or len(of.expressions) != 1:
                refuse(node, f"{shown(node)} is over different values", "only COUNT(DISTINCT x) of one column is")
            name, of = "DistinctCount", of.expressions[0]
        return self._single(whole, name, of, conditions)

    def _single(self, whole: exp.Expr, name: str, of: exp.Expr, conditions: list[exp.Expr]) -> Aggregated:
        """An aggregate that is one value."""
        if isinstance(of, exp.Star):
            return self._made(whole, "Count", None, conditions)
        value, more = _unwrapped(of, zero=name == "Sum")
        if name == "Count":
            return self._made(whole, name, None, [*conditions, *more, *self._known(value)])
        if name == "DistinctCount":
            return self._made(whole, name, value, [*conditions, *more])
        one = name == "Sum" and value == exp.Literal.number(1)
        made = self._made(whole, "Count" if one else name, None if one else value, [*conditions, *more])
        told = ZERO if name == "Sum" else ""
        return replace(made, of_nothing=told, nullable=True, values=self._values(whole, of, conditions))

    def _values(self, whole: exp.Expr, of: exp.Expr, conditions: list[exp.Expr]) -> Aggregated | None:
        """The count of the values that SQL aggregates, NULL not among them."""
        value, more = _unwrapped(of, zero=False)
        if value is of and isinstance(of, exp.Case) and asks_now(of):
            return None  # a value outside of a window is 0, one inside of it may be NULL
        return self._made(whole, "Count", None, [*conditions, *more, *self._known(value)])

    def _listed(self, whole: exp.Expr, node: exp.ArrayAgg, conditions: list[exp.Expr], limit: int | None) -> Aggregated:
        of, order = (node.this.this, node.this.expressions) if isinstance(node.this, exp.Order) else (node.this, [])
        if isinstance(of, exp.Distinct):
            [of, *others] = of.expressions
            ascending = [] if not order else [each.this for each in order if not each.args.get("desc")]
            if limit is not None or others or ascending != [of][: len(order)]:
                refuse(node, f"{shown(node)} with a limit or an order", "write ARRAY_AGG(DISTINCT x ORDER BY x)")
            value, more = _unwrapped(of, zero=False)
            told = LIST if order else f"{LIST}, and values ascend"
            return replace(self._made(whole, "Distinct", value, [*conditions, *more]), of_nothing=told, nullable=True)
        newest = [each.this.name for each in order if isinstance(each.this, exp.Column) and each.args.get("desc")]
        if newest != [self.time] or len(order) != 1 or limit is None:
            refuse(
                node,
                f"{shown(node)} is a list without an end or an order",
                f"write (ARRAY_AGG(x ORDER BY {self.time} DESC))[1:5] or ARRAY_AGG(DISTINCT x)",
            )
        value, more = _unwrapped(of, zero=False)
        made = self._made(whole, "LastK", value, [*conditions, *more], k=limit)
        return replace(made, of_nothing=LIST, nullable=True)

    def _known(self, value: exp.Expr) -> list[exp.Expr]:
        """The condition that a value is not NULL; none for what never is."""
        field = self.source.by_name.get(value.name) if isinstance(value, exp.Column) else None
        if isinstance(value, exp.Literal) or (field is not None and field.required):
            return []
        one = value.copy() if isinstance(value, exp.Column) else exp.paren(value)  # IS binds more closely than AND
        return [exp.Is(this=one, expression=exp.Null()).not_()]

    def _made(
        self, whole: exp.Expr, name: str, of: exp.Expr | None, conditions: list[exp.Expr], **options: Any
    ) -> Aggregated:
        """The declaration, checked as it will be when the repo is applied."""
        over = window([each for each in conditions if asks_now(each)], self.time)
        where = [each for each in conditions if not asks_now(each)]
        spelled = " AND ".join(self._spelled(each, nested=len(where) > 1) for each in where)
        with declaring(whole):
            aggregate = Aggregate.registry[name](
                of=self._spelled(of) if of is not None else None, where=spelled or None, **options
            )
            aggregate.check(lambda sql: expression.check(sql, self.source.by_name))
        if aggregate.needs and over.kind == "lifetime":
            good = f"bound it: FILTER (WHERE {self.time} > NOW() - INTERVAL '7 days')"
            refuse(whole, f"{shown(whole)} of all time", good)
        return Aggregated(aggregate, over)

    def _spelled(self, node: exp.Expr, nested: bool = False) -> str:
        """SQL over one event, in which its time is `event_time`."""
        if inner := node.find(exp.AggFunc, exp.Select, exp.Window):
            refuse(inner, f"{shown(inner)} inside of an aggregate", "aggregate columns of one event")
        named = node.copy()
        for column in named.find_all(exp.Column):
            if column.name == self.source.event_id:
                refuse(column, f"{column.name} tells events apart, and is none of their values", "aggregate another")
            if column.name != self.time and column.name not in self.source.by_name:
                refuse(column, f"{self.source.name} has no column {column.name}", "correct the name")
            column.set("this", exp.to_identifier("event_time" if column.name == self.time else column.name))
            column.set("table", None)
        text = named.sql(dialect="spark")
        return f"({text})" if nested and isinstance(node, exp.Or) else text


def _unwrapped(of: exp.Expr, zero: bool) -> tuple[exp.Expr, list[exp.Expr]]:
    """`CASE WHEN c THEN x END` as x and c: aggregates skip the NULL of other rows; a sum, if `zero`, also `ELSE 0`."""
    of = bare(of)
    if not isinstance(of, exp.Case) or of.this is not None or len(of.args["ifs"]) != 1:
        return of, []
    default = of.args.get("default")
    if default is None or isinstance(default, exp.Null) or (zero and default == exp.Literal.number(0)):
        [case] = of.args["ifs"]
        return case.args["true"], conjuncts(case.this)
    return of, []


def _limit(node: exp.Bracket) -> int:
    """The k of `[1:k]`."""
    [part] = node.expressions if len(node.expressions) == 1 else [None]
    ends = [part.this, part.expression] if isinstance(part, exp.Slice) else []
    if [isinstance(each, exp.Literal) and each.name.isdecimal() for each in ends] != [True, True]:
        refuse(node, f"{shown(node)} takes some elements", "write [1:5] for the first five")
    first, last = (int(each.name) for each in ends)
    if first != 1 or last < 1:
        refuse(node, f"{shown(node)} does not begin with the first element", "write [1:5] for the first five")
    return last
