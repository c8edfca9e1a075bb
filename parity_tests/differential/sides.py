"""Two repos of the same declarations and data, in one Redis: one on stock Feast's stores, one on dualpath's."""

import asyncio
import importlib.util
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from feast import FeatureService, FeatureStore
from feast.errors import FeastError

from dualpath.errors import DualpathError
from parity_tests.differential import data

DECLARATIONS = Path(__file__).parent / "repo" / "declarations.py"
STORES = {
    "stock": {"online_store": "redis", "offline_store": "duckdb", "batch_engine": "local"},
    "ours": {
        "online_store": "dualpath.feast.online.DualpathRedisOnlineStore",
        "offline_store": "dualpath.feast.offline.DualpathOfflineStore",
        "batch_engine": "dualpath.feast.engine.DualpathComputeEngine",
    },
}
NOW = datetime.now(UTC).replace(microsecond=0)
"""One present for both sides, so that what is written for it is the same."""
LOOP = asyncio.new_event_loop()


@dataclass(frozen=True)
class Side:
    """One of the two; `address` is that of a server of it, where a case needs one."""

    name: str
    store: FeatureStore
    address: str = ""

    @property
    def folder(self) -> Path:
        """The repo."""
        return Path(self.store.repo_path)

    def run(self, awaited: Coroutine[Any, Any, Any]) -> Any:
        """Await in one loop for all cases: stock's client lives as long as the loop of its first use."""
        return LOOP.run_until_complete(awaited)

    @contextmanager
    def plain_and_aliased(self) -> Iterator[FeatureService]:
        """A service of a view as it is and under another name; only for a while, as Feast cannot plan beside it."""
        view = self.store.get_feature_view("zone_traffic")
        alias = view.with_name("there").with_join_key_map({"zone_id": "origin_id"})
        service = FeatureService(name="both", features=[view, alias])
        self.store.apply(service)
        try:
            yield service
        finally:
            self.store.delete_feature_service("both")

    def source(self, name: str) -> Path:
        """The file of a source."""
        return self.folder / "data" / f"{name}.parquet"


def build(folder: Path, name: str, redis: str, registry: dict[str, Any] | None = None) -> Side:
    """An applied side in `folder`/`name`, with its online store filled."""
    repo = folder / name
    data.write(repo)
    shutil.copy(DECLARATIONS, repo)
    stores: dict[str, dict[str, Any]] = {key: {"type": kind} for key, kind in STORES[name].items()}
    stores["online_store"]["connection_string"] = redis
    file = {"path": str(repo / "data/registry.db"), "enable_online_feature_view_versioning": True}
    settings = {"project": name + folder.name.replace("-", "_"), "provider": "local", **stores}
    settings |= {"registry": registry or file, "entity_key_serialization_version": 3}
    (repo / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    side = Side(name, FeatureStore(repo_path=str(repo)))
    side.store.apply(declared(side))
    fill(side.store)
    return side


def declared(side: Side) -> list[Any]:
    """The objects of a repo's file, new at each call: Feast writes into those it applies."""
    spec = importlib.util.spec_from_file_location("declarations", side.folder / DECLARATIONS.name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.OBJECTS


def fill(store: FeatureStore) -> None:
    """Write what the online cases read; 1003 was last seen three days ago, 1004 never."""
    ago = [NOW - timedelta(hours=h) for h in (1, 2, 72)]
    drivers = list(data.DRIVERS[:3])
    frames = {
        "driver_stats": data.stats()
        .to_pandas()
        .groupby("driver_id", as_index=False)
        .nth(5)
        .assign(event_timestamp=ago),
        "driver_home": pd.DataFrame(
            {"driver_id": drivers, "town": ["Bern", None, ""], "rent": [900.1, -0.0, 2e300], "event_timestamp": ago}
        ),
        "driver_orders": pd.DataFrame(
            {
                "driver_id": [1001, 1001, 1002],
                "customer_id": ["ann", "bob", "ann"],
                "orders": [3, 2**53 + 1, None],
                "spent": [0.1, 1 / 3, 7.0],
                "event_timestamp": ago,
            }
        ).astype({"orders": "Int64"}),
        "zone_traffic": pd.DataFrame(
            {"zone_id": [7, 8, 9], "cars": [1, 2, 3], "speed": [1.5, 2.5, 3.5], "event_timestamp": ago}
        ),
        "appended": pd.DataFrame(
            {"driver_id": drivers, "trips": [1, 2, 3], "acc_rate": [0.5, 0.25, 0.1], "event_timestamp": ago}
        ),
    }
    for view, frame in frames.items():
        store.write_to_online_store(view, frame)


class RejectedError(Exception):
    """An HTTP status of 400 or more."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass(frozen=True)
class Refusal:
    """An error in place of an answer."""

    error: Exception

    @property
    def kind(self) -> str:
        """Its class, or its status."""
        return str(self.error.status) if isinstance(self.error, RejectedError) else type(self.error).__name__

    def matches(self, stock: "Refusal") -> bool:
        """Whether stock's caller goes on as before: Feast's own errors keep their class, raw ones may become sentences.

        Over HTTP likewise: a status is kept, but a 500 may become the caller's mistake.
        """
        if isinstance(stock.error, RejectedError):
            return isinstance(self.error, RejectedError) and stock.error.status in (self.error.status, 500)
        if isinstance(stock.error, FeastError):
            return isinstance(self.error, type(stock.error))
        return isinstance(self.error, type(stock.error) | DualpathError | FeastError)


Case = Callable[[Side], Any]


def outcome(case: Case, side: Side) -> Any:
    """What a case answers, or how it is refused."""
    try:
        return case(side)
    except Exception as error:
        return Refusal(error)


def agree(ours: Any, stock: Any) -> bool:
    """Whether two outcomes are the same to a user."""
    if isinstance(stock, Refusal):
        return isinstance(ours, Refusal) and ours.matches(stock)
    return bool(ours == stock)
