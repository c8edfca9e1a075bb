"""Answers that others gave: SQL written by hand, and decay as other feature stores published it.

The SQL shares nothing with dualpath. `NOW()` is the instant asked for, and what happens after it is invisible. Where
SQL has a null of its own, dualpath has an empty value, and that is all that lies between them:

| SQL | gives | dualpath | gives |
|---|---|---|---|
| `array_agg` of no rows | NULL | `Distinct` | `[]` |
| `array_agg` where a value is null | a list that holds a null | `Distinct` | a list without it |
| `array_agg` | a list in any order | `Distinct` | ascending, texts by UTF-8 bytes |
| `SUM` of no rows | NULL | `Sum` | 0 |
| `SUM` of decimals | a decimal | `Sum` | the double nearest to it |
| `COUNT` of no rows | 0 | `Count` | 0 |
| `MAX` of no rows | NULL | `Max` | null |
| `MAX` of timestamps | a timestamp | `Max` | microseconds since 1970 UTC |
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import DecayedSum
from dualpath.demo.datasets import ga4_shop_events
from dualpath.jobs.build import build
from dualpath.parity.compare import differences
from dualpath.parity.events import read
from dualpath.parity.sample import draw
from dualpath.parity.views import ViewGroup, serve, train
from dualpath.repo import Repo
from dualpath.view import Feature, View
from dualpath.windows import DAY, SECOND, days
from parity_tests.conftest import SOURCE, deliver, drain
from parity_tests.events import dictionary, records, values
from parity_tests.strategies import CLICKS, at

EDGES, RANDOM = 700, 300
"""Of the instants: how many are chosen to hurt, how many lie anywhere among the events."""

SQL = """
SELECT
    COUNT(*) FILTER (WHERE ts > now - INTERVAL '5 minutes') AS actions_5min,
    COUNT(*) FILTER (WHERE ts > now - INTERVAL '30 minutes') AS actions_30min,
    array_agg(DISTINCT category) FILTER (WHERE ts > now - INTERVAL '1 hour') AS interests_1h,
    SUM(CASE WHEN action = 'purchase' THEN amount ELSE 0 END) FILTER (WHERE ts >= date_trunc('day', now))
        AS spend_today,
    MAX(ts) AS last_active,
    CASE
        WHEN COUNT(*) FILTER (WHERE ts > now - INTERVAL '5 minutes') > 10 THEN 'highly_engaged'
        WHEN COUNT(*) FILTER (WHERE ts > now - INTERVAL '30 minutes') > 5 THEN 'active'
        ELSE 'browsing'
    END AS engagement_level
FROM asked
LEFT JOIN (SELECT DISTINCT * EXCLUDE (arrival_time) RENAME (event_time AS ts) FROM delivered) AS events
    ON events.user_id = asked.user_id AND ts <= now
GROUP BY number, now
ORDER BY number
"""
"""`asked` has a `number`, a `user_id` and a `now` per row; days begin at midnight UTC, the session's time zone."""

KNOWN_SQL = """
SELECT COUNT(ts) AS actions_30min
FROM asked
LEFT JOIN (SELECT * RENAME (event_time AS ts) FROM log) AS events
    ON events.user_id = asked.user_id AND ts > now - INTERVAL '30 minutes' AND ts <= now AND arrival_time <= known_at
GROUP BY number
ORDER BY number
"""
"""The same without hindsight; a delivery that was repeated arrived when the log says."""

FEATURES = {
    "user_activity:actions_5min": int,
    "user_activity:actions_30min": int,
    "user_activity:interests_1h": lambda found: sorted(c for c in found or [] if c is not None),
    "user_activity:spend_today": lambda found: float(found or 0),
    "user_activity:last_active": lambda found: found and (found - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND,
    "engagement:engagement_level": str,
}
"""Each of the query's columns, and what the nulls and types of SQL become."""
MICROSECOND = timedelta(microseconds=1)
MINUTE = 60 * SECOND


@pytest.fixture(scope="module", params=["generated", pytest.param("ga4", marks=pytest.mark.slow)])
def delivered(request: pytest.FixtureRequest, shop_events: pa.Table) -> pa.Table:
    """Shop events as they are delivered, repetitions included."""
    if request.param == "generated":
        return shop_events
    if "DUALPATH_DATA" not in os.environ:
        pytest.skip("DUALPATH_DATA is not set; point it at the folder that holds the dataset files")
    return ga4_shop_events(Path(os.environ["DUALPATH_DATA"]))


@pytest.fixture(scope="module")
def shop(spark: SparkSession, new_repo: Callable[[], Repo], delivered: pa.Table) -> Repo:
    """A repo whose stream and whose batch have read them."""
    repo = new_repo()
    deliver(repo, delivered, rows_per_file=20_000)
    drain(spark, repo, files_per_batch=4)
    build(spark, repo, repo.sources[SOURCE])
    return repo


@pytest.fixture(scope="module")
def asked(shop: Repo, delivered: pa.Table) -> tuple[list[pa.Array], np.ndarray]:
    """A thousand users and instants."""
    [users], instants = draw(delivered.to_batches, [shop.views["user_activity"]], EDGES, seed=11)
    random, times = np.random.default_rng(12), delivered["event_time"].cast(pa.int64()).to_numpy()
    anyone = delivered["user_id"].take(pa.array(random.integers(0, len(delivered), RANDOM))).combine_chunks()
    anywhen = random.integers(times.min(), times.max(), RANDOM)
    return [pa.concat_arrays([users, anyone])], np.r_[instants, anywhen]


@pytest.fixture(scope="module")
def by_hand(delivered: pa.Table, asked: tuple[list[pa.Array], np.ndarray]) -> dict[str, list[Any]]:
    """What the SQL answers."""
    [users], instants = asked
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("delivered", delivered)
        now = pa.array(instants).cast(pa.timestamp("us", "UTC"))
        connection.register("asked", pa.table({"number": np.arange(len(now)), "user_id": users, "now": now}))

        columns = zip(*connection.execute(SQL).fetchall(), strict=True)
    return {name: list(map(plain, column)) for (name, plain), column in zip(FEATURES.items(), columns, strict=True)}


@pytest.mark.parametrize("path", [serve, train], ids=["served", "trained"])
def test_a_thousand_values_of_every_feature_are_those_of_sql_written_by_hand(
    path: Callable[..., dict[str, list[Any]]],
    shop: Repo,
    asked: tuple[list[pa.Array], np.ndarray],
    by_hand: dict[str, list[Any]],
) -> None:
    group = ViewGroup((shop.views["user_activity"],), tuple(FEATURES))
    assert differences(path(shop, group, *asked), by_hand) == []
    assert {len(column) for column in by_hand.values()} == {EDGES + RANDOM}


def test_the_thousand_instants_see_every_kind_of_answer(by_hand: dict[str, list[Any]]) -> None:
    """Users who are unknown, idle, browsing and busy, before their first event and on both sides of each edge."""
    seen = {name.partition(":")[2]: column for name, column in by_hand.items()}
    assert set(seen["engagement_level"]) == {"highly_engaged", "active", "browsing"}
    assert {0, 1, 5, 6} <= set(seen["actions_30min"]) and {0, 10, 11} <= set(seen["actions_5min"])
    assert [] in seen["interests_1h"] and max(map(len, seen["interests_1h"])) > 1
    assert None in seen["last_active"] and 0.0 in seen["spend_today"] and max(seen["spend_today"]) > 0


def test_what_had_arrived_is_what_sql_written_by_hand_counts(
    shop: Repo, asked: tuple[list[pa.Array], np.ndarray]
) -> None:
    """A quarter of the rows know nothing of the last ten minutes, others are asked at the instant of an arrival."""
    [users], instants = asked
    log = read(shop.storage(SOURCE), shop.sources[SOURCE])
    random, arrived = np.random.default_rng(13), log["arrival_time"].cast(pa.int64()).to_numpy()
    kinds = [instants, instants - 10 * MINUTE, random.choice(arrived, len(instants)), instants + 10 * MINUTE]
    known_at = np.choose(random.integers(0, len(kinds), len(instants)), kinds)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("log", log)
        now, known = (pa.array(each).cast(pa.timestamp("us", "UTC")) for each in (instants, known_at))
        connection.register(
            "asked", pa.table({"number": np.arange(len(now)), "user_id": users, "now": now, "known_at": known})
        )
        counts = [int(count) for (count,) in connection.execute(KNOWN_SQL).fetchall()]
    group = ViewGroup((shop.views["user_activity"],), ("user_activity:actions_30min",))
    trained = train(shop, group, [users], instants, known={"known_at": known_at.astype("datetime64[us]")})
    assert differences(trained, {group.refs[0]: counts}) == []
    assert differences(trained, train(shop, group, [users], instants)) != []


NOW = at(2024, 3, 31, 12)
PUBLISHED = [
    (3.25, 5.6213, 1.625, {0: 1, 1: 1, 2: 5, 3: 4}),
    (-2.0, -2.8284, -1.0, {1: -4}),
    (4.0, 5.0, 2.0, {0: 3, 2: 4}),
]
"""Published: the decayed sum with a half-life of one day, with one of two days (rounded to four digits), and with
one day again a day later. Of the inputs nothing but the answers was at hand; these, as the value at each age in
days, are the ones with the fewest and smallest whole values at ages up to three days that give the first two,
found by trying all values from -6 to 6. With v at age a, the answers are the sums of v / 2^a and of v / 2^(a/2);
5.6213 is 3.5 + 3 / sqrt(2), so 1 + 5/2 = 3.5, 1 + 4/2 = 3 and 1 + 1/2 + 5/4 + 4/8 = 3.25."""


def decayed(inputs: dict[int, int], half_life: int, later: int = 0) -> float:
    """The decayed sum of `{age in days: value}` at NOW and as many days later; the half-life is in days, too."""
    aggregate = DecayedSum("quantity", half_life=half_life * 86_400)
    view = View("scores", ("user",), CLICKS, (Feature("score", aggregate, days(30)),))
    nothing = dict.fromkeys(field.name for field in CLICKS.fields)
    events = [
        {**nothing, "event_id": f"{age}", "event_time": NOW - age * DAY, "arrival_time": NOW, "quantity": value}
        | {"user": "ann"}
        for age, value in inputs.items()
    ]
    _, words = records(view, events)
    [found] = values(view, words, [NOW + later * DAY], dictionary(view, events))["score"]
    return found


def exactly(inputs: dict[int, int], half_life: int) -> float:
    """The same sum with forty digits, rounded once."""
    with localcontext() as context:
        context.prec = 40
        return float(sum(value / Decimal(2) ** (Decimal(age) / half_life) for age, value in inputs.items()))


@pytest.mark.parametrize(("one_day", "two_days", "a_day_later", "inputs"), PUBLISHED)
def test_decay_gives_the_published_answers(
    one_day: float, two_days: float, a_day_later: float, inputs: dict[int, int]
) -> None:
    found: dict[str, Sequence[float]] = {
        "one day": [decayed(inputs, 1), exactly(inputs, 1)],
        "two days": [round(decayed(inputs, 2), 4)],
        "a day later": [decayed(inputs, 1, later=1)],
    }
    published = {"one day": [one_day] * 2, "two days": [two_days], "a day later": [a_day_later]}
    assert differences(found, published) == []


@pytest.mark.parametrize("inputs", [inputs for *_, inputs in PUBLISHED])
def test_decay_is_rounded_as_exact_arithmetic_is(inputs: dict[int, int]) -> None:
    """Wherever at most one power is not a whole one of two; two roots in one sum are rounded one by one."""
    roots = {age: value for age, value in inputs.items() if age % 2}
    cases = [{age: value for age, value in inputs.items() if not age % 2}, *({age: v} for age, v in roots.items())]
    for case in cases:
        assert differences({"score": [decayed(case, 2)]}, {"score": [exactly(case, 2)]}) == []
