"""Feast's offline calls: ordinary views answer as with stock Feast, and windowed ones beside them."""

import os
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore, FileSource
from feast.errors import RequestDataNotFoundInEntityDfException
from feast.offline_server import OfflineServer
from feast.repo_config import RepoConfig

from dualpath.declare import is_event_log
from dualpath.errors import InputError
from dualpath.parity.compare import same
from dualpath.repo import Repo
from parity_tests.feast.training import EVERYTHING, START, columns_of, frame, training

HIDDEN = ["user_orders__orders_1h", "user_orders__orders_2d", "user_orders__orders_7d", "user_profile__age"]
"""The inputs of its on-demand view that it does not ask for."""


@pytest.fixture(scope="module")
def stock(repo: Repo) -> FeatureStore:
    """Stock Feast's offline store on the same registry."""
    config = {**yaml(repo), "offline_store": {"type": "duckdb"}, "batch_engine": "local"}
    return FeatureStore(config=RepoConfig(repo_path=str(repo.folder), **config))


def yaml(repo: Repo) -> dict[str, Any]:
    return {
        "project": "ordinary",
        "provider": "local",
        "registry": str(repo.folder / "data/registry.db"),
        "online_store": {"type": "redis"},
        "entity_key_serialization_version": 3,
    }


@pytest.mark.parametrize("options", [{}, {"full_feature_names": True}, {"filter_by_created_timestamp": True}], ids=str)
def test_ordinary_views_have_the_values_of_stock_feast(
    repo: Repo, stock: FeatureStore, options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = ["user_visits:seen", "user_profile:rating", "user_profile:age"]
    rows = frame(row=range(7))
    ours = training(repo.store, features, rows, **options)
    monkeypatch.chdir(repo.folder)  # stock looks for relative paths from here
    theirs = columns_of(stock.get_historical_features(rows, features, **options).to_arrow().sort_by("row"))
    assert same(ours, theirs)
    assert list(ours) == [
        *rows,
        *(f.replace(":", "__") if "full_feature_names" in options else f.split(":")[1] for f in features),
    ]
    assert len({*ours[list(ours)[-1]]}) > 2


def test_the_order_of_very_many_rows_is_kept(repo: Repo) -> None:
    """From some hundred thousand rows on, DuckDB gives them back in another order."""
    few = frame()[["user_id", "event_timestamp"]]
    drawn = np.random.default_rng(1).integers(0, len(few), 300_000)
    ages = repo.store.get_historical_features(few, ["user_profile:age"]).to_arrow()["age"]
    found = repo.store.get_historical_features(few.iloc[drawn], ["user_profile:age"]).to_arrow()["age"]
    assert found.combine_chunks().equals(ages.take(pa.array(drawn)).combine_chunks())


def test_a_service_of_both_kinds_has_the_values_of_its_views_alone_in_its_order(repo: Repo) -> None:
    rows = frame()
    found = training(repo.store, repo.store.get_feature_service("everything"), rows, full_feature_names=True)
    assert list(found) == [*rows, *EVERYTHING, *HIDDEN]
    for name in [*EVERYTHING, *HIDDEN]:
        if not name.startswith("derived"):
            alone = training(repo.store, [name.replace("__", ":")], rows, full_feature_names=True)
            assert same(found[name], alone[name]), name
    counts = zip(
        found["user_orders__orders_7d"], found["user_orders__orders_1h"], found["user_orders__orders_2d"], strict=True
    )
    ages = [age or 0 for age in found["user_profile__age"]]
    assert found["derived__busy"] == [
        a + 10 * b + 100 * c + 1_000 * age for (a, b, c), age in zip(counts, ages, strict=True)
    ]
    assert same(found["derived__score"][0], found["user_profile__rating"][0] + 1.5)


def test_the_order_of_the_features_is_the_one_asked_whatever_the_process(repo: Repo) -> None:
    inputs = ["derived:busy", "user_orders:orders_7d", "user_orders:orders_1h", "user_orders:orders_2d"]
    script = (
        "import pandas as pd, warnings; warnings.simplefilter('ignore'); from feast import FeatureStore\n"
        f"store = FeatureStore({str(repo.folder)!r})\n"
        "rows = pd.DataFrame({'user_id': ['ann'], 'shop_id': [1], 'basket': [1.0],"
        " 'event_timestamp': [pd.Timestamp('2026-03-03', tz='UTC')]})\n"
        f"for asked in (store.get_feature_service('everything'), {inputs!r}):\n"
        "    job = store.get_historical_features(rows, asked, full_feature_names=True)\n"
        "    print(*job.to_arrow().column_names[4:], *job.metadata.features)\n"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, text=True)
    service, refs = ([word for word in line.split() if ":" not in word] for line in done.stdout.splitlines())
    assert service == [*EVERYTHING, *HIDDEN]
    asked = [ref.replace(":", "__") for ref in inputs]
    last = [*asked, "user_orders__mean_7d", "user_profile__age", "user_profile__rating"]
    assert refs == last
    here = repo.store.get_historical_features(frame(), inputs, full_feature_names=True)
    assert here.to_arrow().column_names[5:] == last
    assert " ".join(here.metadata.features) in done.stdout


def test_the_order_is_the_one_asked_through_a_function_around_feasts(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = ["derived:busy", "user_orders:orders_7d", "user_orders:orders_1h"]
    plain = training(repo.store, inputs, frame())
    call = FeatureStore.get_historical_features
    monkeypatch.setattr(FeatureStore, "get_historical_features", lambda *given, **named: call(*given, **named))
    found = training(repo.store, inputs, frame())
    assert list(found) == list(plain) and same(found, plain)


def test_the_latest_version_is_the_view_as_it_is(repo: Repo) -> None:
    plain = ["user_orders:orders_7d", "user_profile:age"]
    latest = [ref.replace(":", "@latest:") for ref in plain]
    for full in (False, True):
        found = training(repo.store, latest, frame(), full_feature_names=full)
        assert same(found, training(repo.store, plain, frame(), full_feature_names=full))


def test_aliases_join_by_their_own_keys(repo: Repo) -> None:
    """Composite keys of which one is renamed included: Feast's store joins by the renamed one alone."""
    rows = frame().drop(columns="basket").rename(columns={"user_id": "author_id"})
    rows["reader_id"] = ["bob", "ann", "eve", "bob", "zoe", None, "eve"]
    found = training(repo.store, repo.store.get_feature_service("aliased"), rows, full_feature_names=True)
    for prefix, view, features in [
        ("author", "user_profile", ["age", "rating"]),
        ("reader", "user_profile", ["age", "rating"]),
        ("read", "user_visits", ["seen"]),
        ("bought", "user_orders", ["orders_7d"]),
    ]:
        plain = rows.rename(columns={"author_id" if prefix == "author" else "reader_id": "user_id"})
        alone = training(repo.store, [f"{view}:{name}" for name in features], plain)
        for name in features:
            assert same(found[f"{prefix}__{name}"], alone[name])
    assert found["author__age"] != found["reader__age"]


def test_an_arrow_table_is_an_entity_df(repo: Repo) -> None:
    service = repo.store.get_feature_service("everything")
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    found = repo.store.get_historical_features(table, service).to_arrow()
    assert same(columns_of(found), training(repo.store, service, frame()))
    assert found.select(table.column_names).equals(table)
    with pytest.raises(RequestDataNotFoundInEntityDfException, match="basket"):
        repo.store.get_historical_features(table.drop_columns("basket"), service)


def test_keys_and_instants_of_several_types_mean_the_same_for_both_kinds(repo: Repo) -> None:
    noon = START + timedelta(days=2)
    mixed = pd.DataFrame(
        {
            "user_id": ["ann", 7, "bob", None],
            "event_timestamp": [noon, noon.isoformat(), noon.astimezone(ZoneInfo("Asia/Kolkata")), "2026-03-03"],
        }
    )
    features = ["user_profile:age", "user_orders:orders_7d"]
    plain = pd.DataFrame({"user_id": ["ann", "7", "bob", None], "event_timestamp": [noon] * 4})
    found = training(repo.store, features, mixed)
    assert same(found, training(repo.store, features, plain))
    assert found["age"][0] and found["orders_7d"][0] and found["age"][1] is None
    broken = mixed.assign(label=[1, "a", None, 2.5])
    with pytest.raises(InputError, match=r"entity_df, column 'label': .*; give it values of one type\."):
        training(repo.store, features, broken)


def test_what_is_no_entity_df_is_refused_with_what_to_pass(repo: Repo) -> None:
    instead = (
        "pass a pandas DataFrame, an Arrow table, a Spark DataFrame or the path of Parquet files, one row for each "
        "entity and instant, or none, and start_date and end_date."
    )
    for given, what in [
        ("SELECT user_id FROM users", "a text, and there is no such file"),
        ([{"user_id": "ann"}], "a list"),
    ]:
        with pytest.raises(InputError) as refused:
            repo.store.get_historical_features(given, ["user_profile:age"])  # type: ignore[arg-type]
        assert refused.value.message == f"entity_df is {what}; {instead}"
    twice = pd.concat([frame(), frame()[["label"]]], axis=1)
    with pytest.raises(InputError, match="several columns 'label'"):
        training(repo.store, ["user_profile:age"], twice)
    with pytest.raises(InputError, match="no column 'user_id', the join key of view 'user_profile'"):
        training(repo.store, ["user_profile:age"], frame().drop(columns="user_id"))


@pytest.mark.parametrize(
    ("column", "features", "full"),
    [
        ("age", ["user_profile:age"], False),
        ("user_profile__age", ["user_profile:age"], True),
        ("mean_7d", ["user_orders:mean_7d"], False),
        ("score", ["derived:score"], False),
        ("orders_7d", ["derived:score"], False),
        ("user_orders__orders_7d", ["derived:score"], False),
        ("orders_7d", ["derived:score"], True),
    ],
)
def test_a_column_that_is_named_like_a_feature_is_refused(
    repo: Repo, column: str, features: list[str], full: bool
) -> None:
    with pytest.raises(
        InputError, match=f"^entity_df has a column '{column}', which is the name of '[a-z_0-9:]+'; rename"
    ):
        training(repo.store, features, frame(**{column: range(7)}), full_feature_names=full)


def test_a_column_with_a_short_name_stands_beside_a_full_one(repo: Repo) -> None:
    found = training(repo.store, ["user_profile:age"], frame(age=range(7)), full_feature_names=True)
    assert found["age"] == [*range(7)] and found["user_profile__age"][0] == 31


def test_the_views_of_a_source_share_it_so_feast_can_plan(repo: Repo) -> None:
    words = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(repo.folder), "plan"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "No changes to infrastructure" in done.stdout


def test_only_event_logs_may_be_missing_when_views_are_applied(repo: Repo, caplog: pytest.LogCaptureFixture) -> None:
    sources = {source.name: source for source in repo.store.list_data_sources()}
    assert {name for name, source in sources.items() if is_event_log(source)} == {"orders", "returns"}
    store = repo.store._get_provider().offline_store
    store.validate_data_source(repo.store.config, sources["orders"])
    assert not caplog.records
    own = FileSource(name="own", path="own/log", timestamp_field="event_time", created_timestamp_column="arrival_time")
    store.validate_data_source(repo.store.config, own)
    assert "own/log" in caplog.text


def test_a_remote_offline_store_answers_as_the_local_one(repo: Repo) -> None:
    server = OfflineServer(repo.store, "grpc://127.0.0.1:0", "127.0.0.1")
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        offline = {"type": "remote", "host": "127.0.0.1", "port": server.port}
        client = FeatureStore(config=RepoConfig(repo_path=str(repo.folder), **yaml(repo), offline_store=offline))
        rows = frame(label=range(7)).reset_index(drop=True)
        service = client.get_feature_service("everything")
        here, there = training(repo.store, service, rows), training(client, service, rows)
        assert here.keys() == there.keys() and all(same(here[name], there[name]) for name in here)
        span = {"start_date": START, "end_date": START + timedelta(days=2)}
        assert same(
            training(client, ["user_orders:mean_7d"], **span), training(repo.store, ["user_orders:mean_7d"], **span)
        )
        for text in ("SELECT 1", str(repo.folder / "data/profiles.parquet")):  # the server's files are not the caller's
            with pytest.raises(
                InputError,
                match="entity_df is a text, and there is no such file; pass a pandas DataFrame, an Arrow table",
            ):
                training(client, ["user_orders:mean_7d"], text)
    finally:
        server.shutdown()
