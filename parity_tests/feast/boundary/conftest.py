"""The repo that the tests of requests share."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from parity_tests.conftest import REPOS
from parity_tests.feast.boundary.asking import SHOPS, START, USERS


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


@pytest.fixture(scope="session")
def repo(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    folder = tmp_path_factory.mktemp("boundary") / "boundary"
    shutil.copytree(REPOS / "boundary", folder, ignore=shutil.ignore_patterns("__pycache__"))
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
