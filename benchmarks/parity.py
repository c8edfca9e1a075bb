"""What a parity check holds of the log: drawing entities, and asking the oracle about them.

The same log in two sizes, with ten times as many users in the larger one. The peer reads the log whole, as a table.
Each has a process of its own, whose peak of memory is told, that of the imports included.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from benchmarks.measure import Sheet, spell
from dualpath.aggregates import Count, Distinct, Sum
from dualpath.demo.generate import generate
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED
from dualpath.parity.events import Log, read
from dualpath.parity.oracle_runner import answers
from dualpath.parity.sample import draw, happened
from dualpath.record import Fence
from dualpath.schema import EventSource, decimal, integer, text
from dualpath.view import Feature, View
from dualpath.windows import days, minutes
from parity_tests import logged

SIZES = (500_000, 5_000_000)
ROWS, ASKED = 10_000, 500
"""Drawn rows, and how many of them the oracle is asked about."""
PER_BATCH = 100_000
DAY = "2026-03-01"
SHOP = EventSource(
    "shop_events",
    (
        *(text(name) for name in ("user_id", "action", "product_id", "category")),
        integer("quantity"),
        *(decimal(name, scale=2) for name in ("amount", "order_value")),
    ),
)
VIEW = View(
    "user_activity",
    ("user_id",),
    SHOP,
    (
        Feature("actions_30min", Count(), minutes(30)),
        Feature("interests_7d", Distinct("category"), days(7)),
        Feature("spend_7d", Sum("amount", where="action = 'purchase'"), days(7)),
    ),
)


def run() -> Iterator[Sheet]:
    """Peak memory and seconds of each way, for each size."""
    cells, data = {}, {}
    for size in SIZES:
        with TemporaryDirectory() as folder:
            _alone(FILL, folder, size)
            found = {way: _alone(way, folder, size) for way in WAYS}
        assert len({each["answers"] for each in found.values()}) == 1, "all ways draw the same rows and answer alike"
        for way, each in found.items():
            cells[f"{size:,} events, {way}"] = f"{each['mib']:,.0f} MiB, {spell(each['seconds'])}"
        data[size] = {way: {"mib": each["mib"], "seconds": each["seconds"]} for way, each in found.items()}
    yield Sheet(f"drawing {ROWS:,} rows, and the oracle's answers to {ASKED:,} of them", cells, {"sizes": data})


def fill(storage: Storage, events: int) -> None:
    """A log of generated events; a process of its own makes it, because a child's peak is at least its parent's."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    table = generate(users=events // 100, events=events, products=1_000, categories=50, start=start, days=30, seed=1)
    table = table.append_column("event_id", pa.array([f"event-{n:010d}" for n in range(events)]))
    for batch, first in enumerate(range(0, events, PER_BATCH)):
        rows = table.slice(first, PER_BATCH).select(SHOP.stored.names)
        logged.append(storage, SHOP, {(ACCEPTED, DAY): rows}, batch=Fence(1, batch))


def in_batches(storage: Storage, folder: Path) -> list[object]:
    """As the parity check does it."""
    log = Log(storage, SHOP)
    [users], as_of = draw(partial(happened, VIEW, [log]), [VIEW], ROWS, 0)
    asked = [((user,), int(at)) for user, at in zip(users.to_pylist(), as_of, strict=True)][:ASKED]
    copied = log.copy(VIEW, {who for who, _ in asked if None not in who}, folder)
    return answers(VIEW, [copied], asked)


def whole(storage: Storage, folder: Path) -> list[object]:
    """With the log in memory."""
    log = read(storage, SHOP)
    [users], as_of = draw(log.to_batches, [VIEW], ROWS, 0)
    asked = [((user,), int(at)) for user, at in zip(users.to_pylist(), as_of, strict=True)][:ASKED]
    return answers(VIEW, [log], asked)


WAYS: dict[str, Callable[[Storage, Path], list[object]]] = {"dualpath": in_batches, "the whole log": whole}


FILL = "fill"


def _alone(way: str, folder: str, size: int) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.parity", way, folder, str(size)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(way: str, folder: str, size: str) -> None:
    """Print what one way finds, and what it costs."""
    storage, began = Storage(Path(folder), SHOP.name), time.perf_counter()
    with TemporaryDirectory() as place:
        found = fill(storage, int(size)) if way == FILL else WAYS[way](storage, Path(place) / "copy")
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mib": peak, "answers": repr(found)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
