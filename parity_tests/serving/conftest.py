"""Repos with state that was written without Spark, and applications that serve them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from dualpath.aggregates import Aggregate
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.serving.app import create_app
from dualpath.view import Feature, View
from dualpath.windows import days
from parity_tests.filled import fill
from parity_tests.generated import declare
from parity_tests.serving.asking import HEADERS, NOON, SETTINGS, USERS
from parity_tests.strategies import CLICKS, COMBINATIONS, OF, POOLS, at

SHELVES = """
from entities import product
from feast import FeatureView, Field, FileSource
from feast.types import Array, Bytes, Float64, Int64, String, UnixTimestamp

kept = FileSource(name="kept", path="shelves.parquet", timestamp_field="event_timestamp")
SCHEMA = {"metres": Float64, "hashed": Bytes, "seen": UnixTimestamp, "sizes": Array(Int64), "place": String}
shelves = FeatureView(
    name="shelves", entities=[product], schema=[Field(name=n, dtype=t) for n, t in SCHEMA.items()], source=kept
)
"""
SHELF = {
    "product_id": ["p0", "p1", "p2"],
    "metres": [1.5, float("nan"), float("-inf")],
    "hashed": [b"\x00\xff", b"", None],
    "seen": pd.to_datetime(["2026-02-01T08:00:00Z", "1969-12-31T23:59:59Z", None]),
    "sizes": [[1, 2**62], [], None],
    "place": ["Zürich 😀", "", None],
    "event_timestamp": pd.to_datetime([NOON] * 3),
}
OPTIONS: dict[str, dict[str, Any]] = {"SumBy": {"by": "action"}}
INSTANT = at(2024, 2, 29)


def of_everything(keys: tuple[str, ...]) -> View:
    """A view of every aggregate over every kind of column."""
    features = []
    for name, kind in COMBINATIONS:
        of = {"of": OF[kind][0]} if kind else {}
        made = Aggregate.registry[name](**of, **OPTIONS.get(name, {}))
        features.append(Feature(f"{name}_{kind}".lower(), made, days(7)))
    return View("everything", keys, CLICKS, tuple(features))


def clicks() -> list[dict[str, Any]]:
    """Events whose fields have every value that hurts."""
    draw = np.random.default_rng(5)
    pools = POOLS | {"user": USERS[:-2], "shop": [1, -1, 2**49]}
    return [
        {
            "event_id": f"c{n}",
            "event_time": np.datetime64(INSTANT - int(draw.integers(0, 8 * 86_400_000_000)), "us"),
            **{
                name: np.datetime64(pool[i], "us") if name == "seen" and pool[i] is not None else pool[i]
                for name, pool in pools.items()
                for i in [int(draw.integers(0, len(pool)))]
            },
        }
        for n in range(300)
    ]


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """Every aggregate over every kind of column, for one join key (`v0`) and for two (`v1`)."""
    folder = tmp_path_factory.mktemp("everything") / "repo"
    repo = declare(folder, [of_everything(("user",)), of_everything(("user", "shop"))])
    fill(repo, clicks())
    yield repo
    redis.stop(embedded_folder(repo.store.config))


@pytest.fixture(scope="session")
def shop(new_repo: Callable[[], Repo]) -> Repo:
    """The feature repo of the checkout, with an ordinary view of other types."""
    repo = new_repo()
    (repo.folder / "shelves.py").write_text(SHELVES)
    pd.DataFrame(SHELF).to_parquet(repo.folder / "shelves.parquet")
    repo.apply()
    events = [
        {
            "user_id": user,
            "product_id": f"p{n}",
            "action": "purchase",
            "amount": n + number / 100,
            "order_value": number / 100,
            "category": f"of {user}",
            "event_time": f"2026-03-01T11:{40 + n}:00",
        }
        for number, user in enumerate(USERS[:-2])
        for n in range(number)
    ]
    fill(repo, events)
    repo.store.write_to_online_store("shelves", pd.DataFrame(SHELF))
    return repo


@pytest.fixture
def client(shop: Repo) -> Iterator[TestClient]:
    """A caller of the shop with the key that may do everything."""
    with TestClient(create_app(SETTINGS, shop.store), headers=HEADERS) as made:
        yield made


@pytest.fixture
def embedded(shop: Repo) -> Path:
    """The folder of the shop's own Redis."""
    return embedded_folder(shop.store.config)
