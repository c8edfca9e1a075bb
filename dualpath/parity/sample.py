"""A sample of join keys and instants, at which a wrong window edge, tie or clock would show."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dualpath.errors import InputError
from dualpath.parity.events import Log
from dualpath.parts import parts
from dualpath.times import FIRST, LAST
from dualpath.view import View
from dualpath.windows import DAY, Window, starts

UNKNOWN = {"text": "nobody-by-this-name", "integer": -(10**14)}


Scan = Callable[[], Iterable[pa.RecordBatch]]
"""Reads the events again, in the same order: when they happened, and to whom."""


def happened(view: View, logs: Sequence[Log]) -> Iterator[pa.RecordBatch]:
    """When events of the logs of a view's sources happened, and to whom: `event_time`, and the view's `key_columns`."""
    names = [*view.key_columns, "event_time"]
    for part, log in zip(parts(view), logs, strict=True):
        for batch in log.batches([*part.key_columns, "event_time"]):
            yield batch.rename_columns(names)


def draw(events: Scan, views: Sequence[View], rows: int, seed: int) -> tuple[list[pa.Array], np.ndarray]:
    """Draw join keys (one array for each key) and `as_of` int64[rows] microseconds UTC, for views of the same keys.

    Each row samples an event. Its instant is one of these, or a microsecond before or after it: the event's own time;
    the moment that the event leaves a window; the start of a calendar window; any instant; 40 days later; before the
    first event. One row in fifty has an unknown entity, one key in a hundred is null. If a view is coarse, instants
    among the events are moved to the last microsecond of a bucket.

    The events are read twice, and only the drawn ones are kept. Raises `InputError` if none names an entity.
    """
    random = np.random.default_rng(seed)
    keys, key_columns = views[0].keys, views[0].key_columns
    count, first, last = _extent(events, key_columns)
    if not count:
        sources = ", ".join(f"'{source.name}'" for source in views[0].sources)
        said = f"no event of {sources} has {', '.join(keys)}, by which view '{views[0].name}' is"
        raise InputError(f"{said}; deliver events that have.")
    sample = _taken(events, key_columns, random.integers(0, count, rows))
    time = sample["event_time"].cast(pa.int64()).to_numpy()
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


def _extent(events: Scan, keys: Sequence[str]) -> tuple[int, int, int]:
    """How many events name an entity, and when the first and the last of them happened."""
    count, first, last = 0, LAST, FIRST
    for batch in _known(events, keys):
        times = batch["event_time"].cast(pa.int64()).to_numpy()
        count, first, last = count + len(times), min(first, int(times.min())), max(last, int(times.max()))
    return count, first, last


def _taken(events: Scan, keys: Sequence[str], numbers: np.ndarray) -> pa.Table:
    """The events of these numbers among those that name an entity, in the order of the numbers."""
    wanted, places = np.unique(numbers, return_inverse=True)
    found, before = [], 0
    for batch in _known(events, keys):
        start, end = np.searchsorted(wanted, [before, before + batch.num_rows])
        if start < end:
            found.append(batch.take(pa.array(wanted[start:end] - before)))
        before += batch.num_rows
    return pa.Table.from_batches(found).take(pa.array(places))


def _known(events: Scan, keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The events that name an entity, of batches that have any."""
    for batch in events():
        known = batch.filter(reduce(pa.compute.and_, (batch[key].is_valid() for key in keys)))
        if known.num_rows:
            yield known.select([*keys, "event_time"])


def _edge(window: Window, time: np.ndarray) -> np.ndarray:
    """When an event of each time leaves the window; for a calendar window, when its calendar unit began."""
    if window.kind == "calendar":
        return starts(window, time)
    return time + window.offset + window.width
