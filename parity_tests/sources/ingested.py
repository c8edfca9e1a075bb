"""A source of events, and what lands of a file of them."""

import json
from pathlib import Path
from typing import Any

from dualpath.schema import EventSource, decimal, double, integer, text, timestamp
from dualpath.sources import files
from dualpath.sources.delimited import PLAIN, Dialect

FIELDS = (
    text("user", required=True),
    text("tags"),
    text("code"),
    integer("quantity"),
    decimal("amount", scale=2),
    double("score"),
    timestamp("seen"),
)
EVENTS = EventSource("events", FIELDS, event_id=None, event_time="at", arrival_time=None)


def landed(file: Path, dialect: Dialect = PLAIN) -> list[bytes]:
    return [*files.payloads(file, EVENTS, dialect)]


def objects(file: Path, dialect: Dialect = PLAIN) -> list[Any]:
    return [json.loads(line) for line in landed(file, dialect)]
