"""A log without Spark, written by one declaration after another, as the stream writes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dualpath.aggregates import Count
from dualpath.declare import event_source
from dualpath.field import Field
from dualpath.log import forms
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED
from dualpath.payloads import event
from dualpath.schema import EventSource, text
from dualpath.view import Feature, View
from dualpath.windows import days, window
from parity_tests import logged

DAY = "2026-03-01"
START = "2026-03-01T10:00:00Z"
USER = text("user", required=True)


def view(source: EventSource, *features: Feature, key: str = "user") -> View:
    """A view of a source; by default it counts events."""
    return View("seen", (key,), source, features or (Feature("events", Count(), window(days(7))),))


def append(storage: Storage, source: EventSource, payloads: Sequence[Mapping[str, Any]]) -> None:
    """Write payloads to the log in a micro-batch of their own, by a stream that has just started."""
    columns = forms.note(storage, source).columns(source)
    typed = [event(view(source), number, each) for number, each in enumerate(payloads)]
    rows = pa.Table.from_pylist(typed, source.stored)
    commit(storage, source, rows.rename_columns([columns.get(name, name) for name in rows.column_names]))


def commit(storage: Storage, source: EventSource, rows: pa.Table) -> None:
    """Write rows with the columns of files to the log, in a micro-batch of their own; there may be none."""
    rows = rows.append_column("late", pa.array([False] * len(rows)))
    logged.append(storage, source, {(ACCEPTED, DAY): rows} if len(rows) else {})


def storage(folder: Path) -> Storage:
    """The folders of the source `orders`."""
    return Storage(folder, "orders")


def orders(*fields: Field, **more: Any) -> EventSource:
    """A source with a user and some fields; the transport gives no arrival."""
    return event_source("orders", fields=[USER, *fields], **{"arrival_time": None, **more})


def payload(number: int, **values: Any) -> dict[str, Any]:
    """An event of that source."""
    return {"event_id": f"e{number}", "event_time": f"2026-03-01T10:{number:02}:00Z", "user": "ann", **values}
