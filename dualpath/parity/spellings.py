"""Ways to write the same join keys and instants; all of them must get the same answer."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from dualpath.entities import WHOLE


def keys(column: pa.Array, number: int) -> Any:
    """A column of text or integer join keys, written in way `number`.

    >>> keys(pa.array([7, None]), 1)
    0    7.0
    1    NaN
    dtype: float64
    >>> [pd.DataFrame({"id": keys(pa.array([2**60 + 1, None]), way)})["id"][0] for way in (0, 1, 2)]
    [1152921504606846977, np.int64(1152921504606846977), np.int64(1152921504606846977)]
    """
    values = column.to_pylist()
    if pa.types.is_integer(column.type):
        exact = all(value is None or abs(value) <= WHOLE for value in values)
        spellings = [
            # Of whole numbers and nulls pandas makes floats, which do not hold all of 64 bits.
            lambda: values if exact else pd.Series(values, dtype=object),
            lambda: pd.Series(values, dtype="float64" if exact else "Int64"),
            lambda: pd.Series(values, dtype="Int64"),
            lambda: [None if value is None else Decimal(value) for value in values],
            lambda: pd.Series([pd.NA if value is None else str(value) for value in values], dtype=object),
        ]
    else:
        spellings = [
            lambda: values,
            lambda: pd.Series(values, dtype="category"),
            lambda: pd.Series(values, dtype="string"),
            lambda: pd.Series([float("nan") if value is None else np.str_(value) for value in values], dtype=object),
        ]
    return spellings[number % len(spellings)]()


def instants(as_of: np.ndarray, number: int) -> Any:
    """Instants int64[m], microseconds UTC, written in way `number`."""
    stamps = pd.to_datetime(as_of, unit="us", utc=True)
    spellings = [
        lambda: as_of.astype("datetime64[us]"),
        lambda: stamps.tz_convert("America/New_York"),
        lambda: [stamp.isoformat() for stamp in stamps.to_pydatetime()],
        lambda: stamps.tz_localize(None).to_pydatetime().tolist(),
    ]
    return spellings[number % len(spellings)]()
