"""What events look up in a drawn table, by a nested loop; shares nothing with `dualpath.versions`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualpath.schema import EventSource

Rows = Sequence[dict[str, Any]]
"""Versions of `parity_tests.strategies.KINDS`; instants are microseconds UTC."""


def joined(source: EventSource, events: Rows, table: Rows) -> list[dict[str, Any]]:
    """The events with what the source looks up, as of the time of each."""
    found = []
    for event in events:
        looked_up = {}
        for lookup in source.lookups:
            begun = [
                row
                for row in table
                if all(row[key.name] == event[name] for key, name in zip(lookup.dimension.keys, lookup.on, strict=True))
                and row["valid_from"] <= event["event_time"]
            ]
            last: dict[str, Any] = max(begun, key=lambda row: row["valid_from"], default={})
            over = last.get("valid_to") is not None and last["valid_to"] <= event["event_time"]
            for name, field in zip(lookup.names, lookup.fields, strict=True):
                looked_up[field.name] = None if over else last.get(name)
        found.append({**event, **looked_up})
    return found


def as_delivered(table: Rows) -> list[dict[str, Any]]:
    """The versions as a table has them: instants in ISO 8601, decimals as texts."""

    def plain(name: str, value: Any) -> Any:
        if value is not None and name in ("valid_from", "valid_to"):
            return f"{np.datetime64(value, 'us')}Z"
        return value if value is None or name != "amount" else str(value)

    return [{name: plain(name, value) for name, value in row.items()} for row in table]
