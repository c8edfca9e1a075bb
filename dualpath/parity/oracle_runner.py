"""Asks the oracle about an event log. DuckDB evaluates the SQL expressions, and the oracle everything else.

The oracle is asked row by row, and gets the entity's events of the time that the features look back on. The others stay
in DuckDB, on the disk if they are many.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from dualpath.aggregates.meaning import MARK
from dualpath.evaluation import plain
from dualpath.parity.oracle import SOURCE, edges, expressions, oracle
from dualpath.parts import parts
from dualpath.view import View

Events = list[dict[str, Any]]
MEMORY = "512MB"
"""What DuckDB holds in memory; more goes to the disk."""
LEAST = -(2**63)


def answers(
    view: View,
    logs: Sequence[pa.Table | ds.Dataset],
    asked: Sequence[tuple[tuple, int]],
    known_at: Sequence[int | None] | None = None,
) -> list[dict[str, Any]]:
    """The oracle's values for (entity, as_of) pairs, over the log of each of the view's sources, with the columns that
    `dualpath.parity.events.read` gives it; events of other entities may be left out.

    `known_at` has for each pair by when events must have arrived, microseconds UTC.
    """
    limits = [None] * len(asked) if known_at is None else known_at
    with _engine() as engine:
        loaded = [_Loaded(engine, part, log) for part, log in zip(parts(view), logs, strict=True)]
        found = []
        for (entity, as_of), limit in zip(asked, limits, strict=True):
            since = min(edges(feature.over, as_of, view.resolution)[0] for feature in view.features)
            events = [event for each in loaded for event in each.events(entity, since, as_of)]
            found.append(oracle(view, events, entity, as_of, limit))
    return found


class _Loaded:
    """The events of one source, in a table of DuckDB that is sorted by entity and time."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, part: View, log: pa.Table | ds.Dataset) -> None:
        self.engine, self.part, self.table = engine, part, f'"{part.name}"'
        sqls = sorted(set().union(*(expressions(feature.aggregate) for feature in part.features)))
        changes, own = part.source.changes, part.source.by_name
        versions = [*changes.key, *([changes.version] if changes.version else [])] if changes else []
        versions += [each.name for each in changes.former(part.source.fields)] if changes else []
        if changes and changes.deleted:
            sqls.append(changes.deleted)
        columns = {"event_id": "event_id"} | {name: f'"{own[name].column}"' for name in (*part.keys, *versions)}
        columns |= {time: f"epoch_us({time})" for time in ("event_time", "arrival_time")}
        columns |= {sql: plain(part, sql) for sql in sqls}
        self.names = [*columns]
        select = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(columns.values()))
        order = ", ".join(self._columns((*part.keys, "event_time")))
        engine.register("events", log)
        engine.execute(f"CREATE TABLE {self.table} AS SELECT {select} FROM events ORDER BY {order}")

    def events(self, entity: tuple, since: float, until: int) -> Events:
        """What happened to an entity after `since` and up to `until`, microseconds UTC; of its rows all versions."""
        keys = self._columns(self.part.keys)
        mine = " AND ".join(f"{key} = ?" for key in keys)
        given, wanted, changes = [*entity], mine, self.part.source.changes
        if changes and changes.before:
            was = self._columns(f"before_{key}" if f"before_{key}" in self.names else key for key in self.part.keys)
            wanted += " OR " + " AND ".join(f"coalesce({a}, {b}) = ?" for a, b in zip(was, keys, strict=True))
            given += entity
        elif changes:
            row = ", ".join(self._columns(changes.key))
            wanted = f"({row}) IN (SELECT ({row}) FROM {self.table} WHERE {mine})"
        [when] = self._columns(["event_time"])
        there = " AND ".join(f"{key} IS NOT NULL" for key in keys)  # nobody has no events
        rows = self.engine.execute(
            f"SELECT * FROM {self.table} WHERE {when} > ? AND {when} <= ? AND {there} AND ({wanted})",
            [max(since, LEAST), until, *given],
        ).fetchall()
        source = {SOURCE: self.part.source.name, MARK: self.part.mark}
        return [{**dict(zip(self.names, row, strict=True)), **source} for row in rows]

    def _columns(self, names: Iterable[str]) -> list[str]:
        """The table's columns of names."""
        return [f"c{self.names.index(name)}" for name in names]


@contextmanager
def _engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with TemporaryDirectory() as folder, duckdb.connect(config={"temp_directory": folder}) as engine:
        engine.execute(f"SET memory_limit = '{MEMORY}'")
        engine.execute("SET TimeZone = 'UTC'")
        yield engine
