"""Versions of rows: inserted, updated and deleted, late, doubled and in no order, on every path and in DuckDB's SQL."""

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
from dualpath.sources.directory import Directory
from parity_tests.conftest import REPOS

START = datetime(2026, 3, 1, tzinfo=UTC)
USERS = ("ann", "bob", "eve")
HOUR = 3_600_000
FEATURES = ("orders_7d", "paid_7d", "largest", "median_7d", "states", "kinds_before", "last_state")
TRUTH = """
WITH asked AS (SELECT row, user_id, epoch_us(as_of) AS as_of, epoch_us(known_at) AS known_at FROM questions),
latest AS (
    SELECT row, as_of, v.* FROM asked JOIN versions v
      ON v.user_id = asked.user_id AND v.event_time <= as_of AND v.arrived <= known_at
    QUALIFY row_number() OVER (PARTITION BY row, order_id ORDER BY event_time DESC, lsn DESC) = 1
),
there AS (SELECT * FROM latest WHERE op <> 'd')
SELECT asked.row,
    count(*) FILTER (WHERE event_time > l.as_of - $week) AS orders_7d,
    coalesce(sum(amount) FILTER (WHERE event_time > l.as_of - $week AND state = 'paid'), 0)::DOUBLE AS paid_7d,
    max(amount)::DOUBLE AS largest,
    quantile_disc(quantity, 0.5) FILTER (WHERE event_time > l.as_of - $week)::BIGINT AS median_7d,
    histogram(state) FILTER (WHERE state IS NOT NULL) AS states,
    count(DISTINCT state) FILTER (WHERE event_time > l.as_of - 4 * $day AND event_time <= l.as_of - 2 * $day)
        AS kinds_before,
    max_by(state, event_time) FILTER (WHERE event_time > l.as_of - $week AND state IS NOT NULL) AS last_state
FROM asked LEFT JOIN there l USING (row) GROUP BY asked.row ORDER BY asked.row
"""


def versions(random: Random) -> list[dict[str, Any]]:
    """What a database sends of forty orders: each has a few versions, hours or days apart, some at the same instant."""
    sent, lsn = [], 2**62
    begin = int(START.timestamp() * 1000)
    for order in range(40):
        at, user = begin + random.randrange(10 * 24) * HOUR + order, random.choice(USERS)
        for number in range(random.choice((1, 2, 3, 6))):
            at += random.choice((0, 0, HOUR, 30 * HOUR, 100 * HOUR)) if number else 0
            lsn += random.randrange(1, 9)
            gone = number > 1 and random.random() < 0.4
            row = {"order_id": 2**55 + order, "user_id": user, "__lsn": lsn, "__ts_ms": at}
            row |= {"received": at + random.choice((0, 1, HOUR, 60 * HOUR)), "__op": "d" if gone else "u"}
            if not gone:
                row |= {"state": random.choice(("new", "paid", None)), "amount": f"{random.randrange(9999) / 100:.2f}"}
                row["quantity"] = random.choice((1, 2, 7, None))
            sent.append(row)
    return sent


def message(row: dict[str, Any]) -> dict[str, Any]:
    """A version as Debezium sends it."""
    image = {"id": row["order_id"], **{name: row.get(name) for name in ("user_id", "state", "amount", "quantity")}}
    gone = row["__op"] == "d"
    return {
        "before": image | {"state": "old", "amount": "0.00"} if row["__op"] != "c" else None,
        "after": None if gone else image,
        "source": {"lsn": row["__lsn"], "table": "orders"},
        "op": row["__op"],
        "ts_ms": row["__ts_ms"],
        "received": row["received"],
    }


def truth(sent: list[dict[str, Any]], questions: pd.DataFrame) -> list[dict[str, Any]]:
    """What SQL over the versions answers."""
    kept = [
        {
            "user_id": row["user_id"],
            "order_id": row["order_id"],
            "lsn": row["__lsn"],
            "op": row["__op"],
            "event_time": row["__ts_ms"] * 1000,
            "arrived": row["received"] * 1000,
            "state": row.get("state"),
            "amount": row.get("amount"),
            "quantity": row.get("quantity"),
        }
        for row in sent
    ]
    day = 86_400_000_000
    with duckdb.connect() as engine:
        engine.register("sent", pa.Table.from_pylist(kept))
        engine.register("questions", questions)
        engine.execute("CREATE TABLE versions AS SELECT * REPLACE (amount::DECIMAL(18, 2) AS amount) FROM sent")
        found = engine.execute(TRUTH, {"week": 7 * day, "day": day}).to_arrow_table().drop_columns("row")
    rows = found.to_pylist(maps_as_pydicts="strict")
    return [{**row, "states": dict(sorted((row["states"] or {}).items()))} for row in rows]


def answers(found: pa.Table) -> list[dict[str, Any]]:
    rows = found.select(FEATURES).to_pylist(maps_as_pydicts="strict")
    return [{**row, "states": dict(sorted(row["states"].items()))} for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_latest_version_of_each_row_counts_on_every_path_as_in_sql(spark: SparkSession, tmp_path: Path) -> None:
    shutil.copytree(REPOS / "changes", tmp_path / "changes", ignore=shutil.ignore_patterns("__pycache__"))
    repo, random = Repo(tmp_path / "changes"), Random(3)
    repo.apply()
    source, view = repo.sources["orders"], repo.views["by_user"]
    sent = versions(random)
    delivered = [*sent, *random.sample(sent, 30)]
    random.shuffle(delivered)
    landing = repo.storage("orders").folder("landing")
    landing.mkdir(parents=True)
    for part in range(3):
        (landing / f"{part}.jsonl").write_text("".join(f"{json.dumps(message(row))}\n" for row in delivered[part::3]))
    instants = [datetime.fromtimestamp(row["__ts_ms"] / 1000, UTC) for row in sent]
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
        }
    )
    ever = questions.assign(known_at=datetime(2030, 1, 1, tzinfo=UTC))
    early = questions.assign(known_at=[random.choice(instants) for _ in range(1000)])
    rows = questions[["user_id", "as_of"]].rename(columns={"as_of": "event_timestamp"})
    refs = [f"by_user:{name}" for name in FEATURES]
    try:
        start(spark, repo, source, Directory(landing, 1)).awaitTermination()
        for published in (False, True):
            if published:
                assert nightly(spark, repo, source, date(2026, 3, 8)).gate.passed
            else:
                build(spark, repo, source)
            expected = truth(sent, ever)
            served = repo.store.get_online_features(refs, rows.to_dict("records")).to_arrow()
            assert answers(served) == expected
            assert answers(repo.store.get_historical_features(rows, refs).to_arrow()) == expected
        at_the_time = repo.store.get_historical_features(rows.assign(known_at=early["known_at"]), refs).to_arrow()
        assert answers(at_the_time) == truth(sent, early) != expected
        proof = check(repo, cells=2_000, oracle_cells=700, seed=0)
        assert (proof.differing, proof.oracle_differing) == (0, 0)
        end = max(instants)
        previewed = {row["user_id"]: row for row in preview(view, [message(row) for row in sent], end)}
        last = repo.store.get_online_features(refs, [{"user_id": u, "event_timestamp": end} for u in USERS]).to_dict()
        assert all(last[name] == [previewed[user][name] for user in USERS] for name in FEATURES)
        told = explain(repo, "by_user:largest", {"user_id": "ann"}, end)
    finally:
        redis.stop(embedded_folder(repo.store.config))
    mine = [row for row in sent if row["user_id"] == "ann"]
    rows_of = {row["order_id"]: max(r["__lsn"] for r in mine if r["order_id"] == row["order_id"]) for row in mine}
    there = [row for row in mine if row["__lsn"] == rows_of[row["order_id"]] and row["__op"] != "d"]
    assert len(told.counted) == len(there)
    deleted = sum(row["__op"] == "d" for row in mine)
    assert told.left_out["deleted"].total == deleted > 0
    assert told.left_out["replaced"].total == len(mine) - deleted - len(there) > 0
