"""The generated data of the two repos, in microseconds UTC, as both engines read it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
"""An instant in the middle of the data."""
START = NOON - timedelta(days=3)
DRIVERS = (1001, 1002, 1003, 1004)
STAMP = pa.timestamp("us", tz="UTC")
HOUR = timedelta(hours=1)


def stats() -> pa.Table:
    """Six-hourly rows of four drivers, with nulls; the last driver is seen once, before any TTL reaches it."""
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for driver in DRIVERS:
        for i in range(1 if driver == DRIVERS[-1] else 16):
            at = START - timedelta(hours=driver % 5) + 6 * i * HOUR
            rows.append(
                {
                    "driver_id": driver,
                    "event_timestamp": at,
                    "created": at + HOUR,
                    "conv_rate": float(np.float32(rng.random())),
                    "acc_rate": None if i % 5 == 2 else rng.random(),
                    "trips": None if i % 4 == 3 else int(rng.integers(0, 2**53 + 9)),
                    "grade": int(rng.integers(-5, 5)),
                    "active": None if i % 6 == 4 else bool(rng.integers(2)),
                    "city": None if i % 7 == 5 else f"Zürich {rng.integers(9)}",
                    "hashed": bytes(rng.integers(0, 256, 4).tolist()),
                    "tags": [f"t{n}" for n in rng.integers(0, 9, 3)],
                    "scores": rng.random(2).tolist(),
                    "seen": at.replace(minute=3),
                }
            )
    # The same instant again, created later: this one counts.
    rows += [{**rows[i], "created": rows[i]["created"] + 2 * HOUR, "trips": -i} for i in (3, 20, 9)]
    types = {"driver_id": pa.int64(), "event_timestamp": STAMP, "created": STAMP, "conv_rate": pa.float32()}
    types |= {"acc_rate": pa.float64(), "trips": pa.int64(), "grade": pa.int32(), "active": pa.bool_()}
    types |= {"city": pa.string(), "hashed": pa.binary(), "tags": pa.list_(pa.string())}
    types |= {"scores": pa.list_(pa.float64()), "seen": STAMP}
    return pa.Table.from_pylist(rows, pa.schema(types.items()))


def table(step: timedelta, rows: int, **columns: pa.Array) -> pa.Table:
    """Columns under instants that step forward from the start, repeated if there are fewer of them."""
    stamps = pa.array([START + step * i for i in range(rows)], STAMP)
    return pa.table({**columns, "event_timestamp": stamps})


def keyed() -> pa.Table:
    """Rows of the views that cases write."""
    trips = pa.array([None if i == 4 else i for i in range(9)], pa.int64())
    return table(
        HOUR, 9, driver_id=pa.array(DRIVERS[:3] * 3), trips=trips, acc_rate=pa.array([i / 7 for i in range(9)])
    )


def sources() -> dict[str, pa.Table]:
    """Every source's rows, by the source's name."""
    return {
        "stats": stats(),
        "home": table(
            24 * HOUR,
            6,
            driver_id=pa.array([1001, 1002, 1003] * 2),
            town=pa.array(["Bern", None, "", "Basel", "Genf", "Chur"]),
            monthly=pa.array([900.1, 450.25, None, 1.0, 2e300, -0.0]),
        ),
        "orders": table(
            7 * HOUR,
            12,
            driver_id=pa.array([1001, 1002] * 6),
            customer_id=pa.array(["ann", "ann", "bob"] * 4),
            orders=pa.array(range(12)),
            spent=pa.array([i / 3 for i in range(12)]),
        ),
        "traffic": table(
            9 * HOUR,
            9,
            zone_id=pa.array([7, 8, 9] * 3),
            cars=pa.array([None, *range(8)], pa.int64()),
            speed=pa.array([i * 1.1 for i in range(9)]),
        ),
        "weather": table(12 * HOUR, 7, degrees=pa.array([i / 10 for i in range(7)])),
        "hourly": keyed(),
        "pushed": keyed(),
        "appended": keyed(),
    }


def write(folder: Path) -> None:
    """Write every source below `folder`/data."""
    (folder / "data/logged").mkdir(parents=True)  # which DuckDB does not make
    for name, rows in sources().items():
        pq.write_table(rows, folder / f"data/{name}.parquet")


def instants(*moments: datetime) -> pd.Series:
    """A column of instants in microseconds, which stock hands back as they are."""
    return pd.Series(pd.to_datetime(list(moments), utc=True).astype("datetime64[us, UTC]"))


def asked(**columns: Any) -> pd.DataFrame:
    """An `entity_df` of eight rows that know their `row`; `columns` replace or add some, None takes one away."""
    hours = [-30, 0, 0, 5, 17, 48, 49, 400]
    frame: dict[str, Any] = {
        "driver_id": [1001, 1001, 1002, 1003, 1004, 1001, 9999, 1002],
        "customer_id": ["ann", "bob", "ann", "cid", "ann", "ann", "ann", "bob"],
        "event_timestamp": instants(*(NOON + h * HOUR for h in hours)),
        "row": range(8),
    }
    return pd.DataFrame({name: column for name, column in (frame | columns).items() if column is not None})
