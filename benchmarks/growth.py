"""How long the value of a hot product becomes, micro-batch by micro-batch, with and without compaction.

An event of each of the shop's three kinds in every second and a micro-batch a second, for two hours, at a resolution
of a minute and a window of one hour: 183 records are what the window needs.
"""

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks import shop
from benchmarks.measure import Sheet
from dualpath.aggregates import CountBy
from dualpath.declare import feature, feature_view, view_of
from dualpath.online import keys
from dualpath.online.connection import connect
from dualpath.online.writer import Destination, FencedWrite
from dualpath.record import Fence, layout
from dualpath.retention import CLOCK_LAG
from dualpath.runtime import redis as embedded
from dualpath.view import View
from dualpath.windows import SECOND, hours
from dualpath.words import code

activity = feature_view(
    "activity",
    entity=shop.user,
    source=shop.events,
    features=[feature("actions_1h", CountBy("action"), over=hours(1))],
    resolution=timedelta(minutes=1),
)
EPOCH = "2025-06-15"
WAYS = {"appended only": False, "compacted": True}
SHOWN = (60, 600, 1_800, 3_600, 7_200)
"""Micro-batches after which the value is measured."""


def run() -> Iterator[Sheet]:
    """The bytes of the value, both ways."""
    view = view_of(activity)
    assert view is not None, "it is windowed"
    with tempfile.TemporaryDirectory() as folder:
        address = embedded.ensure(Path(folder))
        try:
            found = {way: _measured(address, way, view, compacts=compacts) for way, compacts in WAYS.items()}
        finally:
            embedded.stop(Path(folder))
    cells = {
        f"{batches:,} micro-batches": ", ".join(f"{found[way][i]:,} bytes {way}" for way in WAYS)
        for i, batches in enumerate(SHOWN)
    }
    yield Sheet("the value of a hot product", cells, {"micro_batches": SHOWN, "bytes": found})


def _measured(address: str, project: str, view: View, *, compacts: bool) -> list[int]:
    """Write the batches; answers the bytes of the value after those of `SHOWN`."""
    client, found = connect(address), []
    key = keys.prefix(project, "n1", view.name, "e" + EPOCH) + keys.tagged(shop.name(0))
    for number in range(1, max(SHOWN) + 1):
        clock = shop.AS_OF + number * SECOND
        part = Destination("n1", view, earliest_as_of=clock - CLOCK_LAG if compacts else None)
        words = _second(view, clock)
        rows = shop.rows(view, EPOCH, np.zeros(len(words), dtype=np.int64), words)
        list(FencedWrite(address, project, {view.name: part}, Fence(1, number)).write(rows))
        if number in SHOWN:
            found.append(client.strlen(key))
    return found


def _second(view: View, clock: int) -> np.ndarray:
    """The records of a micro-batch: one a kind, of the minute of its clock; int64[3, width]."""
    kind = layout(view)
    words = np.ones((len(shop.ACTIONS), kind.width), dtype=np.int64)
    words[:, 0] = clock - clock % view.resolution
    words[:, 1] = words[:, 2] = clock
    words[:, kind.slot(kind.cells[0])] = [code(action) for action in shop.ACTIONS]
    return words
