"""Values from records in process: one entity beside NumPy, a training set beside hand-written DuckDB.

The peers get the same events and must give the same bits. DuckDB's are in its own tables before the clock
starts, with whole cents for money; dualpath's are records in an Arrow table, as read from Parquet.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks import shop
from benchmarks.measure import Figure, take_turns
from dualpath.aggregates import Count, Distinct, Max, Mean, Sum
from dualpath.declare import feature, feature_view, view_of
from dualpath.offline import training
from dualpath.plan import plan
from dualpath.values import Dictionary
from dualpath.view import View
from dualpath.windows import DAY, SECOND, days, hours, minutes
from dualpath.words import code

USERS, EVENTS_PER_USER, ROWS, CALLS = 10_000, 100, 100_000, 7
WINDOWS = {f"{n}h": hours(n) for n in (1, 2, 4, 8, 12, 24, 48, 72, 120, 168)}

profile = feature_view(
    "profile",
    entity=shop.user,
    source=shop.events,
    features=[
        feature(f"{name}_{suffix}", aggregate, over=window)
        for suffix, window in WINDOWS.items()
        for name, aggregate in (("actions", Count()), ("spend", Sum("amount")), ("largest", Max("amount")))
    ],
)
activity = feature_view(
    "activity",
    entity=shop.user,
    source=shop.events,
    features=[
        feature("actions_5min", Count(), over=minutes(5)),
        feature("purchases_30min", Count(where="action = 'purchase'"), over=minutes(30)),
        feature("spend_1h", Sum("amount"), over=hours(1)),
        feature("mean_amount_24h", Mean("amount"), over=hours(24)),
        feature("max_amount_7d", Max("amount"), over=days(7)),
        feature("interests_24h", Distinct("category"), over=hours(24)),
    ],
)
BY_HAND = f"""
SELECT r.row,
    count(e.time) FILTER (e.time > as_of - {300 * SECOND}) AS actions_5min,
    count(e.time) FILTER (e.time > as_of - {1800 * SECOND} AND action = 'purchase') AS purchases_30min,
    coalesce(sum(amount) FILTER (e.time > as_of - {3600 * SECOND}), 0)::DOUBLE / 100 AS spend_1h,
    sum(amount) FILTER (e.time > as_of - {DAY})::DOUBLE
        / (count(amount) FILTER (e.time > as_of - {DAY}) * 100) AS mean_amount_24h,
    max(amount)::DOUBLE / 100 AS max_amount_7d,
    coalesce(list_sort(list(DISTINCT category) FILTER (e.time > as_of - {DAY})), []) AS interests_24h
FROM asked r LEFT JOIN events e ON e.user_id = r.user_id AND e.time > as_of - {7 * DAY} AND e.time <= as_of
GROUP BY r.row
"""


def run() -> Iterator[Figure]:
    """The two figures."""
    yield _one_entity()
    yield _training_set()


def _declared(table: Any) -> View:
    view = view_of(table)
    assert view is not None, "it is windowed"
    return view


def _one_entity() -> Figure:
    """Thirty features of one entity with 500 records, at random instants."""
    events = shop.Events.draw(1, (500, 500), days=8)
    chosen = plan(_declared(profile))
    words, spans = events.words(chosen.view), np.array([[0, 500]])
    cents = np.where(events.bought, events.amount, 0)
    widths = [(suffix, window.width) for suffix, window in WINDOWS.items()]

    def by_hand(as_of: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        b = np.searchsorted(events.time, as_of, side="right")
        for suffix, width in widths:
            a = np.searchsorted(events.time, as_of - width, side="right")
            part = cents[a:b]
            most = part.max(initial=0)
            values[f"actions_{suffix}"] = b - a
            values[f"spend_{suffix}"] = part.sum() / 100
            values[f"largest_{suffix}"] = most / 100 if most else None
        return values

    def compare(as_of: int, answers: Mapping[str, Any]) -> None:
        ours = {
            name: None if found.valid is not None and not found.valid[0] else found.data[0]
            for name, found in answers["dualpath"].items()
        }
        assert ours == answers["NumPy by hand"], as_of

    return take_turns(
        "1 entity x 30 features, 500 records",
        {
            "dualpath": lambda as_of: chosen.evaluate(words, spans, np.array([as_of])),
            "NumPy by hand": by_hand,
        },
        (shop.AS_OF - np.random.default_rng(2).integers(0, DAY, 2_200)).tolist(),
        compare,
        warm_up=200,
    )


def _training_set() -> Figure:
    """Rows of (user, instant), six features each, from events in random order."""
    view = _declared(activity)
    names = [f.name for f in view.features]
    events = shop.Events.draw(USERS, (EVENTS_PER_USER, EVENTS_PER_USER), days=8)
    shuffled = np.random.default_rng(3).permutation(len(events.user))
    users = pa.array([shop.name(n) for n in range(USERS)])
    owner = users.take(pa.array(events.user[shuffled]))
    records = pa.table({"entity": owner, "words": shop.lists(events.words(view)[shuffled])})
    texts = Dictionary.of(pa.array([code(c) for c in shop.CATEGORIES]), pa.array(shop.CATEGORIES))
    connection = duckdb.connect()
    log = pa.table(
        {
            "user_id": owner,
            "time": events.time[shuffled],
            "action": pa.array(shop.ACTIONS).take(pa.array(events.action[shuffled])),
            "category": pa.array(shop.CATEGORIES).take(pa.array(events.category[shuffled])),
            "amount": pa.array(events.amount[shuffled], mask=~events.bought[shuffled]),
        }
    )
    connection.register("log", log)
    connection.execute("CREATE TABLE events AS FROM log")

    def drawn() -> Iterator[pa.Table]:
        rng = np.random.default_rng(4)
        for _ in range(CALLS + 1):
            who = users.take(pa.array(rng.integers(0, USERS, ROWS)))
            as_of = shop.AS_OF - rng.integers(0, DAY, ROWS)
            asked = pa.table({"row": np.arange(ROWS), "user_id": who, "as_of": as_of})
            connection.register("given", asked)
            connection.execute("CREATE OR REPLACE TABLE asked AS FROM given")
            yield asked

    def ours(asked: pa.Table) -> pa.Table:
        entity = asked["user_id"].combine_chunks()
        return pa.table(training.values(view, names, entity, asked["as_of"].to_numpy(), records, lambda _: texts))

    def compare(_: pa.Table, answers: Mapping[str, pa.Table]) -> None:
        by_hand = answers["DuckDB by hand"].sort_by("row").drop_columns("row").cast(answers["dualpath"].schema)
        for name in names:
            assert answers["dualpath"][name].equals(by_hand[name]), name

    return take_turns(
        "100,000 rows x 6 features, 1M events",
        {"dualpath": ours, "DuckDB by hand": lambda _: connection.sql(BY_HAND).to_arrow_table()},
        drawn(),
        compare,
    )
