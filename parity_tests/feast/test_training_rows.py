"""Training sets without an `entity_df`: the rows are the events of a span of time."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, Field, ValueType
from feast.types import String

from dualpath.aggregates import Count
from dualpath.declare import event_source, feature, feature_view
from dualpath.errors import InputError
from dualpath.feast import training_rows
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED
from dualpath.parity.compare import same
from dualpath.parity.events import read
from dualpath.repo import Repo
from dualpath.schema import text
from dualpath.windows import hours
from parity_tests.feast.training import START, training
from parity_tests.logged import append


def logged(repo: Repo, source: str, *keys: str) -> list[tuple[Any, ...]]:
    """Keys and instants of the log, sorted by instant, then by key."""
    log = read(repo.storage(source), repo.sources[source])
    rows = zip(*(log[key].to_pylist() for key in keys), log["event_time"].to_pylist(), strict=True)
    return sorted({row for row in rows if None not in row}, key=lambda row: (row[-1], *row[:-1]))


def test_a_span_of_time_asks_once_for_every_event_of_an_entity(repo: Repo) -> None:
    everything = logged(repo, "orders", "user_id")
    first, last = everything[3][1], everything[-4][1]
    found = training(repo.store, ["user_orders:orders_7d", "user_profile:age"], start_date=first, end_date=last)
    assert list(found) == ["user_id", "event_timestamp", "orders_7d", "age"]
    expected = everything[3:-3]
    assert [*zip(found["user_id"], found["event_timestamp"], strict=True)] == expected
    rows = pd.DataFrame(expected, columns=["user_id", "event_timestamp"])
    assert same(found, training(repo.store, ["user_orders:orders_7d", "user_profile:age"], rows))


def test_the_ends_of_a_span_are_instants_like_any_other(repo: Repo) -> None:
    features, day = ["user_orders:orders_7d"], timedelta(days=1)
    plain = training(repo.store, features, start_date=START, end_date=START + day)
    for first, last in (("2026-03-01", "2026-03-02T01:00:00+01:00"), (START.date(), pd.Timestamp(START + day))):
        assert same(training(repo.store, features, start_date=first, end_date=last), plain)
    with pytest.raises(InputError, match="start_date, row 0: 7 is a number, whose unit would be a guess"):
        training(repo.store, features, start_date=7, end_date=START)
    with pytest.raises(InputError, match="the span before it would begin before the year 1"):
        training(repo.store, features, end_date=datetime(1, 1, 2))


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_a_span_without_an_end_ends_now_whatever_the_zone_of_the_machine(
    zone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feast sets the end that is missing, by the local clock and without a zone."""
    now, storage = datetime.now(UTC), Storage(tmp_path, "orders")
    times = [now - timedelta(hours=1), now + timedelta(hours=5)]
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    orders = event_source("orders", fields=[text("user_id")], arrival_time=None)
    table = {"user_id": ["ann", "bob"], "event_time": pa.array(times, pa.timestamp("us", tz="UTC"))}
    append(storage, orders, {(ACCEPTED, f"{now.date()}"): pa.table(table)})
    view = feature_view("u", entity=user, source=orders, features=[feature("n", Count(), over=hours(1))])
    view.entity_columns = [Field(name="user_id", dtype=String)]
    config: Any = SimpleNamespace(repo_path=tmp_path, offline_store=SimpleNamespace(path="."))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        found = training_rows.rows_of_events(config, [view], now - timedelta(days=1), datetime.now())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found["user_id"].to_pylist() == ["ann"]


def test_a_span_of_several_views_asks_for_all_their_keys_in_all_their_logs(repo: Repo) -> None:
    end = START + timedelta(days=9)
    both = training(repo.store, ["user_orders:orders_7d", "user_visits:seen"], start_date=START, end_date=end)
    assert [*zip(both["user_id"], both["shop_id"], both["event_timestamp"], strict=True)] == logged(
        repo, "orders", "user_id", "shop_id"
    )
    logs = training(repo.store, ["user_orders:orders_7d", "user_returns:returns_7d"], start_date=START, end_date=end)
    rows = [*logged(repo, "orders", "user_id"), *logged(repo, "returns", "user_id")]
    assert [*zip(logs["user_id"], logs["event_timestamp"], strict=True)] == sorted({*rows}, key=lambda r: (r[1], r[0]))


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (["user_profile:age"], "none of 'user_profile' is windowed and has an event log"),
        (
            ["user_returns:returns_7d", "user_visits:seen"],
            "the events of 'returns' have no 'shop_id', the join key of view 'user_visits'",
        ),
        ("aliased", "the events of 'orders' have no 'author_id', the join key of view 'author'"),
    ],
)
def test_a_span_without_the_keys_of_a_view_is_refused(repo: Repo, features: Any, sentence: str) -> None:
    asked = repo.store.get_feature_service(features) if isinstance(features, str) else features
    with pytest.raises(InputError) as refused:
        training(repo.store, asked, start_date=START, end_date=START, full_feature_names=True)
    assert refused.value.message == f"no entity_df is given, and {sentence}; pass an entity_df."
