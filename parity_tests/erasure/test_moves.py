"""Rows that moved to or from the person: what became of them elsewhere stays, and the stream goes on."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from dualpath.console import status
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.parity.explain import explain
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from parity_tests import faults
from parity_tests.conftest import REPOS
from parity_tests.console.commands import run_json
from parity_tests.erasure.person import ASKED, PERSON, traces
from parity_tests.feast.test_changes import FEATURES, PRODUCTS, USERS, versions

OTHERS = [user for user in USERS if user != "ann"]
REFS = [f"by_user:{name}" for name in FEATURES]


@pytest.fixture
def repo(spark: SparkSession, tmp_path: Path) -> Iterator[Repo]:
    """Orders that change hands, some of them to or from the person."""
    shutil.copytree(REPOS / "changes", tmp_path / "changes", ignore=shutil.ignore_patterns("__pycache__"))
    repo = Repo(tmp_path / "changes")
    lines = (f"{row['sku']},{row['category']},{row['valid_from'].isoformat()}" for row in PRODUCTS)
    (repo.folder / "products.csv").write_text("\n".join(["sku,category,valid_from", *lines]))
    repo.apply()
    deliver(repo, "0", sent())
    stream(spark, repo)
    yield repo
    redis.stop(embedded_folder(repo.store.config))


def sent() -> list[bytes]:
    """What the database has sent, of the person instead of ann."""
    return [json.dumps(row).replace('"ann"', f'"{PERSON}"').encode() for row in versions(Random(3))]


def is_move(line: bytes) -> bool:
    """Whether a line says that an order became another user's."""
    row = json.loads(line)
    return len({image["user_id"] for image in (row["before"], row["after"]) if image}) > 1


def deliver(repo: Repo, name: str, lines: list[bytes]) -> None:
    landing = repo.storage("orders").folder("landing")
    landing.mkdir(parents=True, exist_ok=True)
    (landing / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def stream(spark: SparkSession, repo: Repo) -> None:
    folder = repo.storage("orders").folder("landing")
    start(spark, repo, repo.sources["orders"], Directory(folder, 1)).awaitTermination()


def answers(repo: Repo) -> tuple[list[dict[str, Any]], pa.Table]:
    """What serving and training say of everybody else, at many instants."""
    random = Random(5)
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {"user_id": random.choice(OTHERS), "event_timestamp": begin + timedelta(hours=random.randrange(24 * 25))}
        for _ in range(400)
    ]
    served = repo.store.get_online_features(REFS, rows).to_arrow().select(FEATURES).to_pylist()
    table = pa.Table.from_pylist(rows)
    trained = repo.store.get_historical_features(table.to_pandas(), REFS).to_arrow().select(FEATURES)
    return served, trained


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_moved_is_where_it_was_for_everybody_else(spark: SparkSession, repo: Repo) -> None:
    source = repo.sources["orders"]
    assert nightly(spark, repo, source, date(2026, 3, 8)).gate.passed
    build(spark, repo, source)
    served, trained = answers(repo)
    before = faults.log(repo, "orders")
    into = pc.sum(pc.and_(pc.equal(before["user_id"], PERSON), pc.is_valid(before["before_user_id"]))).as_py()
    out = pc.sum(pc.equal(before["before_user_id"], PERSON)).as_py()
    done = run_json("erase", "--repo", repo.folder, "--key", ASKED)
    repo = Repo(repo.folder)
    assert traces(repo) == []
    [log] = [each for each in done["removed"] if each["place"] == "orders: event log"]
    assert into > 1 and out > 1 and log["nameless"] == into + out
    assert len(faults.log(repo, "orders")) == len(before) - log["rows"]
    assert answers(repo)[0] == served and answers(repo)[1] == trained
    assert status.report(repo).ok
    proof = check(Repo(repo.folder), cells=1_000, oracle_cells=500, seed=0)
    assert proof.passed
    assert nightly(spark, repo, source, date(2026, 3, 9)).gate.passed
    assert not explain(repo, "by_user:largest", {"user_id": PERSON}, datetime(2026, 4, 1, tzinfo=UTC)).counted
    # The stream goes on, and what comes again is new, but for the changes of hands that have stayed.
    mine = [line for line in sent() if PERSON.encode() in line]
    others = [line for line in sent() if PERSON.encode() not in line]
    moves = [line for line in mine if is_move(line)]
    deliver(repo, "1", [*[line for line in mine if line not in moves][:4], *moves[:1], *others[:4]])
    stream(spark, repo)
    counts = faults.counts(repo, "orders")
    assert counts["accepted"] == len(before) - log["rows"] + 4 and counts["duplicate"] == 5
    build(spark, repo, source)
    assert status.report(repo).ok and check(Repo(repo.folder), cells=1_000, oracle_cells=500, seed=1).passed
