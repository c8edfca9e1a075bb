"""Fields at paths, with names that the log has columns of, from files through every job to every answer."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.log.table import DEAD_LETTER
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.parity.explain import explain
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources import files
from dualpath.sources.delimited import PLAIN
from dualpath.sources.directory import Directory
from parity_tests import logged
from parity_tests.both_ways import served_and_trained
from parity_tests.conftest import REPOS

START = datetime(2026, 3, 1, tzinfo=UTC)
USERS = ("ann", "bob", "eve")
WIDE = 2**62 + 1
COUNT = 60
REFUSED = {
    '{"meta": {"ts": 1772323200000, "received.at": "2026-03-01T00:00:00Z"}}': "id (meta.id) is missing",
    '{"meta": {"id": "r1", "received.at": "2026-03-01T00:00:00Z"}}': "ts (meta.ts) is missing",
    '{"meta": {"id": "r2", "ts": 1772323200000, "received.at": "noon"}}': (
        'received (meta["received.at"]) is not an ISO-8601 instant: noon'
    ),
    '{"meta": {"id": "r3", "ts": 1772323200000, "received.at": "2026-03-01T00:00:00Z"}, "context": {"user": "ann"}}': (
        "batch (context.user.id) is missing"
    ),
    '{"meta": {"id": "r4", "ts": 1772323200000, "received.at": "2026-03-01T00:00:00Z"}, "context": {"user": '
    '{"id": "bob"}}, "items": [{"price": 0.125}]}': (
        "late (items[0].price) has more than 2 decimals: 0.125 (decimal(..., rounded=True) takes it)"
    ),
}


def order(random: Random, at: int) -> dict[str, Any]:
    """An event as a payload has it; most of its members may be missing."""
    event = {
        "meta": {"id": f"e{at}", "ts": 1_772_323_200_000 + at * 60_000, "received.at": f"2026-03-01T{at // 60:02}:59Z"},
        "context": {"user": {"id": random.choice(USERS)}},
        "items": [{"price": random.choice(("0.10", "99.50", "-7")), "since": 1_772_323_200 - at}, {"n.o.": at}],
        "lists": [[{"id": 0}, {"id": WIDE + at % 2}], [{"id": 5}]],
        "flags": {"$on": random.random() < 0.5},
        **{name: f"{name[0]}{random.randrange(3)}" for name in ("userId", "userid", "USERID")},
    }
    for name in ("items", "lists", "flags", "userId", "userid", "USERID"):
        if random.random() < 0.2:
            del event[name]
    return event


@pytest.mark.slow
def test_fields_at_paths_with_any_name_are_the_same_previewed_served_and_trained(
    spark: SparkSession, tmp_path: Path
) -> None:
    shutil.copytree(REPOS / "nested", tmp_path / "nested", ignore=shutil.ignore_patterns("__pycache__"))
    repo, random = Repo(tmp_path / "nested"), Random(0)
    repo.apply()
    source, events = repo.sources["orders"], [order(random, at) for at in range(COUNT)]
    # A third of the events come from Parquet; some come twice, and some rows are refused.
    landing = repo.storage("orders").folder("landing")
    landing.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(events[: COUNT // 3]), tmp_path / "orders.parquet")
    (landing / "1.jsonl").write_bytes(b"".join(files.payloads(tmp_path / "orders.parquet", source, PLAIN)))
    lines = [*map(json.dumps, events[COUNT // 3 :]), *map(json.dumps, events[::7]), *REFUSED]
    (landing / "2.jsonl").write_text("".join(f"{line}\n" for line in lines))
    at = START + timedelta(days=1)
    try:
        start(spark, repo, source, Directory(landing, 1)).awaitTermination()
        dead = logged.rows(repo.storage("orders"), DEAD_LETTER)
        assert dict(zip(dead["payload"].to_pylist(), dead["reason"].to_pylist(), strict=True)) == REFUSED
        for night in (False, True):
            if night:
                gate = nightly(spark, repo, source, START.date()).gate
                assert gate.passed and gate.checked == COUNT
            else:
                build(spark, repo, source)
            for view in repo.views.values():
                previewed = preview(view, events, at)
                served, trained = served_and_trained(repo, view, previewed, at)
                assert served == trained
                assert served == previewed
        proof = check(repo, cells=2_000, oracle_cells=500, seed=0)
        assert (proof.differing, proof.oracle_differing) == (0, 0)
        of_events = repo.store.get_historical_features(
            features=["of_both:orders"], start_date=START, end_date=at
        ).to_arrow()
        assert of_events.num_rows == sum("lists" in event for event in events)
        told = explain(repo, "of_user:product", {"batch": "bob"}, at).to_dict()
    finally:
        redis.stop(embedded_folder(repo.store.config))
    assert len(told["counted"]) + told["left_out"]["condition"]["total"] == sum(
        event["context"]["user"]["id"] == "bob" for event in events
    )
    assert told["left_out"]["refused"]["total"] == 1 and told["left_out"]["duplicate"]["total"] > 0
