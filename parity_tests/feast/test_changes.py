"""Versions of rows: inserted, updated, moved and deleted, late, doubled and in no order, on every path and in SQL.

The fields of a dimension are those as of each version's own time.
"""

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.parity.explain import explain
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.dimensions import load
from dualpath.sources.directory import Directory
from parity_tests.conftest import REPOS

START = datetime(2026, 3, 1, tzinfo=UTC)
USERS = ("ann", "bob", "eve")
SHOPS = ("north", "south")
PRODUCTS = [
    {"sku": sku, "category": category, "valid_from": START + timedelta(days=day)}
    for sku, category, day in (("a1", "x", -1), ("a1", "y", 5), ("a2", "x", -1), ("b1", "z", 3))
]
POOLS = {"state": ("new", "paid", None), "quantity": (1, 2, 7, None), "sku": ("a1", "a2", "b1", "unknown", None)}
MAPS = ("states", "categories")
HOUR = 3_600_000
FEATURES = ("orders_7d", "paid_7d", "largest", "median_7d", "states", "kinds_before", "last_state", "categories")
BY_SHOP = """
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
by_shop = feature_view("by_shop", entity=shop, source=orders, features=features)
"""
TRUTH = """
WITH asked AS (SELECT row, who, epoch_us(as_of) AS as_of, epoch_us(known_at) AS known_at FROM questions),
found AS (
    SELECT versions.*, category FROM versions
    ASOF LEFT JOIN products ON versions.sku = products.sku AND event_time >= valid_from
),
latest AS (
    SELECT row, as_of, who, v.* FROM asked JOIN found v
      ON ($knows_all OR who IN (v.entity, v.before)) AND v.event_time <= as_of AND v.arrived <= known_at
    QUALIFY row_number() OVER (PARTITION BY row, order_id ORDER BY event_time DESC, lsn DESC) = 1
),
there AS (SELECT * FROM latest WHERE op <> 'd' AND entity = who)
SELECT asked.row,
    count(*) FILTER (WHERE event_time > l.as_of - $week) AS orders_7d,
    coalesce(sum(amount) FILTER (WHERE event_time > l.as_of - $week AND state = 'paid'), 0)::DOUBLE AS paid_7d,
    max(amount)::DOUBLE AS largest,
    quantile_disc(quantity, 0.5) FILTER (WHERE event_time > l.as_of - $week)::BIGINT AS median_7d,
    histogram(state) FILTER (WHERE state IS NOT NULL) AS states,
    count(DISTINCT state) FILTER (WHERE event_time > l.as_of - 4 * $day AND event_time <= l.as_of - 2 * $day)
        AS kinds_before,
    max_by(state, event_time) FILTER (WHERE event_time > l.as_of - $week AND state IS NOT NULL) AS last_state,
    histogram(category) FILTER (WHERE category IS NOT NULL) AS categories
FROM asked LEFT JOIN there l USING (row) GROUP BY asked.row ORDER BY asked.row
"""


def versions(random: Random) -> list[dict[str, Any]]:
    """What a database sends of forty orders: each has a few versions, hours or days apart, some at the same instant.

    Some become another user's, or another shop's; one that was deleted may come again, for anybody.
    """
    sent, lsn = [], 2**62
    begin = int(START.timestamp() * 1000)
    for order in range(40):
        at, before = begin + random.randrange(10 * 24) * HOUR + order, None
        for number in range(random.choice((1, 2, 3, 6))):
            at += random.choice((0, 0, HOUR, 30 * HOUR, 100 * HOUR)) if number else 0
            lsn += random.randrange(1, 9)
            gone = before is not None and number > 1 and random.random() < 0.4
            image = before or {"id": 2**55 + order, "user_id": random.choice(USERS), "shop": random.choice(SHOPS)}
            if not gone:
                image = image | {name: random.choice(pool) for name, pool in POOLS.items()}
                image["amount"] = f"{random.randrange(9999) / 100:.2f}"
                for name, pool in (("user_id", USERS), ("shop", SHOPS)):
                    image[name] = random.choice(pool) if random.random() < 0.3 else image[name]
            sent.append(
                {
                    "before": before,
                    "after": None if gone else image,
                    "source": {"lsn": lsn, "table": "orders"},
                    "op": "d" if gone else "u" if before else "c",
                    "ts_ms": at,
                    "received": at + random.choice((0, 1, HOUR, 60 * HOUR)),
                }
            )
            before = None if gone else image
    return sent


def truth(sent: list[dict[str, Any]], questions: pd.DataFrame, key: str, *, knows_all: bool) -> list[dict[str, Any]]:
    """What SQL over the versions answers, of all of them, or of those that an entity knows."""
    kept = [
        {
            "entity": (row["after"] or row["before"])[key],
            "before": row["before"] and row["before"][key],
            "order_id": (row["after"] or row["before"])["id"],
            "lsn": row["source"]["lsn"],
            "op": row["op"],
            "event_time": row["ts_ms"] * 1000,
            "arrived": row["received"] * 1000,
            **{name: (row["after"] or {}).get(name) for name in ("state", "amount", "quantity", "sku")},
        }
        for row in sent
    ]
    day = 86_400_000_000
    table = [{**row, "valid_from": int(row["valid_from"].timestamp() * 1e6)} for row in PRODUCTS]
    with duckdb.connect() as engine:
        engine.register("sent", pa.Table.from_pylist(kept))
        engine.register("products", pa.Table.from_pylist(table))
        engine.register("questions", questions.rename(columns={key: "who"}))
        engine.execute("CREATE TABLE versions AS SELECT * REPLACE (amount::DECIMAL(18, 2) AS amount) FROM sent")
        found = engine.execute(TRUTH, {"week": 7 * day, "day": day, "knows_all": knows_all}).to_arrow_table()
    return sorted_maps(found.drop_columns("row").to_pylist(maps_as_pydicts="strict"))


def answers(found: pa.Table) -> list[dict[str, Any]]:
    return sorted_maps(found.select(FEATURES).to_pylist(maps_as_pydicts="strict"))


def sorted_maps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, **{name: dict(sorted((row[name] or {}).items())) for name in MAPS}} for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_latest_version_of_each_row_counts_on_every_path_as_in_sql(spark: SparkSession, tmp_path: Path) -> None:
    shutil.copytree(REPOS / "changes", tmp_path / "changes", ignore=shutil.ignore_patterns("__pycache__"))
    repo, random = Repo(tmp_path / "changes"), Random(3)
    rows_of_table = (f"{row['sku']},{row['category']},{row['valid_from'].isoformat()}" for row in PRODUCTS)
    (repo.folder / "products.csv").write_text("\n".join(["sku,category,valid_from", *rows_of_table]))
    repo.apply()
    source, view = repo.sources["orders"], repo.views["by_user"]
    sent = versions(random)
    delivered = [*sent, *random.sample(sent, 30)]
    random.shuffle(delivered)
    landing = repo.storage("orders").folder("landing")
    landing.mkdir(parents=True)
    for part in range(3):
        (landing / f"{part}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in delivered[part::3]))
    instants = [datetime.fromtimestamp(row["ts_ms"] / 1000, UTC) for row in sent]
    questions = pd.DataFrame(
        {
            "row": range(1000),
            "user_id": [random.choice((*USERS, "nobody")) for _ in range(1000)],
            "as_of": [
                random.choice(instants)
                + random.choice((0, 0, 2, 4, 7)) * timedelta(days=1)
                + random.randint(-1, 1) * timedelta(microseconds=1)
                for _ in range(1000)
            ],
            "known_at": datetime(2030, 1, 1, tzinfo=UTC),
        }
    )
    early = questions.assign(known_at=[random.choice(instants) for _ in range(1000)])
    rows = questions[["user_id", "as_of"]].rename(columns={"as_of": "event_timestamp"})
    refs = [f"by_user:{name}" for name in FEATURES]
    try:
        start(spark, repo, source, Directory(landing, 1)).awaitTermination()
        expected = truth(sent, questions, "user_id", knows_all=True)
        for published in (False, True):
            if published:
                assert nightly(spark, repo, source, date(2026, 3, 8)).gate.passed
            else:
                build(spark, repo, source)
            served = repo.store.get_online_features(refs, rows.to_dict("records")).to_arrow()
            assert answers(served) == expected
            assert answers(repo.store.get_historical_features(rows, refs).to_arrow()) == expected
        at_the_time = repo.store.get_historical_features(rows.assign(known_at=early["known_at"]), refs).to_arrow()
        assert answers(at_the_time) == truth(sent, early, "user_id", knows_all=False) != expected
        proof = check(repo, cells=2_000, oracle_cells=700, seed=0)
        assert (proof.differing, proof.oracle_differing) == (0, 0)
        end, tables = max(instants), {"products": load(source.lookups[0].dimension, repo.folder)}
        previewed = {row["user_id"]: row for row in preview(view, sent, end, dimensions=tables)}
        last = repo.store.get_online_features(refs, [{"user_id": u, "event_timestamp": end} for u in USERS]).to_dict()
        assert all(last[name] == [previewed[user][name] for user in USERS] for name in FEATURES)
        told = explain(repo, "by_user:largest", {"user_id": "ann"}, end)

        # A view that is added later, by another key, has what rows were before from the log.
        with (repo.folder / "changed.py").open("a") as declarations:
            declarations.write(BY_SHOP)
        later = Repo(repo.folder)
        later.apply()
        build(spark, later, source)
        of_shops = questions.drop(columns="user_id").assign(shop=[random.choice(SHOPS) for _ in range(1000)])
        asked = of_shops[["shop", "as_of"]].rename(columns={"as_of": "event_timestamp"})
        trained = later.store.get_historical_features(asked, [f"by_shop:{name}" for name in FEATURES]).to_arrow()
        assert answers(trained) == truth(sent, of_shops, "shop", knows_all=True)
    finally:
        redis.stop(embedded_folder(repo.store.config))
    mine = [row for row in sent if (row["after"] or row["before"])["user_id"] == "ann"]
    left = [row for row in sent if row["before"] and row["after"] and row["before"]["user_id"] == "ann"]
    left = [row for row in left if row not in mine]
    newest = {(row["after"] or row["before"])["id"]: row for row in sent}
    there = [row for row in newest.values() if row in mine and row["op"] != "d"]
    assert len(told.counted) == len(there)
    deleted = sum(row["op"] == "d" for row in mine)
    assert told.left_out["deleted"].total == deleted > 0
    assert told.left_out["moved"].total == len(left) > 0
    assert told.left_out["replaced"].total == len(mine) - deleted - len(there) > 0
