"""Asks the oracle about an event log. DuckDB evaluates the SQL expressions, and the oracle everything else."""

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from dualpath.parity.oracle import expressions, oracle
from dualpath.preview import plain
from dualpath.view import View


def answers(
    view: View, events: pa.Table, asked: Sequence[tuple[tuple, int]], known_at: Sequence[int | None] | None = None
) -> list[dict[str, Any]]:
    """The oracle's values for (entity, as_of) pairs, over a log as `dualpath.parity.events.read` gives it.

    `known_at` has for each pair by when events must have arrived, microseconds UTC.
    """
    sqls = sorted(set().union(*(expressions(feature.aggregate) for feature in view.features)))
    columns = ["event_id", *view.keys]
    quoted = ("event_id", *(f'"{column}"' for column in view.key_columns))
    select = [*quoted, "epoch_us(event_time)", "epoch_us(arrival_time)", *(plain(view, sql) for sql in sqls)]
    names = [*columns, "event_time", "arrival_time", *sqls]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", events)
        rows = connection.execute(f"SELECT {', '.join(select)} FROM events").fetchall()
    mine: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        event = dict(zip(names, row, strict=True))
        if all(event[k] is not None for k in view.keys):  # nobody has no events
            mine.setdefault(tuple(event[k] for k in view.keys), []).append(event)
    limits = [None] * len(asked) if known_at is None else known_at
    return [
        oracle(view, mine.get(entity, []), entity, as_of, limit)
        for (entity, as_of), limit in zip(asked, limits, strict=True)
    ]
