"""Instants chosen to hurt: where a wrong edge, tie or clock shows."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dualpath.view import View
from dualpath.windows import DAY, Window, starts

UNKNOWN = {"text": "nobody-by-this-name", "integer": -(10**14)}


def choose(events: pa.Table, views: Sequence[View], rows: int, seed: int) -> tuple[list[pa.Array], np.ndarray]:
    """Join keys (one array per key) and `as_of` int64[rows] microseconds UTC, for views of the same keys.

    Around sampled events: the event itself, and each window's edge on which it enters or leaves, each also one
    microsecond either side; the start of its local day, week or month; a random instant; long after (idle);
    before the entity's first event; and, one row in fifty, an entity nobody has heard of; one in a hundred, none at
    all. Where a view is coarse, instants among the events are moved to the last microsecond of a bucket.
    """
    random = np.random.default_rng(seed)
    keys = views[0].keys
    known = events.filter(_has(events, keys))
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
    # Served state of a coarse view cannot be cut inside a bucket that has passed; training's can.
    grain = max(view.resolution for view in views)
    if grain > 1:
        as_of = np.where(as_of <= last, as_of // grain * grain - 1, as_of)
    chance = random.random((len(keys), rows))
    unknown = chance[0] < 0.02
    columns = []
    for key, by_chance in zip(keys, chance, strict=True):
        values = sample[key].combine_chunks()
        nobody = pa.scalar(UNKNOWN[views[0].source.by_name[key].kind], values.type)
        values = pa.compute.if_else(pa.array(unknown), nobody, values)
        columns.append(pa.compute.if_else(pa.array(by_chance > 0.99), pa.scalar(None, values.type), values))
    return columns, as_of


def _edge(window: Window, time: np.ndarray) -> np.ndarray:
    """The instant at which an event of each time falls out of the window (or its calendar unit began)."""
    if window.kind == "calendar":
        return starts(window, time)
    return time + window.offset + window.width


def _has(events: pa.Table, keys: Sequence[str]) -> pa.Array:
    there = events[keys[0]].is_valid()
    for key in keys[1:]:
        there = pa.compute.and_(there, events[key].is_valid())
    return there
