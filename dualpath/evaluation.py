"""Evaluates SQL expressions over events in memory, with DuckDB; an event is a dict as in `dualpath.preview`."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from dualpath.kinds import INSTANT
from dualpath.record import expressions
from dualpath.view import View


def evaluated(view: View, events: Sequence[dict[str, Any]], more: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The events with, under its text, the value of every expression of the view's cells, and of `more`.

    Columns, and expressions that are there already, are left as they are.
    """
    known = events[0].keys() if events else ()
    sqls = sorted({*expressions([view]), *more}.difference(known))
    if not sqls or not events:
        return list(events)
    types = {"event_time": INSTANT, "arrival_time": INSTANT}
    types |= {field.column: field.stored for field in view.source.all_fields}
    table = pa.table({name: pa.array([e.get(name) for e in events], kind) for name, kind in types.items()})
    _engine().register("events", table)
    rows = _engine().execute(f"SELECT {', '.join(plain(view, sql) for sql in sqls)} FROM events").fetchall()
    return [{**event, **dict(zip(sqls, row, strict=True))} for event, row in zip(events, rows, strict=True)]


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One thread keeps the events in their order."""
    engine = duckdb.connect(config={"threads": 1})
    engine.execute("SET TimeZone = 'UTC'")
    return engine


def plain(view: View, sql: str) -> str:
    """An expression in DuckDB's SQL; an instant as microseconds."""
    spelled = view.spell(sql, "duckdb")
    return f"epoch_us({spelled})" if view.type_of(sql).kind == "timestamp" else f"({spelled})"
