"""Events as records, and records as values, without Spark: the shortest road through the core.

An event is a dict: `event_id`; `event_time`, `arrival_time` and timestamp fields as integer microseconds UTC;
decimals as `Decimal`; the other fields as plain Python values; None for null.
"""

import struct
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dualpath import kernel
from dualpath.expression import spell
from dualpath.plan import plan
from dualpath.record import Cell, code, hashed, layout
from dualpath.schema import NULL
from dualpath.stores.keys import entity
from dualpath.values import Dictionary, arrow
from dualpath.view import View
from parity_tests.oracle import expressions

ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}
ENGINE = duckdb.connect(config={"threads": 1})


def evaluated(view: View, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with, under its text, the value of every expression of the view, computed by DuckDB.

    Columns, and expressions that are there already, are left as they are.
    """
    known = events[0].keys() if events else ()
    asked = set().union(*(expressions(feature.aggregate) for feature in view.features))
    cells = {sql for cell in layout(view).cells for sql in (cell.of, cell.where) if sql}
    sqls = sorted((asked | cells).difference(known))
    if not sqls or not events:
        return list(events)
    types = {"event_time": ARROW["timestamp"], "arrival_time": ARROW["timestamp"]}
    for field in view.source.fields:
        types[field.name] = pa.decimal128(18, field.scale) if field.kind == "decimal" else ARROW[field.kind]
    table = pa.table({name: pa.array([e.get(name) for e in events], kind) for name, kind in types.items()})
    ENGINE.register("events", table)
    rows = ENGINE.execute(f"SELECT {', '.join(spell(sql, 'duckdb') for sql in sqls)} FROM events").fetchall()
    plain = [[_micros(value) for value in row] for row in rows]
    return [{**event, **dict(zip(sqls, row, strict=True))} for event, row in zip(events, plain, strict=True)]


def _micros(value: Any) -> Any:
    return (value - datetime(1970, 1, 1)) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def records(view: View, events: Sequence[dict[str, Any]]) -> tuple[list[str], np.ndarray]:
    """The events' records, not folded: each one's entity string, and its words int64[n, width].

    As on the Spark paths, an event without the entity's keys, or that adds nothing to any cell, has no record.
    """
    kind = layout(view)
    entities, rows = [], []
    for event in evaluated(view, events):
        cells = [_words(cell, view, event) for cell in kind.cells]
        keys = [event[key] for key in view.keys]
        nothing = [0 if cell.op in ("count", "sum") else NULL for cell in kind.cells]
        if None not in keys and [words[0] for words in cells] != nothing:
            time = event["event_time"]
            bucket = time // view.resolution * view.resolution
            header = [time, code(event["event_id"])] if view.resolution == 1 else [bucket, time, time]
            entities.append(entity(keys))
            rows.append(header + [word for words in cells for word in words])
    return entities, np.array(rows, dtype=np.int64).reshape(-1, kind.width)


def _words(cell: Cell, view: View, event: dict[str, Any]) -> list[int]:
    """What one event adds to a cell."""
    passes = cell.where is None or event[cell.where] is True
    value = event[cell.of] if cell.of else True
    there = passes and value is not None
    if cell.op == "count":
        return [int(there)]
    word = _word(value, view.type_of(cell.of).scale) if there else 0 if cell.op == "sum" else NULL
    if cell.op == "sketch" and there and not isinstance(value, str):
        word = hashed(word)
    if cell.op in ("first", "last"):
        return [word, event["event_time"], code(event["event_id"])] if there else [NULL] * 3
    return [word]


def _word(value: Any, scale: int) -> int:
    """A value as an int64 word."""
    match value:
        case str():
            return code(value)
        case float():
            bits = struct.unpack("<q", struct.pack("<d", value + 0.0))[0]
            return bits if bits >= 0 else bits ^ (2**63 - 1)
    return int(value * 10**scale)


def dictionary(view: View, events: Sequence[dict[str, Any]]) -> Dictionary:
    """Codes of every text that the view's expressions take."""
    texts = sorted({value for event in evaluated(view, events) for value in event.values() if isinstance(value, str)})
    return Dictionary.of(pa.array(map(code, texts), pa.int64()), pa.array(texts, pa.string()))


def values(
    view: View,
    words: np.ndarray,
    instants: Sequence[int],
    texts: Dictionary,
    features: tuple[str, ...] | None = None,
) -> dict[str, list[Any]]:
    """What a model sees of the one entity whose records are `words` (in any order), at each instant."""
    words, chosen = words.copy(), plan(view, features)
    kernel.arrange(words, np.array([0, len(words)]))
    spans = np.tile(np.array([0, len(words)]), (len(instants), 1))
    found = chosen.evaluate(words, spans, np.array(instants, dtype=np.int64))
    return {
        name: arrow(each, chosen.outputs[name], texts).to_pylist(maps_as_pydicts="strict")
        for name, each in found.items()
    }
