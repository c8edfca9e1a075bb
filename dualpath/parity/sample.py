"""A sample of join keys and instants, at which a wrong window edge, tie or clock would show."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dualpath.parts import parts
from dualpath.view import View
from dualpath.windows import DAY, Window, starts

UNKNOWN = {"text": "nobody-by-this-name", "integer": -(10**14)}


def entities(view: View, logs: Sequence[pa.Table]) -> pa.Table:
    """When events of the logs of a view's sources happened, and to whom: `event_time`, and the view's `key_columns`."""
    found = [
        log.select([*part.key_columns, "event_time"]).rename_columns([*view.key_columns, "event_time"])
        for part, log in zip(parts(view), logs, strict=True)
    ]
    return pa.concat_tables(found)


def draw(events: pa.Table, views: Sequence[View], rows: int, seed: int) -> tuple[list[pa.Array], np.ndarray]:
    """Draw join keys (one array for each key) and `as_of` int64[rows] microseconds UTC, for views of the same keys.

    Each row samples an event. Its instant is one of these, or a microsecond before or after it: the event's own time;
    the moment that the event leaves a window; the start of a calendar window; any instant; 40 days later; before the
    first event. One row in fifty has an unknown entity, one key in a hundred is null. If a view is coarse, instants
    among the events are moved to the last microsecond of a bucket.
    """
    random = np.random.default_rng(seed)
    keys = views[0].keys
    known = events.filter(_has(events, views[0].key_columns))
    sample = known.take(pa.array(random.integers(0, len(known), rows)))
    time = sample["event_time"].cast(pa.int64()).to_numpy()
    first, last = (
        int(known["event_time"].cast(pa.int64()).to_numpy().min()),
        int(known["event_time"].cast(pa.int64()).to_numpy().max()),
    )
    windows = list(dict.fromkeys(f.over for view in views for f in view.features))
    choices = [time, *(_edge(w, time) for w in windows if w.kind != "lifetime")]
    choices += [random.integers(first, last + DAY, rows), time + 40 * DAY, np.full(rows, first - 1)]
    kind = random.integers(0, len(choices), rows)
    as_of = np.choose(kind % len(choices), choices) if len(choices) <= 32 else np.stack(choices)[kind, np.arange(rows)]
    as_of = as_of + random.integers(-1, 2, rows)
    # Online, the instants inside a coarse bucket that has passed are refused; in training they are not.
    grain = max(view.resolution for view in views)
    if grain > 1:
        as_of = np.where(as_of <= last, as_of // grain * grain - 1, as_of)
    chance = random.random((len(keys), rows))
    unknown = chance[0] < 0.02
    columns = []
    for key, by_chance in zip(keys, chance, strict=True):
        of = views[0].fields[key]
        values = sample[of.column].combine_chunks()
        nobody = pa.scalar(UNKNOWN[of.key], values.type)
        values = pa.compute.if_else(pa.array(unknown), nobody, values)
        columns.append(pa.compute.if_else(pa.array(by_chance > 0.99), pa.scalar(None, values.type), values))
    return columns, as_of


def _edge(window: Window, time: np.ndarray) -> np.ndarray:
    """When an event of each time leaves the window; for a calendar window, when its calendar unit began."""
    if window.kind == "calendar":
        return starts(window, time)
    return time + window.offset + window.width


def _has(events: pa.Table, keys: Sequence[str]) -> pa.Array:
    there = events[keys[0]].is_valid()
    for key in keys[1:]:
        there = pa.compute.and_(there, events[key].is_valid())
    return there
