"""Asks the oracle about an event log. DuckDB evaluates the SQL expressions, and the oracle everything else."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from dualpath.aggregates.meaning import MARK
from dualpath.evaluation import plain
from dualpath.parity.oracle import SOURCE, expressions, formerly, oracle
from dualpath.parts import parts
from dualpath.view import View

Events = list[dict[str, Any]]


def answers(
    view: View,
    logs: Sequence[pa.Table],
    asked: Sequence[tuple[tuple, int]],
    known_at: Sequence[int | None] | None = None,
) -> list[dict[str, Any]]:
    """The oracle's values for (entity, as_of) pairs, over the log of each of the view's sources, as
    `dualpath.parity.events.read` gives it.

    `known_at` has for each pair by when events must have arrived, microseconds UTC.
    """
    mine: dict[tuple, Events] = {}
    for part, log in zip(parts(view), logs, strict=True):
        for entity, events in _events(part, log).items():
            mine.setdefault(entity, []).extend(events)
    limits = [None] * len(asked) if known_at is None else known_at
    return [
        oracle(view, mine.get(entity, []), entity, as_of, limit)
        for (entity, as_of), limit in zip(asked, limits, strict=True)
    ]


def _events(part: View, log: pa.Table) -> dict[tuple, Events]:
    """The events of each entity in the log of one source."""
    sqls = sorted(set().union(*(expressions(feature.aggregate) for feature in part.features)))
    changes = part.source.changes
    versions = [*changes.key, *([changes.version] if changes.version else [])] if changes else []
    versions += [each.name for each in changes.former(part.source.fields)] if changes else []
    if changes and changes.deleted:
        sqls.append(changes.deleted)
    fields = [*part.keys, *(name for name in versions if name not in part.keys)]
    columns = ["event_id", *fields]
    quoted = ("event_id", *(f'"{part.source.by_name[name].column}"' for name in fields))
    select = [*quoted, "epoch_us(event_time)", "epoch_us(arrival_time)", *(plain(part, sql) for sql in sqls)]
    names = [*columns, "event_time", "arrival_time", *sqls]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", log)
        rows = connection.execute(f"SELECT {', '.join(select)} FROM events").fetchall()
    mine: dict[tuple, Events] = {}
    for row in rows:
        event = {**dict(zip(names, row, strict=True)), SOURCE: part.source.name, MARK: part.mark}
        if all(event[k] is not None for k in part.keys):  # nobody has no events
            own = {tuple(event[k] for k in part.keys)}
            if changes and changes.before:
                own.add(tuple(formerly(event, k) for k in part.keys))
            for entity in own:
                mine.setdefault(entity, []).append(event)
    return _with_other_versions(mine, changes.key) if changes and not changes.before else mine


def _with_other_versions(mine: Mapping[tuple, Events], key: Sequence[str]) -> dict[tuple, Events]:
    """The entities' events, and all versions of their rows that other entities have."""
    rows: dict[tuple, Events] = {}
    for event in (each for events in mine.values() for each in events):
        rows.setdefault(tuple(event[name] for name in key), []).append(event)
    return {
        entity: [each for row in dict.fromkeys(tuple(e[name] for name in key) for e in events) for each in rows[row]]
        for entity, events in mine.items()
    }
