"""Thousands of drawn requests: every shape of keys, instants, aliases and services.

Whatever a user hands over means the same online and in training, or is refused by both in a sentence.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualpath.repo import Repo
from parity_tests.feast.boundary.asking import BIG, REFS, SHOPS, START, USERS, agree, said, served

SECOND = timedelta(seconds=1)
BERLIN = ZoneInfo("Europe/Berlin")
KEYS = {"user_id": "text", "author_id": "text", "reader_id": "text", "shop_id": "integer", "seller_id": "integer"}


def instant(when: datetime) -> st.SearchStrategy[Any]:
    """One instant, as different users write it."""
    naive = when.replace(tzinfo=None)
    return st.sampled_from(
        [
            when,
            naive,
            when.astimezone(BERLIN),
            pd.Timestamp(when),
            pd.Timestamp(naive),
            np.datetime64(naive, "us"),
            when.isoformat(),
            naive.isoformat(" "),
            when.strftime("%Y%m%dT%H%M%S.%f%z"),
        ]
    )


def instants(first: timedelta) -> st.SearchStrategy[Any]:
    """From some time after the first order until the last is long past; one in twenty is none."""
    moments = st.integers(first // SECOND, 10 * 86_400).map(lambda s: START + timedelta(seconds=s))
    far = [datetime(year, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC) for year in (1, 1677, 2262, 2500, 9999)]
    distant = st.sampled_from([when for when in far if when > START or first < timedelta(0)])
    right = (moments | moments.map(lambda when: when + timedelta(microseconds=1)) | distant).flatmap(instant)
    wrong = st.sampled_from(
        [None, pd.NaT, 1_772_625_600, 1.5, "04.03.2026", "2026-03-04 12:00 PST", b"2026-03-04", "2026"]
    )
    return st.integers(0, 19).flatmap(lambda chance: wrong if chance == 13 else right)


RIGHT: dict[str, list[Any]] = {
    "text": [*USERS, *USERS, "nobody", 7, 7.0, np.str_("ann"), UUID(int=5), None, float("nan"), pd.NA],
    "integer": [
        *SHOPS,
        *SHOPS,
        99,
        7.0,
        float(BIG),
        np.int64(BIG),
        Decimal(7),
        "7",
        str(BIG),
        None,
        float("nan"),
        pd.NaT,
    ],
}

WRONG: dict[str, list[Any]] = {
    "text": [7.5, True, b"ann", ["ann"], "\ud800", datetime(2026, 3, 4), {}, 2.0**60],
    "integer": [7.5, True, b"7", "07", "abc", "", 2**63, 2.0**60, UUID(int=5), [7], float("inf")],
}

CONTAINERS: list[Callable[[list[Any]], Any]] = [
    list,
    lambda values: pd.Series(values, dtype=object),
    pd.Series,
    lambda values: pd.Series(values).astype("category"),
    lambda values: pd.Series(values).convert_dtypes(),
    lambda values: pd.array(values).astype(object),
    lambda values: np.array([*values, None], dtype=object)[:-1],  # a list within stays a list
]


@st.composite
def columns(draw: st.DrawFn, keys: list[str], first: timedelta) -> dict[str, Any]:
    """Entity rows as columns: keys in any of Python's and pandas' types, in any order, one value in thirty wrong."""
    rows = draw(st.integers(1, 5))
    found: dict[str, Any] = {}
    for key in draw(st.permutations(keys)):
        kind = KEYS[key]
        right, wrong = st.sampled_from(RIGHT[kind]), st.sampled_from(WRONG[kind])
        value = st.integers(0, 29).flatmap(lambda n, right=right, wrong=wrong: wrong if n == 17 else right)
        values = draw(st.lists(value, min_size=rows, max_size=rows))
        try:
            found[key] = draw(st.sampled_from(CONTAINERS))(values)
        except (TypeError, ValueError, pa.ArrowException, UnicodeError, OverflowError):
            found[key] = values  # pandas has no such column
    found["event_timestamp"] = draw(st.lists(instants(first), min_size=rows, max_size=rows))
    return found


@st.composite
def requests(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    """Features, by their names in any order or by a service, and entity rows for them, some with a key too many."""
    wanted = draw(
        st.sampled_from(["everything", "windowed", "aliased"])
        | st.lists(st.sampled_from(REFS), min_size=1, unique=True)
    )
    if isinstance(wanted, str):
        needed = ["author_id", "reader_id", "seller_id"] if wanted == "aliased" else ["user_id", "shop_id"]
        stray = ["user_id", "shop_id"] if wanted == "aliased" else []
    else:
        views = {ref.split(":")[0] for ref in wanted}
        needed = ["user_id"] * bool(views - {"shop_orders"}) + ["shop_id"] * bool(
            views & {"shop_orders", "pair_orders"}
        )
        stray = [key for key in ("user_id", "shop_id", "author_id") if key not in needed]
    # The online store has the newest row of an ordinary view, training all of them.
    ordinary = wanted == "everything" or any(ref.startswith(("user_profile", "derived")) for ref in wanted)
    first = timedelta(days=3) if ordinary else timedelta(days=-1)
    found = draw(columns(needed, first))
    rows = len(found["event_timestamp"])
    strays = {name: [None, "ann"][:rows] + ["x"] * (rows - 2) for name in stray if draw(st.booleans())}
    return wanted, strays | found if draw(st.booleans()) else found | strays


@pytest.mark.slow
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(asked=requests())
def test_online_and_training_agree_on_every_request(repo: Repo, asked: tuple[Any, dict[str, Any]]) -> None:
    wanted, given_columns = asked
    features = repo.store.get_feature_service(wanted) if isinstance(wanted, str) else wanted
    agree(repo, features, given_columns)


ROWS = st.dictionaries(
    st.sampled_from(["user_id", "shop_id", "user", "event_timestamp", "stray"]),
    st.sampled_from(["ann", 7, None, 7.5, START, "2026-03-04", [], {}, b"x"]),
)

LISTS = st.lists(st.sampled_from(["ann", "7", None, 7, START, "2026-03-04"]), max_size=3)

SHAPES = (
    st.lists(ROWS | st.sampled_from([None, "ann", 7, []]), max_size=3)
    | st.dictionaries(
        st.sampled_from(["user_id", "shop_id", "user", "event_timestamp", "stray"]), LISTS | st.just("ann") | st.none()
    )
    | st.sampled_from([None, "ann", 7, (), [[]], pd.DataFrame({"user_id": ["ann"]})])
)


@settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(rows=SHAPES, features=st.lists(st.sampled_from(REFS), min_size=1, max_size=3, unique=True))
def test_a_request_of_any_shape_is_answered_row_by_row_or_refused_in_a_sentence(
    repo: Repo, rows: Any, features: list[str]
) -> None:
    answer = said(lambda: served(repo.store, features, rows))
    if answer.values is None:
        assert answer.refusal
        return
    count = len(rows) if isinstance(rows, list) else len(next(iter(rows.values())))
    assert {len(values) for values in answer.values.values()} == {count}
