"""Events, views and instants for the tests of the core, and events as records without Spark.

An event is a dict: `event_id`; `event_time`, `arrival_time` and timestamp fields as integer microseconds UTC;
decimals as `Decimal`; the other fields as plain Python values; None for null.
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

from dualpath import kernel
from dualpath.aggregates import Aggregate
from dualpath.expression import spell
from dualpath.plan import plan
from dualpath.record import Cell, code, layout
from dualpath.schema import NULL, EventSource, boolean, decimal, double, integer, text, timestamp
from dualpath.stores.keys import entity
from dualpath.values import Dictionary, arrow
from dualpath.view import Feature, View
from dualpath.windows import DAY, SECOND, Window, calendar, days, lifetime, minutes, seconds, sliding

settings.register_profile("parity", derandomize=True, deadline=None, max_examples=25, database=None)

CLICKS = EventSource(
    "clicks",
    (
        text("user"),
        integer("shop"),
        text("action"),
        text("note"),
        integer("quantity"),
        decimal("amount", scale=2),
        double("score"),
        boolean("flag"),
        timestamp("seen"),
    ),
)
CENTS = Decimal("0.01")
POOLS: dict[str, list[Any]] = {
    "user": ["ann", "ann", "ann", "bob", "", None],
    "shop": [1, 1, -1, None],
    "action": ["buy", "view", "click", None],
    "note": ["new", "", "Ünï 😀", "it's", "New", None],
    "quantity": [1, 0, -3, 7, 100, None],
    "amount": [Decimal("19.99"), CENTS, -CENTS, Decimal("0.00"), 10**15 * CENTS, -(10**15) * CENTS, None],
    "score": [1.5, 0.1, 0.0, -0.0, -2.25, 5e-324, -1.7976931348623157e308, None],
    "flag": [True, False, None],
    "seen": [0, -1, 1_700_000_000_000_001, None],
}
OF: dict[str, list[str]] = {
    "text": ["action", "coalesce(note, action)", "lower(note)"],
    "integer": ["quantity", "quantity * 3 - 1", "CASE WHEN flag THEN quantity END"],
    "decimal": ["amount", "amount * 3 - quantity", "coalesce(amount, 0.5)"],
    "double": ["score", "coalesce(score, score)"],
    "boolean": ["flag", "amount > 0.01"],
    "timestamp": ["seen", "event_time", "coalesce(seen, arrival_time)"],
}
WHERE = [
    None,
    "action = 'buy'",
    "NOT flag",
    "amount BETWEEN -0.01 AND 20",
    "quantity IN (1, 7) OR action IS NULL",
    "note LIKE 'n%' OR upper(note) = 'NEW'",
    "event_time <= arrival_time",
    "CASE WHEN flag THEN quantity > 0 ELSE score IS NOT NULL END",
]
ZONES = ["UTC", "Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]
SLIDING = [
    sliding(timedelta(microseconds=1)),
    seconds(1),
    minutes(30),
    days(1),
    days(7),
    minutes(30).before(minutes(30)),
    seconds(1).before(days(1)),
]
WINDOWS: list[Window] = [*SLIDING, lifetime(), *(calendar(u, z) for u in ("day", "week", "month") for z in ZONES)]
RESOLUTIONS = [1, 1, SECOND, 60 * SECOND]


def at(*when: int) -> int:
    """Microseconds UTC of a year, month, day, hour, minute, second, microsecond."""
    return (datetime(*when, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


INSTANTS = [
    at(2024, 2, 29),  # a leap day
    at(2024, 3, 1, 18, 30),  # midnight in Kolkata
    at(2024, 3, 31, 1),  # the clock goes forward in London,
    at(2024, 10, 27, 1),  # and back
    at(2024, 3, 10, 7),  # forward in New York,
    at(2024, 11, 3, 6),  # and back
    at(2011, 12, 30, 10),  # Apia skips a day
    at(2012, 1, 1),
    0,
]
STEPS = [0, SECOND, 60 * SECOND, 1800 * SECOND, 3600 * SECOND, 12 * 3600 * SECOND, DAY, 7 * DAY, 31 * DAY]
"""How far apart things happen: the widths of windows and buckets, so that edges are often hit."""


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int]]:
    """Events with different ids, in no order, and instants to ask at; both often on each other's window edges."""
    now = draw(st.sampled_from(INSTANTS))
    near = st.builds(
        lambda step, jitter: step + jitter, st.sampled_from(STEPS), st.sampled_from([0, 0, 1, -1, 500_000])
    )
    pools = {name: st.sampled_from(pool) for name, pool in POOLS.items()}
    rows = draw(st.lists(st.fixed_dictionaries({"ago": near, "delay": near, **pools}), max_size=10))
    events = []
    for number, row in enumerate(rows):
        time = now - row.pop("ago")
        # A delay of -1 is an event stamped ahead of its arrival.
        events.append({"event_id": f"e{number}", "event_time": time, "arrival_time": time + row.pop("delay"), **row})
    later = draw(st.lists(near, min_size=1, max_size=3))
    return events, [now, *(now + step for step in later)]


def features(aggregate: str, kind: str | None) -> st.SearchStrategy[Feature]:
    """Any feature of one aggregate over one kind of column."""
    build = Aggregate.registry[aggregate]
    of = st.sampled_from(OF[kind]) if kind else st.none()
    made = st.builds(build, of, st.sampled_from(WHERE))
    return st.builds(Feature, st.just("it"), made, st.sampled_from(WINDOWS))


@st.composite
def views(draw: st.DrawFn, aggregate: str, kind: str | None) -> View:
    """Any view with one or two features of the aggregate and, at times, one of another."""
    chosen = draw(st.lists(features(aggregate, kind), min_size=1, max_size=2))
    chosen += draw(st.lists(st.sampled_from(CASES).flatmap(lambda case: features(*case)), max_size=1))
    named = tuple(Feature(f"f{i}", f.aggregate, f.over) for i, f in enumerate(chosen))
    keys = draw(st.sampled_from([("user",), ("user", "shop")]))
    return View("clicks_by", keys, CLICKS, named, draw(st.sampled_from(RESOLUTIONS)))


CASES = [(name, kind) for name, each in Aggregate.registry.items() for kind in each.kinds or (None,)]
"""Every aggregate with every kind of column that it takes."""


ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}
ENGINE = duckdb.connect(config={"threads": 1})


def evaluated(view: View, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with, under its text, the value of every expression of the view, computed by DuckDB."""
    sqls = sorted({sql for cell in layout(view).cells for sql in (cell.of, cell.where) if sql})
    if not sqls:
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
        adds = any(words[0] != (0 if cell.op in ("count", "sum") else NULL) for cell, words in zip(kind.cells, cells))
        if adds and None not in keys:
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


def values(view: View, words: np.ndarray, instants: Sequence[int], texts: Dictionary) -> dict[str, list[Any]]:
    """What a model sees of the one entity whose records are `words` (in any order), at each instant."""
    words = words.copy()
    kernel.arrange(words, np.array([0, len(words)]))
    spans = np.tile(np.array([0, len(words)]), (len(instants), 1))
    found = plan(view).evaluate(words, spans, np.array(instants, dtype=np.int64))
    return {name: arrow(each, plan(view).outputs[name], texts).to_pylist() for name, each in found.items()}
