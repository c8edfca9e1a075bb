"""Conditions on the time of an event become windows.

All times are whole microseconds, so every comparison has an exact window, which is open on the left and closed on the
right: `ts >= edge` is `ts > edge - 1 µs`, and `ts < edge` is `ts <= edge - 1 µs`.
"""

from datetime import timedelta

from sqlglot import exp

from dualpath.sql.refusal import declaring, refuse, shown
from dualpath.windows import DAY, SECOND, UNITS, Window, calendar, lifetime, sliding

WIDTHS = {"SECOND": SECOND, "MINUTE": 60 * SECOND, "HOUR": 3600 * SECOND, "DAY": DAY, "WEEK": 7 * DAY}
"""Microseconds of the units of an interval. A day is 24 hours, as it is where the session's time zone is UTC."""
PRESENT = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.Localtime, exp.Localtimestamp)
TURNED = {exp.LT: exp.GT, exp.LTE: exp.GTE, exp.GT: exp.LT, exp.GTE: exp.LTE}


def conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    """The parts of a condition that must all hold."""
    if condition is None:
        return []
    if isinstance(condition, exp.Paren):
        return conjuncts(condition.this)
    if isinstance(condition, exp.And):
        return conjuncts(condition.left) + conjuncts(condition.right)
    if isinstance(condition, exp.Between) and asks_now(condition) and not condition.args.get("symmetric"):
        low, high = condition.args["low"], condition.args["high"]
        return [exp.GTE(this=condition.this, expression=low), exp.LTE(this=condition.this, expression=high)]
    return [condition]


def asks_now(node: exp.Expr) -> bool:
    """Whether it depends on the present."""
    return node.find(*PRESENT) is not None


def window(conditions: list[exp.Expr], time: str) -> Window:
    """The window in which all the conditions on `time` hold; without any, all time.

    Raises `InputError` for a condition that is no edge, and for edges between which no window lies.
    """
    widths: list[int] = []
    offsets, calendars = [0], []
    for each in conditions:
        left, edge = _edge(each, time)
        if isinstance(edge, Window):
            calendars.append(edge)
        else:
            (widths if left else offsets).append(edge)
    if not conditions:
        return lifetime()
    last, offset = conditions[-1], max(offsets)
    if calendars:
        if len({*calendars}) > 1 or widths or offset:
            refuse(last, f"{shown(last)} is a second edge beside that of the calendar", "keep one of the two")
        return calendars[0]
    if not widths:
        if offset:
            refuse(last, f"{shown(last)} bounds the end and not the start", f"add {time} > NOW() - INTERVAL '7 days'")
        return lifetime()
    with declaring(last):
        try:
            found = sliding(timedelta(microseconds=min(widths) - offset))
            found = found.before(timedelta(microseconds=offset)) if offset else found
        except OverflowError:
            refuse(last, f"{shown(last)} is longer than any log of events", "leave it out for all time")
        found.check()
    return found


def _edge(condition: exp.Expr, time: str) -> tuple[bool, int | Window]:
    """Whether a condition bounds the start, and how far the edge lies before the present, microseconds; or the window
    of the calendar that it bounds."""
    good = f"write {time} > NOW() - INTERVAL '30 minutes', or {time} >= DATE_TRUNC('day', NOW())"
    operator = type(condition)
    if operator not in TURNED:
        refuse(condition, f"{shown(condition)} is no window", good)
    column, edge = bare(condition.this), bare(condition.expression)
    if not isinstance(column, exp.Column):
        operator, column, edge = TURNED[operator], edge, column
    if not isinstance(column, exp.Column) or column.name != time:
        refuse(condition, f"{shown(condition)} is no window of {time}, the time of events", good)
    left = operator in (exp.GT, exp.GTE)
    if isinstance(edge, exp.TimestampTrunc | exp.DateTrunc) and _is_now(edge.this):
        return left, _calendar(condition, operator, edge, good)
    interval: exp.Expr | None = None
    if isinstance(edge, exp.Sub):
        edge, interval = bare(edge.this), bare(edge.expression)
    if not _is_now(edge):
        refuse(condition, f"{shown(condition)} is no window", good)
    before = 0 if interval is None else _width(condition, interval, good)
    return left, before + (operator in (exp.GTE, exp.LT))


def _calendar(condition: exp.Expr, operator: type[exp.Expr], edge: exp.Expr, good: str) -> Window:
    """The window from the start of the unit that `DATE_TRUNC` names, in its time zone or UTC."""
    unit, zone = str(edge.args["unit"].name).lower(), edge.args.get("zone")
    if operator is not exp.GTE or unit not in UNITS or not (zone is None or isinstance(zone, exp.Literal)):
        refuse(condition, f"{shown(condition)} is no window of the calendar, which are {', '.join(UNITS)}", good)
    with declaring(condition):
        found = calendar(unit, zone.name if zone else "UTC")
        found.check()
    return found


def _width(condition: exp.Expr, interval: exp.Expr, good: str) -> int:
    """The microseconds of an interval."""
    unit = str(interval.args.get("unit") or "").upper().removesuffix("S") if isinstance(interval, exp.Interval) else ""
    if unit not in WIDTHS or not interval.name.isdecimal():
        refuse(condition, f"{shown(interval)} is no whole number of seconds, minutes, hours, days or weeks", good)
    return int(interval.name) * WIDTHS[unit]


def _is_now(node: exp.Expr) -> bool:
    return isinstance(node, exp.CurrentTimestamp) and node.this is None  # a precision would cut it


def bare(node: exp.Expr) -> exp.Expr:
    """A node without the parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node
