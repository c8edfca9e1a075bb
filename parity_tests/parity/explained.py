"""What tests of `explain` share: views, events of ann, and a log written as the stream leaves it, without Spark."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath.aggregates import Count, Last, Max, Sum, SumBy
from dualpath.kinds import INSTANT
from dualpath.log.accounts import clock_day
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.parity.explain import Explanation
from dualpath.record import Fence
from dualpath.schema import EventSource
from dualpath.view import Feature, View
from dualpath.windows import SECOND, hours, lifetime, minutes
from parity_tests import logged
from parity_tests.strategies import CLICKS

MINUTE = 60 * SECOND
NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * SECOND
AT_NOON = "2026-03-01T12:00:00Z"
ANN = {"user": "ann"}
RECENT = View(
    "recent",
    ("user",),
    CLICKS,
    (
        Feature("clicks", Count(), minutes(30)),
        Feature("bought", Sum("quantity", where="action = 'buy'"), minutes(30)),
        Feature("last_seen", Last("seen"), minutes(30)),
        Feature("before", Count(), minutes(30).before(hours(1))),
    ),
)
SHOPS = View("shops", ("user", "shop"), CLICKS, (Feature("most", Max("quantity"), minutes(30)),), MINUTE)
DEEDS = replace(CLICKS, name="deeds")
WHOLE = View("whole", ("user",), DEEDS, (Feature("by_action", SumBy("amount", by="action"), lifetime()),))
SCHEMA = pa.schema(
    [("event_id", pa.string()), ("event_time", INSTANT), ("arrival_time", INSTANT)]
    + [(field.name, field.stored) for field in CLICKS.fields]
    + [("late", pa.bool_()), ("__origin", pa.string()), ("__position", pa.int64())]
)


def event(name: str, minute: float, *, arrived: float | None = None, **fields: Any) -> dict[str, Any]:
    """An event of ann's at a minute after noon."""
    time = NOON + int(minute * MINUTE)
    arrival = time if arrived is None else NOON + int(arrived * MINUTE)
    return {"event_id": name, "event_time": time, "arrival_time": arrival, "user": "ann", "shop": 1, **fields}


def land(
    storage: Storage,
    batch: int,
    events: Sequence[Mapping[str, Any]] = (),
    *,
    duplicates: Sequence[Mapping[str, Any]] = (),
    dead: Sequence[tuple[str, str]] = (),
    clock: int = NOON,
    query: int = 1,
    schema: pa.Schema = SCHEMA,
    source: EventSource = CLICKS,
) -> None:
    """A finished batch and its files. Each of the `dead` is a payload and a reason."""
    place = {"late": False, "__origin": f"{batch}.jsonl"}
    days: dict[str, list[dict[str, Any]]] = {}
    for number, each in enumerate(events):
        day = str(np.datetime64(each["arrival_time"], "us"))[:10]
        days.setdefault(day, []).append({**each, **place, "__position": number})
    files = {(ACCEPTED, day): pa.Table.from_pylist(rows, schema) for day, rows in days.items()}
    if duplicates:
        rows = [{**each, **place, "__position": 100 + number} for number, each in enumerate(duplicates)]
        files[DUPLICATE, clock_day(clock)] = pa.Table.from_pylist(rows, SCHEMA)
    if dead:
        letters = [
            {"payload": payload, "reason": reason, "__origin": f"{batch}.jsonl", "__position": 200 + number}
            for number, (payload, reason) in enumerate(dead)
        ]
        files[DEAD_LETTER, clock_day(clock)] = pa.Table.from_pylist(letters)
    logged.append(storage, source, files, batch=Fence(query, batch), clock=clock)


def ids(found: Explanation, cause: str) -> list[str | None]:
    """The ids of the rows that are shown for a cause."""
    return [row.event["event_id"] for row in found.left_out[cause].nearest]


def counted(found: Explanation) -> list[str]:
    """The ids of the events that count."""
    return [row.event["event_id"] for row in found.counted]


def differing(found: Explanation) -> list[tuple[str, str, str]]:
    """The events that make the difference, the knowledge that lacks each, and the cause."""
    assert found.against is not None
    return [(each.row.event["event_id"], each.by, each.cause) for each in found.against.events]
