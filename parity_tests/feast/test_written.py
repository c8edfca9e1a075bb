"""Saved datasets, logged features, and values that are written or materialised."""

import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

from dualpath.errors import InputError
from dualpath.feast import ordinary
from dualpath.parity.compare import same
from dualpath.repo import Repo
from parity_tests.feast.training import EVERYTHING, START, columns_of, frame, training


@pytest.mark.parametrize("place", ["saved.parquet", "saved"])
@pytest.mark.parametrize("full", [False, True])
def test_a_saved_dataset_reads_back_the_same_bits(repo: Repo, place: str, full: bool) -> None:
    fine = frame()["event_timestamp"].astype("datetime64[ns, UTC]") + pd.Timedelta(1, "ns")
    rows = frame(event_timestamp=fine, signed_up=fine)
    features = [
        *("user_visits:seen", "derived:score", "user_orders:mean_7d", "user_orders:shops_7d"),
        *("shop_orders:buyers", "shop_orders:shop_mean_7d", "user_profile:rating"),
    ]
    job = repo.store.get_historical_features(rows, features, full_feature_names=full)
    storage = SavedDatasetFileStorage(f"data/{full}/{place}")
    with warnings.catch_warnings(action="ignore"):
        repo.store.create_saved_dataset(job, "again", storage)
        with pytest.raises(SavedDatasetLocationAlreadyExists):
            repo.store.create_saved_dataset(job, "again", storage)
        repo.store.create_saved_dataset(job, "again", storage, allow_overwrite=True)
        back = columns_of(repo.store.get_saved_dataset("again").to_arrow())
    table = columns_of(job.to_arrow())
    cut = [at.floor("us").to_pydatetime() for at in rows["event_timestamp"]]
    assert [at.astimezone(UTC) for at in back.pop("event_timestamp")] == cut
    assert {*table} - {*back} == {"basket", "label", "signed_up", "event_timestamp"}
    written = pq.read_schema(next((repo.folder / f"data/{full}").rglob("*.parquet")))
    assert written.field("signed_up").type == pa.timestamp("us", tz="UTC")
    for name in back:
        assert same(back[name], table[name]), name


@pytest.mark.parametrize("place", [".", "data", "data/orders"])
def test_a_saved_dataset_does_not_overwrite_the_events(tmp_path: Path, place: str) -> None:
    event = tmp_path / "data/orders/log/outcome=accepted/arrival_day=2026-03-01/0.parquet"
    event.parent.mkdir(parents=True)
    pq.write_table(pa.table({"n": [1]}), event)
    config: Any = SimpleNamespace(repo_path=tmp_path)
    source = SavedDatasetFileStorage(place).to_data_source()
    with pytest.raises(InputError, match="has Parquet files in subfolders, which no saved dataset has"):
        ordinary.save(config, pa.table({"n": [2]}), source, allow_overwrite=True)
    assert pq.read_table(event, partitioning=None)["n"].to_pylist() == [1]


def test_a_saved_dataset_keeps_instants_that_were_text(repo: Repo) -> None:
    rows = frame(event_timestamp=[at.isoformat() for at in frame()["event_timestamp"]])
    job = repo.store.get_historical_features(rows, ["user_orders:mean_7d"])
    with warnings.catch_warnings(action="ignore"):
        saved = repo.store.create_saved_dataset(job, "texts", SavedDatasetFileStorage("data/texts.parquet"))
    back = columns_of(saved.to_arrow())
    assert back["event_timestamp"] == [*frame()["event_timestamp"]]
    assert same(back["mean_7d"], training(repo.store, ["user_orders:mean_7d"], frame())["mean_7d"])


def test_logged_features_are_added_and_read_back(repo: Repo) -> None:
    service = repo.store.get_feature_service("everything")
    names = ["user_id", *EVERYTHING]
    found = repo.store.get_historical_features(frame(), service, full_feature_names=True).to_arrow().select(names)
    at = pa.array([START] * 7, pa.timestamp("ns", tz="UTC"))
    logs = found.append_column("__log_timestamp", at).append_column("__request_id", pa.array([*"abcdefg"]))
    folder = repo.folder / "to_log"
    folder.mkdir()
    pq.write_table(logs.slice(0, 3), folder / "0.parquet")
    repo.store.write_logged_features(folder, service)
    repo.store.write_logged_features(logs.slice(3), service)
    assert service.logging_config is not None
    back = repo.store._get_provider().offline_store.pull_all_from_table_or_query(
        *(repo.store.config, service.logging_config.destination.to_data_source(), ["__request_id"], names),
        *("__log_timestamp", None, START, START),
    )
    table = back.to_arrow().sort_by("__request_id")
    for name in names:
        assert same(table[name].to_pylist(), found[name].to_pylist()), name


def test_values_are_written_to_the_source_of_an_ordinary_view_and_events_landed_for_a_windowed_one(repo: Repo) -> None:
    file = repo.folder / "data/profiles.parquet"
    before = file.read_bytes()
    at = START + timedelta(days=5)
    rows = pd.DataFrame({"user_id": ["new"], "event_timestamp": [at]})
    try:
        new = pd.DataFrame({"user_id": ["new"], "age": [99], "rating": [0.1], "at": [at], "created": [at]})
        repo.store.write_to_offline_store("user_profile", new)
        assert training(repo.store, ["user_profile:age"], rows)["age"] == [99]
    finally:
        file.write_bytes(before)
    with pytest.raises(InputError, match=r"^'orders' is the event log of windowed views: land events for it instead"):
        repo.store.write_to_offline_store("user_orders", rows)


def test_materialising_an_ordinary_view_serves_what_training_says_of_the_present(repo: Repo) -> None:
    repo.store.materialize(START, START + timedelta(days=9), feature_views=["user_visits"])
    rows = pd.DataFrame({"user_id": ["ann", "bob", "eve", "zoe"], "shop_id": [1, 0, 1, 1]})
    served = repo.store.get_online_features(["user_visits:seen"], rows.to_dict("records")).to_dict()
    assert (
        served["seen"]
        == training(repo.store, ["user_visits:seen"], rows.assign(event_timestamp=datetime.now(UTC)))["seen"]
    )
    assert served["seen"] == [3, 6, 11, None]
    log = next(fv for fv in repo.store.list_feature_views() if fv.name == "user_orders").batch_source
    with pytest.raises(InputError, match=r"'orders' is the event log of windowed views: .*DualpathComputeEngine"):
        repo.store._get_provider().offline_store.pull_latest_from_table_or_query(
            repo.store.config, log, ["user_id"], [], "event_time", None, START, START
        )


def test_what_a_windowed_view_cannot_do_is_refused_in_a_sentence(repo: Repo) -> None:
    with pytest.raises(InputError, match="filter_by_created_timestamp: view 'user_orders' is windowed"):
        features = ["user_profile:age", "user_orders:mean_7d"]
        repo.store.get_historical_features(frame(), features, filter_by_created_timestamp=True)
    job = repo.store.get_historical_features(frame(), ["user_orders:mean_7d"])
    with pytest.raises(InputError, match="has no SQL; use to_arrow or to_df"):
        job.to_sql()
    with pytest.raises(InputError, match="cannot be exported"):
        job.to_remote_storage()
