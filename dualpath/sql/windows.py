"""Conditions on the time of an event become windows."""

from sqlglot import exp

from dualpath.sql.refusal import refuse

UNITS = {"SECOND": "seconds", "MINUTE": "minutes", "HOUR": "hours", "DAY": "days", "WEEK": "weeks"}
LIFETIME = "lifetime()"


def conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    """The parts of a condition that must all hold."""
    if condition is None:
        return []
    if isinstance(condition, exp.Paren):
        return conjuncts(condition.this)
    if isinstance(condition, exp.And):
        return conjuncts(condition.left) + conjuncts(condition.right)
    return [condition]


def asks_now(node: exp.Expr) -> bool:
    """Whether it depends on the present."""
    return node.find(exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.CurrentDatetime) is not None


def window(condition: exp.Expr, time: str) -> str:
    """The window, as Python spells it, of `time > now() - interval` or `time >= date_trunc('day', now())`.

    The right edge is the present. Refuses everything else.
    """
    good = f"write {time} > NOW() - INTERVAL '30 minutes', or {time} >= DATE_TRUNC('day', NOW())"
    if isinstance(condition, exp.LT | exp.LTE):  # the other way round
        turned = exp.GT if isinstance(condition, exp.LT) else exp.GTE
        condition = turned(this=condition.expression, expression=condition.this)
    if not isinstance(condition, exp.GT | exp.GTE) or not _is(condition.this, time):
        refuse(condition, f"{condition.sql()} is no window", good)
    edge = condition.expression
    while isinstance(edge, exp.Paren):
        edge = edge.this
    if isinstance(edge, exp.TimestampTrunc | exp.DateTrunc) and isinstance(edge.this, exp.CurrentTimestamp):
        if isinstance(condition, exp.GTE) and str(edge.args["unit"].name).upper() == "DAY":
            return "today()"
        refuse(condition, f"{condition.sql()} is no window of the calendar", good)
    if not isinstance(edge, exp.Sub) or not isinstance(edge.this, exp.CurrentTimestamp):
        refuse(condition, f"{condition.sql()} is no window", good)
    if isinstance(condition, exp.GTE):
        refuse(condition, f"{condition.sql()} has a closed left edge, and windows have an open one", "write >")
    interval = edge.expression
    unit = str(interval.args.get("unit") or "").upper().removesuffix("S") if isinstance(interval, exp.Interval) else ""
    if unit not in UNITS or not interval.name.isdecimal():
        refuse(condition, f"{edge.sql()} is no span of seconds, minutes, hours, days or weeks", good)
    return f"timedelta({UNITS[unit]}={int(interval.name)})"


def _is(node: exp.Expr, column: str) -> bool:
    return isinstance(node, exp.Column) and node.name == column
