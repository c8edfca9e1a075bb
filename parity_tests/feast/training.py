"""How the tests ask for training sets."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore

START = datetime(2026, 3, 1, tzinfo=UTC)
AT = [START + timedelta(days=day, hours=7 * user, microseconds=3 * day) for user in range(3) for day in range(4)]
USERS = [user for user in ("ann", "bob", "eve") for _ in range(4)]
EVERYTHING = [
    *("user_visits__seen", "derived__score", "derived__busy", "user_orders__mean_7d", "user_orders__shops_7d"),
    "user_profile__rating",
]
"""What the service of that name asks for, in its order."""


def events(source: str) -> Iterator[str]:
    random = np.random.default_rng(5)
    for n in range(60):
        event = {
            "event_id": f"{source}{n}",
            "event_time": (START + timedelta(microseconds=int(random.integers(0, 4 * 86_400 * 10**6)))).isoformat(),
            "user_id": ["ann", "bob", "zoe", None][n % 4],
            "shop_id": int(random.integers(0, 2)),
            "amount": f"{int(random.integers(0, 9_999)) / 100:.2f}",
        }
        yield json.dumps({name: value for name, value in event.items() if value is not None})


def write(path: Path, **columns: Any) -> None:
    instants = {name: pa.array(columns.pop(name), pa.timestamp("us", tz="UTC")) for name in ("at", "created")}
    pq.write_table(pa.table(columns | instants), path)


def frame(**more: Any) -> pd.DataFrame:
    """Entity rows: two that are equal, one of nobody, one without a shop, in no order of time."""
    minutes = [3, 1, 4, 1, 5, 9, 1]
    columns = {
        "user_id": ["ann", "bob", None, "zoe", "eve", "ann", "bob"],
        "shop_id": pd.array([0, 1, 1, None, 1, 1, 1], dtype="Int64"),
        "basket": [1.5, 2, 3, 4, 5, 6, 2],
        "label": pd.Categorical(["b", "a", "a", None, "b", "a", "a"]),
        "event_timestamp": [START + timedelta(days=m % 3 + 1, minutes=m) for m in minutes],
    }
    return pd.DataFrame(columns | more, index=[9, 9, 4, 3, 1, 0, 2])


def columns_of(table: pa.Table) -> dict[str, list[Any]]:
    """Columns as Python has them; instants are UTC, whatever a column's own unit and zone."""
    kinds = [pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind for kind in table.schema.types]
    plain = [column.cast(kind, safe=False) for column, kind in zip(table.columns, kinds, strict=True)]
    return {
        name: column.to_pylist(maps_as_pydicts="strict") for name, column in zip(table.column_names, plain, strict=True)
    }


def training(store: FeatureStore, features: Any, entity_df: Any = None, **options: Any) -> dict[str, list[Any]]:
    return columns_of(store.get_historical_features(entity_df, features, **options).to_arrow())
