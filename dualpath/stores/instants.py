"""`as_of` as callers write it: the optional `event_timestamp` of an entity row."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dualpath.errors import InputError

COLUMN = "event_timestamp"


def micros(value: Any, row: int = 0) -> int:
    """An instant as microseconds since 1970 UTC: a datetime (naive is UTC), ISO-8601 text, or such an integer.

    >>> micros("2022-01-01T00:00:00.000001Z"), micros(datetime(2022, 1, 1)), micros(5)
    (1640995200000001, 1640995200000000, 5)
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(f"entity row {row}: '{value}' is not an ISO-8601 {COLUMN}.") from None
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        whole = int((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1)
        return whole * 1_000_000 + aware.microsecond
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise InputError(f"entity row {row}: {COLUMN} is a {type(value).__name__}; give a datetime or ISO-8601 text.")


def split(entity_rows: Any, now: int) -> tuple[Any, np.ndarray | None]:
    """Take `event_timestamp` out of entity rows (a list of dicts or a dict of columns).

    Answers the rest and the instants int64[m]; a row without one means `now`; None if no row has one.
    """
    if isinstance(entity_rows, Mapping):
        if COLUMN not in entity_rows:
            return entity_rows, None
        given = _listed(entity_rows[COLUMN])
        rest: Any = {k: v for k, v in entity_rows.items() if k != COLUMN}
    else:
        if not any(COLUMN in row for row in entity_rows):
            return entity_rows, None
        given = [row.get(COLUMN) for row in entity_rows]
        rest = [{k: v for k, v in row.items() if k != COLUMN} for row in entity_rows]
    return rest, np.array([now if g is None else micros(g, i) for i, g in enumerate(given)], dtype=np.int64)


def _listed(column: Any) -> Sequence[Any]:
    """A column as plain values; the feature server may pass a repeated protobuf value."""
    if isinstance(column, Sequence):
        return column
    return [v.string_val or v.int64_val for v in column.val]
