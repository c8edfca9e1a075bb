"""Two sources of one folder, one with many events in a payload, from files through every job to every answer."""

import json
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.jobs.stream import start
from dualpath.log import audit
from dualpath.log.table import DEAD_LETTER
from dualpath.online.connection import embedded_folder
from dualpath.parity.check import check
from dualpath.parity.explain import explain
from dualpath.preview import preview
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.directory import Directory
from parity_tests import logged
from parity_tests.both_ways import served_and_trained
from parity_tests.conftest import REPOS

START = datetime(2026, 3, 1, tzinfo=UTC)
MILLIS = 1_772_323_200_000
ORDERS, LOOKS = 40, 30
BROKEN = [
    # One bad element among good ones; a null element; no list at all; no list where one should be; no kind.
    {
        "kind": "order",
        "ts": MILLIS,
        "user": "ann",
        "order": {"id": "b0", "items": [{"sku": "a"}, {"sku": "b", "price": "x"}]},
    },
    {"kind": "order", "ts": MILLIS, "user": "ann", "order": {"id": "b1", "items": [None, {"sku": "c"}]}},
    {"kind": "order", "ts": MILLIS, "user": "ann", "order": {"id": "b2"}},
    {"kind": "order", "ts": MILLIS, "user": "ann", "order": {"id": "b3", "items": {"sku": "a"}}},
    {"ts": MILLIS, "user": "ann", "sku": "a"},
]
REASONS = {
    "price (order.items[*].price) is not of kind decimal: x: order.items[1]",
    "order.items has a null element: order.items[0]",
    "order.items is missing, and an empty list is []; where=... skips payloads without it",
    'order.items is not a list: {"sku":"a"}',
    "kind is missing",
}


def order(random: Random, at: int) -> dict[str, Any]:
    """An order of none to four items."""
    items = [
        {"sku": random.choice("abc"), "price": random.choice(("0.10", 99.5, None)), "how many": random.randrange(1, 4)}
        for _ in range(random.randrange(5))
    ]
    ts = MILLIS + at * 60_000
    return {"kind": "order", "ts": ts, "user": random.choice(("ann", "bob")), "order": {"id": f"o{at}", "items": items}}


def look(random: Random, at: int) -> dict[str, Any]:
    """A look at a product, which has nothing of an order."""
    user = random.choice(("ann", "bob", "eve"))
    return {"kind": random.choice(("view", "click")), "ts": MILLIS + at * 60_000, "user": user, "sku": f"{at}"}


@pytest.mark.slow
def test_two_sources_read_one_folder_and_every_item_is_the_same_previewed_served_and_trained(
    spark: SparkSession, tmp_path: Path
) -> None:
    shutil.copytree(REPOS / "exploded", tmp_path / "exploded", ignore=shutil.ignore_patterns("__pycache__"))
    repo, random = Repo(tmp_path / "exploded"), Random(0)
    repo.apply()
    orders, looks = [order(random, at) for at in range(ORDERS)], [look(random, at) for at in range(LOOKS)]
    shared = tmp_path / "topic"
    shared.mkdir()
    again = orders[::5]
    messages = [*orders, *looks, *BROKEN, *again]
    for number in range(3):
        lines = "".join(f"{json.dumps(each)}\n" for each in messages[number::3])
        (shared / f"{number}.jsonl").write_text(lines)
    at = START + timedelta(days=1)
    try:
        for source in repo.sources.values():
            start(spark, repo, source, Directory(shared, 1)).awaitTermination()
        counted = {name: repo.storage(name).accounts().total() for name in repo.sources}
        sizes = [len(each["order"]["items"]) for each in orders]
        items, empty = sum(sizes) + 2, sum(not size for size in sizes)
        twice = sum(sizes[::5])
        found = counted["items"]
        assert (found.accepted, found.duplicate, found.dead_letter) == (items, twice, len(REASONS))
        assert found.skipped == LOOKS + empty + sum(not size for size in sizes[::5])
        assert found.messages == len(messages) < found.rows_read and found.adds_up
        assert counted["looks"].counts | {"late": 0} == {
            **dict.fromkeys(counted["looks"].counts, 0),
            "rows_read": len(messages),
            "accepted": LOOKS,
            "skipped": len(messages) - LOOKS,
        }
        storages = [repo.storage(name) for name in repo.sources]
        assert [fault for each in storages for fault in audit.faults(each, each.accounts(), opened=True)] == []
        dead = logged.rows(repo.storage("items"), DEAD_LETTER)
        assert {*dead["reason"].to_pylist()} == REASONS
        assert Counter(dead["payload"].to_pylist()) == Counter(map(json.dumps, BROKEN))
        events = {"items": [*orders, *looks, {**BROKEN[0]}, {**BROKEN[1]}], "looks": [*orders, *looks]}
        events["items"][-2] = BROKEN[0] | {"order": {"id": "b0", "items": [{"sku": "a"}]}}
        events["items"][-1] = BROKEN[1] | {"order": {"id": "b1", "items": [{"sku": "c"}]}}
        for night in (False, True):
            for name, source in repo.sources.items():
                if night:
                    gate = nightly(spark, repo, source, START.date()).gate
                    assert gate.passed and gate.checked == counted[name].accepted
                else:
                    build(spark, repo, source)
            for view in repo.views.values():
                previewed = preview(view, events[view.source.name], at)
                served, trained = served_and_trained(repo, view, previewed, at)
                assert served == trained
                if view.source.name == "looks" or "prices" not in [f.name for f in view.features]:
                    assert served == previewed
                else:  # the place of c in its list, and so its id, is another in the preview
                    assert [{**row, "prices": None} for row in served] == [{**row, "prices": None} for row in previewed]
        proof = check(repo, cells=1_000, oracle_cells=300, seed=0)
        assert (proof.differing, proof.oracle_differing) == (0, 0)
        told = explain(repo, "of_product:items", {"sku": "b"}, at).to_dict()
        assert told["left_out"]["refused"]["total"] == 1
    finally:
        redis.stop(embedded_folder(repo.store.config))
