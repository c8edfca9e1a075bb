"""Parses instants as users write them: one parser for serving and training.

An instant is a datetime of any library, a date (its first moment), or ISO-8601 text. Without a time zone it is UTC.
Digits finer than a microsecond are cut. Numbers are refused because their unit would be a guess, and other texts
because their order of day and month or their time zone would be.
"""

import re
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dualpath.errors import InputError
from dualpath.times import EPOCH, FIRST, LAST, MICROSECOND, OUTSIDE

COLUMN = "event_timestamp"
"""The column of the instants, in entity rows and in Feast's `entity_df`."""
ISO = re.compile(
    r"\d{4}(-\d\d-\d\d|\d{4}|-W\d\d-\d|W\d{3})"
    r"([T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?(Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII,
)
REMEDY = "pass a datetime, which is UTC if it has no time zone, or ISO-8601 text like 2026-03-04T12:00:00Z"


def parse(values: Any, name: str = COLUMN, first: int = 0) -> np.ndarray:
    """Instants as int64[m] microseconds since 1970 UTC.

    values: a list, a NumPy array, a pandas column or an Arrow one. Raises `InputError` that names the row for a
    missing or ambiguous one, and for one outside the years 1 to 9999; `first` is the number of the first row.

    >>> parse(["2022-01-01T01:00:00.000001+01:00", datetime(2022, 1, 1)]).tolist()
    [1640995200000001, 1640995200000000]
    >>> parse([1640995200])
    Traceback (most recent call last):
    dualpath.errors.InputError: event_timestamp, row 0: 1640995200 is a number, whose unit would be a guess; \
pass a datetime, which is UTC if it has no time zone, or ISO-8601 text like 2026-03-04T12:00:00Z.
    """
    found = _whole(values, name, first)
    if found is None:
        found = np.array([_micros(value, name, row) for row, value in enumerate(values, first)], dtype=np.int64)
    if len(found) and not (found.min() >= FIRST and found.max() <= LAST):
        raise _refusal(name, first + int(((found < FIRST) | (found > LAST)).argmax()), OUTSIDE)
    return found


def iso(instant: int) -> str:
    """Microseconds UTC as ISO-8601, always with six digits.

    >>> iso(1_640_995_200_000_001), iso(0)
    ('2022-01-01T00:00:00.000001Z', '1970-01-01T00:00:00.000000Z')
    """
    return f"{np.datetime64(instant, 'us')}Z"


def absent(value: Any) -> bool:
    """Whether a value is one of the missing ones: None, NaN, NaT, NA."""
    if isinstance(value, float | np.floating | np.datetime64):
        return bool(value != value)
    return value is None or value is pd.NaT or value is pd.NA


def _whole(values: Any, name: str, first: int) -> np.ndarray | None:
    """A column of one type of instants, converted at once; None for any other."""
    if isinstance(values, pd.Series | pd.Index) and isinstance(values.dtype, pd.ArrowDtype):
        values = pa.array(values)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if pa.types.is_date(values.type):
            values = values.cast(pa.timestamp("ms"))
        if not pa.types.is_timestamp(values.type):
            return None
        if values.null_count:
            raise _missing(name, first + int(np.asarray(values.is_null()).argmax()))
        return _scaled(np.asarray(values.cast(pa.int64())).view(f"datetime64[{values.type.unit}]"), name, first)
    if isinstance(values, pd.Series | pd.Index):
        if isinstance(values.dtype, pd.DatetimeTZDtype):
            values = pd.DatetimeIndex(values).tz_convert("UTC").tz_localize(None)
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return _scaled(values, name, first)
    return None


def _scaled(values: np.ndarray, name: str, first: int) -> np.ndarray:
    """datetime64 of any unit as int64 microseconds, cut towards the past; the rows are those from `first` on."""
    absent = np.isnat(values)
    if absent.any():
        raise _missing(name, first + int(absent.argmax()))
    found = values.astype("datetime64[us]")
    # A coarse unit reaches years that microseconds do not: they would come back as another instant.
    lost = found.astype("datetime64[Y]") != values.astype("datetime64[Y]")
    if lost.any():
        raise _refusal(name, first + int(lost.argmax()), OUTSIDE)
    return found.astype(np.int64)


def _micros(value: Any, name: str, row: int) -> int:
    """One instant as microseconds since 1970 UTC."""
    if isinstance(value, pa.TimestampScalar) and value.is_valid:
        value = np.datetime64(value.value, value.type.unit)
    elif isinstance(value, pa.Scalar):
        value = value.as_py()
    if absent(value):
        raise _missing(name, row)
    if isinstance(value, bool | int | float | np.number | np.bool_):
        raise _refusal(name, row, f"{value!s} is a number, whose unit would be a guess")
    if isinstance(value, pd.Timestamp):  # before datetime, whose arithmetic it does in nanoseconds
        value = value.tz_convert("UTC").tz_localize(None).to_datetime64() if value.tzinfo else value.to_datetime64()
    if isinstance(value, np.datetime64):
        return int(_scaled(np.array([value]), name, row)[0])
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime | str) and hasattr(value, "isoformat"):  # of another library
        value = value.isoformat()
    if isinstance(value, str):
        value = _read(value, name, row)
    if not isinstance(value, datetime):
        raise _refusal(name, row, f"a {type(value).__name__} is no instant")
    return ((value if value.utcoffset() is not None else value.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


def _read(text: str, name: str, row: int) -> datetime:
    try:
        if ISO.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass  # such as the 30th of February
    raise _refusal(name, row, f"'{text}' is not ISO-8601")


def _missing(name: str, row: int) -> InputError:
    return _refusal(name, row, "the instant is missing")


def _refusal(name: str, row: int, wrong: str) -> InputError:
    return InputError(f"{name}, row {row}: {wrong}; {REMEDY}.")
