"""Aggregates of SQL become those of dualpath. Where they differ for no event, the translation says so."""

from sqlglot import exp

from dualpath.sql.query import Aggregated
from dualpath.sql.refusal import refuse
from dualpath.sql.windows import LIFETIME, asks_now, conjuncts, window

PLAIN: dict[type[exp.Expr], str] = {exp.Min: "Min", exp.Max: "Max", exp.Avg: "Mean", exp.Sum: "Sum"}
KNOWN = "COUNT, SUM, AVG, MIN, MAX, ARRAY_AGG(DISTINCT x) and (ARRAY_AGG(x ORDER BY time DESC))[1:k] are"


class Translator:
    """Translates the aggregates of one query, whose events happen at the column `time`; `where` is the query's own."""

    def __init__(self, time: str, where: exp.Expr | None) -> None:
        self.time, self.where = time, where

    def aggregate(self, node: exp.Expr) -> Aggregated:
        """One aggregate; raises `InputError` that names what cannot be declared."""
        of_nothing = True
        if isinstance(node, exp.Coalesce):
            # COALESCE(SUM(...), 0): what an aggregate says of nothing anyway.
            default = node.expressions[0] if len(node.expressions) == 1 else None
            if not isinstance(self._bare(node.this), exp.Sum | exp.Count) or default is None or default.sql() != "0":
                refuse(node, f"{node.sql()} has a default of its own", "COALESCE(SUM(x), 0) is what can be declared")
            node, of_nothing = node.this, False
        limit = None
        if isinstance(node, exp.Bracket):
            limit, node = self._limit(node), node.this
        while isinstance(node, exp.Paren):
            node = node.this
        own = None
        if isinstance(node, exp.Filter):
            own, node = node.expression.this, node.this
        over, where = self._conditions(own)
        return self._aggregate(node, over, where, limit, of_nothing)

    def _bare(self, node: exp.Expr) -> exp.Expr:
        while isinstance(node, exp.Paren | exp.Filter):
            node = node.this
        return node

    def _aggregate(
        self, node: exp.Expr, over: str, where: list[exp.Expr], limit: int | None, of_nothing: bool
    ) -> Aggregated:
        if isinstance(node, exp.ArrayAgg):
            return self._listed(node, over, where, limit)
        if limit is not None:
            refuse(node, f"[1:{limit}] of {node.sql()}", "only of ARRAY_AGG(x ORDER BY time DESC)")
        if isinstance(node, exp.Count):
            if isinstance(node.this, exp.Star):
                return Aggregated("Count", None, self._spelled(where), over)
            if isinstance(node.this, exp.Distinct):
                [of] = node.this.expressions
                return Aggregated("DistinctCount", self.expression(of), self._spelled(where), over)
            known = exp.Is(this=node.this.copy(), expression=exp.Null()).not_()
            return Aggregated("Count", None, self._spelled([*where, known]), over)
        name = PLAIN.get(type(node))
        if name is None:
            refuse(node, f"{node.sql()} cannot be declared", f"{KNOWN} what can be")
        of = node.this
        if isinstance(of, exp.Distinct):
            refuse(node, f"{node.sql()} adds up different values", "leave DISTINCT out")
        if name == "Sum" and isinstance(of, exp.Case):
            of, where, of_nothing = self._counted(of, where)
        told = "0, and NULL in SQL" if name == "Sum" and of_nothing else ""
        return Aggregated(name, self.expression(of), self._spelled(where), over, of_nothing=told)

    def _counted(self, case: exp.Case, where: list[exp.Expr]) -> tuple[exp.Expr, list[exp.Expr], bool]:
        """`CASE WHEN c THEN x ELSE 0 END` in a sum: x, where c."""
        default, ifs = case.args.get("default"), case.args["ifs"]
        if len(ifs) != 1 or case.this is not None or (default is not None and default.sql() not in ("0", "NULL")):
            refuse(case, f"{case.sql()} in a SUM", "write CASE WHEN condition THEN x ELSE 0 END")
        return ifs[0].args["true"], [*where, *conjuncts(ifs[0].this)], True

    def _listed(self, node: exp.ArrayAgg, over: str, where: list[exp.Expr], limit: int | None) -> Aggregated:
        of = node.this
        if isinstance(of, exp.Distinct):
            if limit is not None or len(of.expressions) != 1:
                refuse(node, f"{node.sql()} with a limit", "leave [1:k] out, or DISTINCT")
            told = "[], and NULL in SQL; NULLs are left out, and values ascend"
            return Aggregated("Distinct", self.expression(of.expressions[0]), self._spelled(where), over, (), told)
        by = of.expressions[0] if isinstance(of, exp.Order) and len(of.expressions) == 1 else None
        newest = (
            by is not None and by.args.get("desc") and isinstance(by.this, exp.Column) and by.this.name == self.time
        )
        if not newest or limit is None:
            refuse(
                node,
                f"{node.sql()} is a list without an end or an order",
                f"write (ARRAY_AGG(x ORDER BY {self.time} DESC))[1:5] or ARRAY_AGG(DISTINCT x)",
            )
        if over == LIFETIME:
            refuse(
                node, f"{node.sql()} of all time", f"bound it: FILTER (WHERE {self.time} > NOW() - INTERVAL '7 days')"
            )
        told = "[], and NULL in SQL; NULLs are left out"
        return Aggregated("LastK", self.expression(of.this), self._spelled(where), over, (("k", limit),), told)

    def _limit(self, node: exp.Bracket) -> int:
        """The k of `[1:k]`."""
        [part] = node.expressions if len(node.expressions) == 1 else [None]
        ends = [part.this, part.expression] if isinstance(part, exp.Slice) else []
        if [isinstance(each, exp.Literal) and each.name.isdecimal() for each in ends] != [True, True]:
            refuse(node, f"{node.sql()} takes some elements", "write [1:5] for the first five")
        first, last = (int(each.name) for each in ends)
        if first != 1 or last < 1:
            refuse(node, f"{node.sql()} does not begin with the first element", "write [1:5] for the first five")
        return last

    def _conditions(self, own: exp.Expr | None) -> tuple[str, list[exp.Expr]]:
        """The window and the other conditions of the aggregate and the query."""
        parts = conjuncts(self.where) + conjuncts(own)
        bounds = [part for part in parts if asks_now(part)]
        windows = dict.fromkeys(window(each, self.time) for each in bounds)
        if len(windows) > 1:
            refuse(bounds[-1], f"two windows, {' and '.join(windows)}", "write the shorter one alone")
        return next(iter(windows), LIFETIME), [part for part in parts if not asks_now(part)]

    def _spelled(self, where: list[exp.Expr]) -> str | None:
        return " AND ".join(self.expression(each, nested=len(where) > 1) for each in where) or None

    def expression(self, node: exp.Expr, nested: bool = False) -> str:
        """SQL over one event, in which its time is `event_time`."""
        if inner := node.find(exp.AggFunc, exp.Select, exp.Window):
            refuse(inner, f"{inner.sql()} inside of an aggregate", "aggregate columns of one event")
        named = node.copy()
        for column in named.find_all(exp.Column):
            if column.name == self.time:
                column.set("this", exp.to_identifier("event_time"))
            column.set("table", None)
        text = named.sql(dialect="spark")
        return f"({text})" if nested and isinstance(node, exp.Or) else text
