"""Whatever a user hands over means the same online and in training, or is refused by both in a sentence.

One filled repo, thousands of requests: every shape of keys, instants, aliases and services.
"""

import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from batch.build import build
from dualpath.errors import DualpathError, InputError
from dualpath.parity.compare import same
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.stores.connection import embedded_folder
from streaming.job import start
from streaming.source import Directory

START = datetime(2026, 3, 1, tzinfo=UTC)
BIG = 10_000_000_000
"""A shop number that a float column holds exactly, and 32 bits do not."""
USERS = ["ann", "bob", "", "7", "urn:user:42", "Ünï 😀", "00000000-0000-0000-0000-000000000005", "nan", "None"]
SHOPS = [0, 7, -1, BIG]
REFS = [
    "user_orders:orders_1h",
    "user_orders:by_kind",
    "shop_orders:spent_7d",
    "pair_orders:pair_orders_7d",
    "user_orders:mean_7d",
    "user_orders:kinds_7d",
    "shop_orders:orders_7d",
    "user_profile:age",
    "derived:busy",
    "user_profile:rating",
    "derived:adult",
]
KEYS = {"user_id": "text", "author_id": "text", "reader_id": "text", "shop_id": "integer", "seller_id": "integer"}


def payloads(count: int) -> Iterator[str]:
    """Orders of every user in every shop, some of nobody or nowhere."""
    random = np.random.default_rng(11)
    for n in range(count):
        order = {
            "event_id": f"o{n}",
            "event_time": (START + timedelta(seconds=int(random.integers(0, 5 * 86_400)))).isoformat(),
            "user_id": random.choice([*USERS, None]),
            "shop_id": random.choice(np.array([*SHOPS, None], dtype=object)),
            "kind": random.choice(["book", "tea", "Ünï", "", None]),
            "amount": f"{int(random.integers(0, 9_999)) / 100:.2f}",
        }
        yield json.dumps({name: value for name, value in order.items() if value is not None})


@pytest.fixture(scope="module")
def repo(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    folder = tmp_path_factory.mktemp("boundary") / "boundary"
    shutil.copytree(Path(__file__).with_name("boundary_repo"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    days = [START + timedelta(days=n) for n in range(4)]
    profiles = pd.DataFrame(
        [(user, when, 15 + n + i, i / 3) for i, user in enumerate(USERS) for n, when in enumerate(days)],
        columns=["user_id", "event_time", "age", "rating"],
    )
    pq.write_table(pa.Table.from_pandas(profiles, preserve_index=False), folder / "data" / "profiles.parquet")
    opened = Repo(folder)
    opened.apply()
    landing = opened.storage("orders").folder("landing")
    landing.mkdir(parents=True)
    (landing / "0.jsonl").write_text("\n".join(payloads(800)) + "\n")
    try:
        start(spark, opened, opened.sources["orders"], Directory(landing, 1)).awaitTermination()
        build(spark, opened, opened.sources["orders"])
        newest = profiles[profiles["event_time"] == days[-1]]
        opened.store.write_to_online_store("user_profile", newest)
        yield opened
    finally:
        redis.stop(embedded_folder(opened.store.config))


@dataclass
class Said:
    """What one side answers: values by column, or the sentence of its refusal."""

    values: dict[str, list[Any]] | None = None
    refusal: str = ""


def said(ask: Callable[[], dict[str, list[Any]]]) -> Said:
    """Ask; an error that is not one of dualpath's goes through, and fails the test."""
    try:
        return Said(ask())
    except DualpathError as error:
        return Said(refusal=error.message)


def served(store: FeatureStore, features: Any, rows: Any) -> dict[str, list[Any]]:
    return store.get_online_features(features, rows, full_feature_names=True).to_dict()


def trained(store: FeatureStore, features: Any, frame: Any) -> dict[str, list[Any]]:
    table = store.get_historical_features(frame, features, full_feature_names=True).to_arrow()
    return {name: table[name].to_pylist(maps_as_pydicts="strict") for name in table.column_names}


def asked_for(store: FeatureStore, features: Any) -> list[str]:
    """The columns that an answer must have, in their order."""
    if isinstance(features, list):
        return [ref.replace(":", "__") for ref in features]
    return [
        f"{projection.name_to_use()}__{feature.name}"
        for projection in features.feature_view_projections
        for feature in projection.features
    ]


def agree(repo: Repo, features: Any, columns: dict[str, Any], rows: Any = None) -> Said:
    """Hold both sides together; `columns` become the `entity_df`, and are the entity rows if there are no others."""
    online = said(lambda: served(repo.store, features, columns if rows is None else rows))
    training = said(lambda: trained(repo.store, features, pd.DataFrame(columns)))
    assert (online.values is None) == (training.values is None), (online, training)
    if online.values is not None and training.values is not None:
        wanted = asked_for(repo.store, features)
        assert [name for name in online.values if "__" in name] == wanted
        assert [name for name in training.values if "__" in name and name in wanted] == wanted
        for name in wanted:
            assert same(online.values[name], training.values[name]), (name, online.values[name], training.values[name])
    return online
