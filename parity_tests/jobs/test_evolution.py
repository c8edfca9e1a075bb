"""A source's declaration changes while its log has events: every path answers as if it had been so all the time."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.errors.exceptions.base import StreamingQueryException
from pyspark.sql import SparkSession

from dualpath.console.stream import new_generation
from dualpath.errors import DeclarationError, OtherDeclarationError, StaleRecordsError
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.log.table import DEAD_LETTER
from dualpath.online.connection import embedded_folder
from dualpath.parity import events
from dualpath.parity.check import check
from dualpath.parity.explain import explain
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from parity_tests import logged
from parity_tests.conftest import REPOS
from parity_tests.console.commands import run, run_json

DAY = date(2026, 3, 1)
AT = datetime(2026, 3, 4, tzinfo=UTC)
WIDER = {
    "import integer, text": "import boolean, decimal, double, text\nfrom dualpath.paths import first_of",
    'integer("amount")': 'decimal("amount", scale=2)',
    'integer("weight")': 'double("weight")',
    'text("product_id")': 'text("sku", path=first_of("product.sku", "product_id")).was("product_id")',
    'Last("product_id")': 'Last("sku")',
    'text("channel")': 'boolean("gift")',
    'choices=["new", "paid"]': 'choices=["new", "paid", "sent"]',
}
"""Every kind of change that is allowed, as texts of the repo's file; one view does not depend on them."""


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repo]:
    """The repo, applied, with a Redis of its own."""
    folder = tmp_path / "repo"
    shutil.copytree(REPOS / "evolving", folder, ignore=shutil.ignore_patterns("__pycache__"))
    made = Repo(folder)
    made.apply()
    yield made
    redis.stop(embedded_folder(made.store.config))


def edit(repo: Repo, changes: dict[str, str]) -> None:
    file = repo.folder / "orders.py"
    text = file.read_text()
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)


def old_order(number: int) -> dict[str, Any]:
    """A payload of the first declaration's time."""
    return {
        "event_id": f"o{number}",
        "event_time": f"2026-03-01T10:00:{number:02}Z",
        "user": ("ann", "bob")[number % 2],
        "amount": number,
        "weight": number + 1,
        "product_id": f"p{number}",
        "channel": "web",
        "state": ("new", "paid")[number % 2],
    }


def new_order(number: int) -> dict[str, Any]:
    """A payload of the last one's."""
    return {
        "event_id": f"n{number}",
        "event_time": f"2026-03-02T10:00:{number:02}Z",
        "user": ("ann", "bob")[number % 2],
        "amount": f"{number}.25",
        "weight": number + 0.1,
        "product": {"sku": f"s{number}"},
        "gift": number % 3 == 0,
        "state": ("sent", "paid")[number % 2],
    }


def post(repo: Repo, name: str, payloads: list[dict[str, Any]]) -> Path:
    landing = repo.storage("orders").folder("landing")
    landing.mkdir(parents=True, exist_ok=True)
    (landing / f"{name}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in payloads))
    return landing


def drain(spark: SparkSession, repo: Repo, name: str, payloads: list[dict[str, Any]]) -> None:
    source = Directory(post(repo, name, payloads), 1)
    start(spark, repo, repo.sources["orders"], source).awaitTermination()


def served(repo: Repo, *refs: str) -> dict[str, Any]:
    rows = [{"user": user, "event_timestamp": AT} for user in ("ann", "bob")]
    return repo.store.get_online_features([*refs], rows).to_dict()


def answers(repo: Repo, payloads: list[dict[str, Any]]) -> None:
    """Served, trained in this process and on Spark, and previewed values are the same."""
    for name, view in repo.views.items():
        features = [feature.name for feature in view.features]
        known = {place[0] for f in (*view.source.fields, *view.source.members.values()) for place in f.places}
        previewed = preview(view, [{n: v for n, v in each.items() if n in known} for each in payloads], AT)
        rows = pd.DataFrame([{"user": row["user"], "event_timestamp": AT} for row in previewed])
        refs = [f"{name}:{feature}" for feature in features]
        found = [repo.store.get_online_features(refs, rows.to_dict("records")).to_arrow()]
        for above in (10**9, 0):
            repo.store.config.offline_store.spark_above_rows = above
            found.append(repo.store.get_historical_features(rows, refs).to_arrow())
        for table in found:
            assert repr(table.select(features).to_pylist()) == repr(
                [{f: row[f] for f in features} for row in previewed]
            )


@pytest.mark.slow
def test_an_old_log_answers_a_changed_declaration_on_every_path(spark: SparkSession, repo: Repo) -> None:
    source, old = repo.sources["orders"], [old_order(number) for number in range(10)]
    drain(spark, repo, "1", old)
    build(spark, repo, source)
    nightly(spark, repo, source, DAY)
    before = served(repo, "spent:total", "seen:paid")
    assert run_json("plan", "--repo", repo.folder)["sources"]["orders"]["views"] == {
        "seen": "as it is",
        "spent": "as it is",
    }

    edit(repo, WIDER)
    plan = run_json("plan", "--repo", repo.folder)["sources"]["orders"]
    assert (plan["events"], plan["days"], plan["rebuilds"]) == (10, 1, True)
    assert plan["views"] == {"seen": "published again", "spent": "built anew"}
    said = run("plan", "--repo", repo.folder).stdout
    for sentence in (
        "amount was integer and is decimal(scale=2); stored events are read exactly.",
        "sku was product_id; stored events are read exactly.",
        "gift is new; it is null in stored events.",
        "channel is gone; its stored values stay in the files, and nobody reads them.",
        "records of spent are built anew from 10 events of 1 arrival day.",
    ):
        assert f"orders: {sentence}" in said
    assert "servers that have the registry of before serve the old state until then." in " ".join(said.split())

    feast = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(repo.folder), "plan"]
    planned = subprocess.run(feast, capture_output=True, text=True, check=True).stdout
    assert "orders: records of seen are published again." in planned.splitlines()
    assert Repo(repo.folder).sources == repo.sources

    repo.apply()
    changed = Repo(repo.folder)
    with pytest.raises(OtherDeclarationError):
        served(changed, "spent:total")
    with pytest.raises(
        StaleRecordsError, match="has no record files for its present declaration; run `dualpath batch`"
    ):
        changed.store.get_historical_features(
            pd.DataFrame({"user": ["ann"], "event_timestamp": [AT]}), ["spent:total"]
        ).to_df()
    with pytest.raises(OtherDeclarationError, match="start the stream with `dualpath stream --from-snapshot`"):
        start(spark, changed, changed.sources["orders"], Directory(post(repo, "1", old), 1))
    assert served(changed, "seen:paid")["paid"] == before["paid"]

    new_generation(spark, changed, changed.sources["orders"])
    new = [new_order(number) for number in range(10)]
    drain(spark, changed, "2", [*new, old_order(3), new_order(4)])
    build(spark, changed, changed.sources["orders"])
    answers(changed, [*old, *new])
    assert nightly(spark, changed, changed.sources["orders"], DAY + timedelta(days=1)).gate.passed
    answers(changed, [*old, *new])
    proof = check(changed, cells=500, oracle_cells=500, seed=0)
    assert (proof.differing, proof.oracle_differing) == (0, 0)
    told = explain(changed, "spent:total", {"user": "bob"}, AT).to_dict()
    assert len(told["counted"]) == 10 and told["left_out"]["duplicate"]["total"] == 1


@pytest.mark.slow
def test_a_running_stream_goes_on_with_its_own_declaration_and_the_next_one_reads_what_it_wrote(
    spark: SparkSession, repo: Repo
) -> None:
    """Until a night publishes views of the new one: then it ends before its next batch."""
    landing = post(repo, "1", [old_order(1)])
    query = start(spark, repo, repo.sources["orders"], Directory(landing, 1), interval=timedelta(0))
    try:
        query.processAllAvailable()
        assert served(repo, "spent:total")["total"] == [0, 1]
        edit(repo, WIDER)
        Repo(repo.folder).apply()
        post(repo, "2", [old_order(2), new_order(0)])
        query.processAllAvailable()
        assert served(repo, "spent:total")["total"] == [2, 1]
        changed = Repo(repo.folder)
        nightly(spark, changed, changed.sources["orders"], DAY)
        post(repo, "3", [old_order(3)])
        with pytest.raises(StreamingQueryException, match="holds state of another declaration of a view"):
            query.processAllAvailable()
    finally:
        query.stop()
    dead = logged.rows(repo.storage("orders"), DEAD_LETTER)
    assert len(dead), "a payload of the new declaration is refused by the old one"
    new_generation(spark, changed, changed.sources["orders"])
    drain(spark, changed, "4", [new_order(5)])
    build(spark, changed, changed.sources["orders"])
    answers(changed, [old_order(1), old_order(2), old_order(3), new_order(5)])
    found = events.read(repo.storage("orders"), changed.sources["orders"])
    assert sorted(found["sku"].to_pylist()) == ["p1", "p2", "p3", "s5"]


@pytest.mark.slow
def test_feast_apply_and_both_plans_refuse_what_stored_events_do_not_allow(spark: SparkSession, repo: Repo) -> None:
    drain(spark, repo, "1", [old_order(1)])
    before = (repo.folder / "orders.py").read_text()
    edit(repo, {'integer("amount")': 'text("amount")', 'Sum("amount")': "Count()", 'where="amount > 10"': ""})
    said = "event source 'orders', field 'amount': it was integer and is text, and stored values are not exactly that; "
    with pytest.raises(DeclarationError, match=said):
        repo.apply()
    assert Repo(repo.folder).sources["orders"].by_name["amount"].kind == "integer"
    found = run_json("plan", "--repo", repo.folder, code=1)
    assert found["error"].startswith(said) and found["code"] == "declaration"
    (repo.folder / "orders.py").write_text(before)
    repo.apply()
