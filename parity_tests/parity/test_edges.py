"""Where a well-known system disagrees with itself, and where coarse windows begin: on every path, with the oracle.

The events are few and written by hand, so the answers are known without the oracle too. The stream reads a part of
them, a night publishes the snapshot, the stream reads the rest: served state is a snapshot and arrival days.
"""

import json
import shutil
from bisect import bisect_right
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import Count
from dualpath.errors import InputError
from dualpath.jobs.build import build
from dualpath.jobs.nightly import nightly
from dualpath.online import manifest
from dualpath.online.connection import connect, embedded_folder
from dualpath.parity.compare import differences
from dualpath.parity.oracle import oracle
from dualpath.parity.oracle_runner import answers
from dualpath.parity.views import ViewGroup, serve, train
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.view import Feature, View
from dualpath.windows import DAY, SECOND, hours
from parity_tests import faults
from parity_tests.conftest import SOURCE, drain
from parity_tests.events import dictionary, records, values
from parity_tests.repository.test_paths import serve_one_by_one, train_on_spark
from parity_tests.strategies import CLICKS, at

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
MIDNIGHT = at(2026, 3, 5)
"""Where the snapshot ends: what arrives before is in it, what arrives from here on is in arrival days."""
NOON = MIDNIGHT - 12 * HOUR

HOT = """
from datetime import timedelta

from entities import product
from sources import shop_events

from dualpath.aggregates import Count
from dualpath.declare import feature, feature_view
from dualpath.windows import hours

for seconds in (1, 60):
    globals()[f"hot_{seconds}s"] = feature_view(
        f"hot_{seconds}s",
        entity=product,
        source=shop_events,
        resolution=timedelta(seconds=seconds),
        features=[feature("views_1h", Count(where="action = 'view_item'"), over=hours(1))],
    )
"""


def event(user: str, when: int, action: str = "view", *, delay: int = 0, **fields: Any) -> tuple[int, bytes]:
    """When an event arrives, and its payload; times in microseconds UTC, `delay` from the event to its arrival."""
    stamps = {"event_time": when, "arrival_time": when + delay}
    plain = {"user_id": user, "action": action, **{k: f"{np.datetime64(t, 'us')}Z" for k, t in stamps.items()}}
    return when + delay, json.dumps(plain | fields).encode()


def bought(user: str, when: int, amount: str, *, delay: int = 0) -> tuple[int, bytes]:
    """A purchase of one line."""
    return event(user, when, "purchase", delay=delay, amount=amount, order_value=amount, category=amount)


CUT_OFF = [
    bought("edge", MIDNIGHT - 1, "1.00"),
    bought("edge", MIDNIGHT - 1, "2.00", delay=2),
    bought("edge", MIDNIGHT, "4.00", delay=-1),
    bought("edge", MIDNIGHT, "8.00"),
    bought("edge", MIDNIGHT + 1, "16.00"),
]
"""On the last microsecond of a day, the first and the second; on each, what is in the snapshot and what is not."""
THREE_DAYS_LATE = [
    bought("late", MIDNIGHT - 2 * DAY, "10.00"),
    bought("late", MIDNIGHT - 3 * DAY + 7, "30.00", delay=3 * DAY),
    bought("late", MIDNIGHT - 3 * DAY + 8, "50.00", delay=3 * DAY),
]
CORRECTION = [
    bought("corrected", NOON, "100.00"),
    event("corrected", NOON + 10 * MINUTE),
    bought("corrected", NOON + 20 * MINUTE, "-40.00", delay=DAY),
]

KNOWN: list[tuple[str, int, str, Any]] = [
    # The window begins at the snapshot's end: open on the left, so what happened there is out.
    ("edge", MIDNIGHT + 30 * MINUTE - 2, "actions_30min", 5),
    ("edge", MIDNIGHT + 30 * MINUTE - 1, "actions_30min", 3),
    ("edge", MIDNIGHT + 30 * MINUTE, "actions_30min", 1),
    ("edge", MIDNIGHT + 30 * MINUTE + 1, "actions_30min", 0),
    ("edge", MIDNIGHT + 7 * DAY - 2, "user_7d_orders", 5),
    ("edge", MIDNIGHT + 7 * DAY - 1, "user_7d_orders", 3),
    ("edge", MIDNIGHT + 7 * DAY, "user_7d_orders", 1),
    ("edge", MIDNIGHT + 7 * DAY, "user_7d_avg_order_value", 16.0),
    # The day begins there: its first microsecond is of the new day.
    ("edge", MIDNIGHT - 1, "spend_today", 3.0),
    ("edge", MIDNIGHT, "spend_today", 12.0),
    ("edge", MIDNIGHT + 1, "spend_today", 28.0),
    ("edge", MIDNIGHT, "interests_1h", ["1.00", "2.00", "4.00", "8.00"]),
    # The late batch counts from when it happened to when it leaves, whatever was published meanwhile.
    ("late", MIDNIGHT - 3 * DAY + 7, "user_7d_avg_order_value", 30.0),
    ("late", MIDNIGHT, "user_7d_orders", 3),
    ("late", MIDNIGHT + 4 * DAY + 6, "user_7d_avg_order_value", 30.0),
    ("late", MIDNIGHT + 4 * DAY + 7, "user_7d_avg_order_value", 30.0),
    ("late", MIDNIGHT + 4 * DAY + 7, "user_7d_orders", 2),
    ("late", MIDNIGHT + 4 * DAY + 8, "user_7d_orders", 1),
    ("late", MIDNIGHT + 5 * DAY, "user_7d_avg_order_value", None),
    # The correction arrives a day after the half hour it belongs to.
    ("corrected", NOON + 20 * MINUTE - 1, "actions_30min", 2),
    ("corrected", NOON + 20 * MINUTE, "actions_30min", 3),
    ("corrected", NOON + 20 * MINUTE, "spend_today", 60.0),
    ("corrected", NOON + 30 * MINUTE, "actions_30min", 2),
    ("corrected", NOON + 50 * MINUTE, "actions_30min", 0),
    ("corrected", NOON + 50 * MINUTE, "spend_today", 60.0),
    ("corrected", NOON + DAY, "spend_today", 0.0),
]
"""User, instant, feature and the answer, worked out by hand."""


def views_of_a_product(start: int, number: int, seed: int) -> list[int]:
    """When a product is viewed within the hour from `start`: anywhere, and on minutes and one microsecond off them."""
    random = np.random.default_rng(seed)
    times = start + random.integers(0, HOUR, number)
    near = random.random(number) < 0.2
    jitter = random.integers(-1, 2, number)
    return np.where(near, times // MINUTE * MINUTE + jitter, times).tolist()


VIEWED = views_of_a_product(MIDNIGHT - HOUR // 2, 3_000, seed=1)
"""Half of the hour is in the snapshot, half in an arrival day."""
VIEWS = [event(f"u{n % 7}", t, "view_item", product_id="hot", quantity=n) for n, t in enumerate(VIEWED)]


@pytest.fixture(scope="module")
def shop(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, applied: Path) -> Iterator[Repo]:
    """The shop with a hot product, its snapshot through the day before MIDNIGHT and arrival days after it."""
    folder = tmp_path_factory.mktemp("edges") / "feature_repo"
    shutil.copytree(applied, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "hot.py").write_text(HOT)
    repo = Repo(folder)
    repo.apply()
    arrivals = sorted([*CUT_OFF, *THREE_DAYS_LATE, *CORRECTION, *VIEWS], key=lambda each: each[0])
    before = bisect_right([when for when, _ in arrivals], MIDNIGHT - 1)
    lines = [line for _, line in arrivals]
    try:
        faults.post(repo, lines[:before])
        drain(spark, repo)
        nightly(spark, repo, repo.sources[SOURCE], date(2026, 3, 4))
        faults.post(repo, lines[before:], files=2)
        drain(spark, repo, files_per_batch=1)
        build(spark, repo, repo.sources[SOURCE])
        yield repo
    finally:
        redis.stop(embedded_folder(repo.store.config))


PATHS = {"served": serve, "served one by one": serve_one_by_one, "trained": train, "trained on Spark": train_on_spark}


def truth(repo: Repo, group: ViewGroup, who: list[str], as_of: np.ndarray) -> dict[str, list[Any]]:
    """What the oracle says of every feature."""
    columns: dict[str, list[Any]] = {}
    for view in group.views:
        found = answers(view, [faults.log(repo)], [((name,), int(t)) for name, t in zip(who, as_of, strict=True)])
        columns |= {f"{view.name}:{f.name}": [row[f.name] for row in found] for f in view.features}
    return columns


def test_what_is_served_is_a_snapshot_and_arrival_days(shop: Repo) -> None:
    for name in shop.views:
        known = manifest.read(connect(shop.redis_address), shop.project, name)
        assert (known.snapshot, known.arrival_days[0]) == ("2026-03-04", "2026-03-05")
    assert faults.counts(shop)["accepted"] == len(CUT_OFF + THREE_DAYS_LATE + CORRECTION + VIEWS)


@pytest.mark.parametrize("path", PATHS)
def test_a_cut_off_a_late_batch_and_a_late_correction_change_no_path(path: str, shop: Repo) -> None:
    views = (shop.views["user_activity"], shop.views["user_orders"])
    refs = {f.name: f"{view.name}:{f.name}" for view in views for f in view.features}
    group = ViewGroup(views, tuple(refs.values()))
    who, as_of = [user for user, *_ in KNOWN], np.array([t for _, t, *_ in KNOWN])
    found = PATHS[path](shop, group, [pa.array(who)], as_of)
    assert differences(found, truth(shop, group, who, as_of)) == []
    for row, (_, _, feature, answer) in enumerate(KNOWN):
        assert differences({feature: [found[refs[feature]][row]]}, {feature: [answer]}) == [], KNOWN[row]


def around(edges: np.ndarray) -> np.ndarray:
    """Each instant, and one microsecond either side."""
    return np.sort(np.r_[edges - 1, edges, edges + 1])


HOT_VIEWS = {"product_activity": ("product_views_last_hour", 1), "hot_1s": ("views_1h", SECOND)}
HOT_VIEWS["hot_60s"] = ("views_1h", MINUTE)
"""The views of a product: the feature, and the resolution in microseconds."""
HOUR_AFTER = MIDNIGHT + HOUR // 2
"""From here on the product is viewed no more, and the views leave the window bucket by bucket."""


def hot(repo: Repo, name: str) -> ViewGroup:
    """One view of the product."""
    return ViewGroup((repo.views[name],), (f"{name}:{HOT_VIEWS[name][0]}",))


@pytest.mark.parametrize("path", ["trained", "trained on Spark"])
@pytest.mark.parametrize("name", HOT_VIEWS)
def test_every_training_path_moves_the_left_edge_alike_while_views_come_and_go(
    name: str, path: str, shop: Repo
) -> None:
    as_of = around(np.arange(MIDNIGHT - HOUR // 2, MIDNIGHT + 2 * HOUR, 3 * MINUTE))
    who = ["hot"] * len(as_of)
    found = PATHS[path](shop, hot(shop, name), [pa.array(who)], as_of)
    assert differences(found, truth(shop, hot(shop, name), who, as_of)) == []
    assert max(found[hot(shop, name).refs[0]]) > 2_900


@pytest.mark.parametrize("name", HOT_VIEWS)
def test_serving_moves_the_left_edge_as_training_does(name: str, shop: Repo) -> None:
    """After the last view, so that no bucket has to be cut on the right: at every minute, then within one."""
    minute = np.arange(0, MINUTE, SECOND)
    as_of = around(np.r_[np.arange(0, HOUR + MINUTE, MINUTE), 20 * MINUTE + minute] + HOUR_AFTER + MINUTE)
    who = pa.array(["hot"] * len(as_of))
    found = serve(shop, hot(shop, name), [who], as_of)
    assert differences(found, truth(shop, hot(shop, name), who.to_pylist(), as_of)) == []
    assert differences(found, train(shop, hot(shop, name), [who], as_of)) == []
    assert len(set(found[hot(shop, name).refs[0]])) > 50


@pytest.mark.parametrize("name", ["hot_1s", "hot_60s"])
def test_among_the_views_serving_answers_as_training_does_or_says_that_a_bucket_would_be_cut(
    name: str, shop: Repo
) -> None:
    group, (_, width) = hot(shop, name), HOT_VIEWS[name]
    times, refused = np.sort(VIEWED), 0
    for as_of in around(np.arange(MIDNIGHT - 3 * MINUTE, MIDNIGHT + 6 * MINUTE, MINUTE)):
        asked = [pa.array(["hot"])], np.array([as_of])
        try:
            found = serve(shop, group, *asked)
        except InputError as error:
            bucket = times[times // width == as_of // width]
            assert bucket.min() <= as_of < bucket.max() and "lies inside a bucket" in error.message
            refused += 1
        else:
            assert differences(found, train(shop, group, *asked)) == []
    assert refused > 0


@pytest.mark.parametrize("width", [SECOND, MINUTE])
def test_exact_and_coarse_differ_by_the_events_in_the_bucket_that_the_left_edge_cuts(width: int) -> None:
    """Twenty thousand views in an hour, through the core, at every bucket's edge and beside it."""
    start = at(2026, 3, 4, 10)
    times = np.sort(views_of_a_product(start, 20_000, seed=2))
    as_of = around(np.arange(start - MINUTE, start + 2 * HOUR + MINUTE, width))
    over, nothing = hours(1), dict.fromkeys(field.name for field in CLICKS.fields)
    events = [{**nothing, "event_id": f"{n}", "event_time": t, "user": "hot"} for n, t in enumerate(times.tolist())]
    found = {}
    for resolution in (1, width):
        view = View("hot", ("user",), CLICKS, (Feature("views", Count(), over),), resolution)
        _, words = records(view, events)
        found[resolution] = np.array(values(view, words, as_of.tolist(), dictionary(view, []))["views"])
        few = as_of[:: len(as_of) // 5].tolist()
        judged = [oracle(view, events, ("hot",), instant) for instant in few]
        picked = found[resolution][:: len(as_of) // 5].tolist()
        assert differences({"views": picked}, {"views": [row["views"] for row in judged]}) == []
    left = as_of - HOUR
    known = np.searchsorted(times, as_of, side="right")
    # Everything up to the left edge, and everything before the bucket of the first microsecond after it.
    exact, coarse = (
        known - np.searchsorted(times, edge, side="right") for edge in (left, (left + 1) // width * width - 1)
    )
    assert differences(found, {1: exact.tolist(), width: coarse.tolist()}) == []
    sample = slice(None, None, 37)
    cut = [((times > (t + 1) // width * width - 1) & (times <= t)).sum() for t in left[sample]]
    assert (found[width] - found[1])[sample].tolist() == cut and min(cut) == 0 < max(cut)
