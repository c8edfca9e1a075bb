"""Stock Feast from the outside: its own commands, in processes of their own, with no wrapper."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from feast.errors import FeastError
from pyspark.sql import SparkSession

from dualpath.errors import InputError, StateError
from dualpath.online import keys, manifest
from dualpath.online.connection import connect
from dualpath.parity.events import read
from dualpath.repo import Repo
from parity_tests.conftest import CHECKOUT, SOURCE, deliver, drain
from parity_tests.filled import fill
from parity_tests.served import feast, post, running, values


def declared(repo: Repo) -> dict[str, Any]:
    """Every object of the registry; equality leaves out the times that Feast renews at each apply."""
    store = Repo(repo.folder).store
    objects = [*store.list_entities(), *store.list_feature_views(), *store.list_on_demand_feature_views()]
    return {f"{type(o).__name__} {o.name}": (o, getattr(o, "current_version_number", None)) for o in objects}


def moments(repo: Repo) -> list[tuple[str, datetime]]:
    """Users at the instants of events of theirs."""
    events = read(repo.storage(SOURCE), repo.sources[SOURCE]).take(pa.array(range(0, 4_000, 100)))
    return list(zip(events["user_id"].to_pylist(), events["event_time"].to_pylist(), strict=True))


def test_applying_twice_changes_nothing(new_repo: Callable[[], Repo]) -> None:
    repo = new_repo()
    before = declared(repo)
    done = feast(repo, "apply")
    assert done.returncode == 0, done.stderr
    assert declared(repo) == before
    assert {"FeatureView user_activity", "OnDemandFeatureView engagement", "Entity user"} <= set(before)


def test_a_server_that_reads_the_registry_while_it_is_written_finds_all_of_it(
    new_repo: Callable[[], Repo], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = new_repo()
    file, seen = repo.folder / "data" / "registry.db", []
    before, really = file.read_bytes(), os.fsync

    def synced(number: int) -> None:
        seen.append(file.read_bytes())
        really(number)

    monkeypatch.setattr(os, "fsync", synced)
    repo.store.apply(repo.store.list_entities())
    assert before in seen and b"" not in seen
    assert file.read_bytes() != before and [*file.parent.glob(".registry*")] == []


def test_a_declaration_that_cannot_work_fails_at_apply_with_one_sentence(new_repo: Callable[[], Repo]) -> None:
    repo = new_repo()
    file = repo.folder / "user_orders.py"
    file.write_text(file.read_text().replace('Mean("order_value")', 'Mean("action")'))
    done = feast(repo, "apply")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "Error: user_orders.py:10: view 'user_orders', feature 'user_7d_avg_order_value': Mean does not work on text "
        "'action'; it takes integer, decimal, double."
    )


@pytest.mark.slow
def test_feast_materialize_publishes_the_snapshot_and_changes_no_value(shop: Repo) -> None:
    users = [{"user_id": user, "event_timestamp": at} for user, at in moments(shop)]
    service = shop.store.get_feature_service("user_profile")
    before = shop.store.get_online_features(service, users).to_dict()
    done = feast(shop, "materialize", "2026-03-01T00:00:00", "2026-03-05T00:00:00")
    assert done.returncode == 0, done.stderr[-2000:]
    for view in shop.views:
        assert manifest.read(connect(shop.redis_address), shop.project, view).snapshot == "2026-03-04"
    assert shop.store.get_online_features(service, users).to_dict() == before
    assert sum(before["actions_30min"]) > 0


def test_feast_materialize_ends_in_a_sentence_where_a_night_would_be_refused(new_repo: Callable[[], Repo]) -> None:
    done = feast(new_repo(), "materialize", "2026-03-01T00:00:00", "2026-03-05T00:00:00")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    said = f"Error: source '{SOURCE}': the online store is empty, as the log is; `dualpath stream` fills both."
    assert done.stderr.strip().splitlines()[-1] == said


def test_what_the_batch_engine_refuses_is_an_error_of_feasts_too_and_reads_go_on(
    spark: SparkSession, new_repo: Callable[[], Repo]
) -> None:
    repo = new_repo()
    with pytest.raises(StateError, match="the online store is empty, as the log is") as raised:
        repo.store.materialize(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC), ["user_activity"])
    assert isinstance(raised.value, FeastError) and raised.value.http_status_code() == 503
    fill(repo, [{"user_id": "ann", "action": "view_item", "event_time": "2026-03-01T11:59:00"}])
    row = {"user_id": "ann", "event_timestamp": "2026-03-01T12:00:00"}
    assert repo.store.get_online_features(["user_activity:actions_30min"], [row]).to_dict()["actions_30min"] == [1]


@pytest.mark.slow
def test_feast_ui_shows_the_declarations(new_repo: Callable[[], Repo]) -> None:
    repo = new_repo()
    with running(repo, "ui", "/") as address:
        answer = json.load(urllib.request.urlopen(f"{address}/api/v1/feature_views?project=shop"))
    shown = {view["spec"]["name"]: view["spec"].get("tags", {}) for view in answer["featureViews"]}
    assert json.loads(shown["user_activity"]["dualpath"])["keys"] == ["user_id"]


@pytest.mark.slow
def test_feast_serve_answers_over_http_what_the_library_answers(shop: Repo) -> None:
    users, instants = zip(*moments(shop), strict=True)
    body = {
        "feature_service": "user_profile",
        "entities": {"user_id": users, "event_timestamp": [at.isoformat() for at in instants]},
    }
    with running(shop, "serve", "/health") as address:
        status, answer = post(f"{address}/get-online-features", body)
    assert status == 200
    rows = [{"user_id": u, "event_timestamp": at} for u, at in moments(shop)]
    expected = shop.store.get_online_features(shop.store.get_feature_service("user_profile"), rows).to_dict()
    assert values(answer, maps=["interest_5min"]) == expected
    assert "active" in expected["engagement_level"] or "highly_engaged" in expected["engagement_level"]


def test_finished_values_cannot_be_written_into_a_windowed_view(shop: Repo) -> None:
    import pandas as pd

    frame = pd.DataFrame({"user_id": ["ann"], "user_7d_avg_order_value": [1.0], "user_7d_orders": [1]})
    frame["event_time"] = frame["arrival_time"] = datetime(2026, 3, 4, tzinfo=UTC)
    frame = frame.assign(known_user_orders="q1b0", arrived_user_orders=0)  # Feast itself demands every column
    with pytest.raises(InputError, match="view 'user_orders' is windowed"):
        shop.store.write_to_online_store("user_orders", frame)


def keys_of(redis: Any, view: str) -> list[bytes]:
    named = [name for name in (keys.manifest("shop", view), keys.large_entities("shop", view)) if redis.exists(name)]
    return named + [key for key, _ in keys.states(redis, "shop", views=[view])]


def test_removing_a_view_removes_its_state(
    spark: SparkSession, new_repo: Callable[[], Repo], shop_events: pa.Table
) -> None:
    repo = new_repo()
    deliver(repo, shop_events.slice(0, 500))
    drain(spark, repo)
    redis = connect(repo.redis_address)
    assert keys_of(redis, "product_activity")
    (repo.folder / "product_activity.py").unlink()
    services = repo.folder / "services.py"
    kept = [line for line in services.read_text().splitlines() if "import product_activity" not in line]
    services.write_text("\n".join(kept).replace("product_activity, ", ""))
    done = feast(repo, "apply")
    assert done.returncode == 0, done.stderr
    assert not keys_of(redis, "product_activity")
    assert keys_of(redis, "user_activity")


def test_the_folder_is_a_plain_feast_repo() -> None:
    folder = CHECKOUT / "feature_repo"
    assert (folder / "feature_store.yaml").exists()
    assert not [f for f in folder.glob("*.py") if "pyspark" in f.read_text()]
