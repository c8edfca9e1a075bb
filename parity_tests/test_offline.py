"""Feast's offline calls: ordinary views answer as with stock Feast, and windowed ones beside them."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, Field, FileSource, ValueType
from feast.errors import RequestDataNotFoundInEntityDfException, SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.offline_server import OfflineServer
from feast.repo_config import RepoConfig
from feast.types import String
from pyspark.sql import SparkSession

from dualpath.aggregates import Count
from dualpath.declare import event_source, feature, feature_view, is_event_log
from dualpath.errors import InputError
from dualpath.feast import ordinary, span
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.log.storage import Storage
from dualpath.online.connection import embedded_folder
from dualpath.parity.compare import same
from dualpath.parity.events import read
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.schema import text
from dualpath.sources.source import Directory
from dualpath.windows import hours

START = datetime(2026, 3, 1, tzinfo=UTC)
AT = [START + timedelta(days=day, hours=7 * user, microseconds=3 * day) for user in range(3) for day in range(4)]
USERS = [user for user in ("ann", "bob", "eve") for _ in range(4)]
EVERYTHING = [
    *("user_visits__seen", "derived__score", "derived__busy", "user_orders__mean_7d", "user_orders__shops_7d"),
    "user_profile__rating",
]
"""What the service of that name asks for, in its order."""
HIDDEN = ["user_orders__orders_1h", "user_orders__orders_2d", "user_orders__orders_7d", "user_profile__age"]
"""The inputs of its on-demand view that it does not ask for."""


def events(source: str) -> Iterator[str]:
    random = np.random.default_rng(5)
    for n in range(60):
        event = {
            "event_id": f"{source}{n}",
            "event_time": (START + timedelta(microseconds=int(random.integers(0, 4 * 86_400 * 10**6)))).isoformat(),
            "user_id": ["ann", "bob", "zoe", None][n % 4],
            "shop_id": int(random.integers(0, 2)),
            "amount": f"{int(random.integers(0, 9_999)) / 100:.2f}",
        }
        yield json.dumps({name: value for name, value in event.items() if value is not None})


def write(path: Path, **columns: Any) -> None:
    instants = {name: pa.array(columns.pop(name), pa.timestamp("us", tz="UTC")) for name in ("at", "created")}
    pq.write_table(pa.table(columns | instants), path)


@pytest.fixture(scope="module")
def repo(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    folder = tmp_path_factory.mktemp("ordinary") / "ordinary"
    shutil.copytree(Path(__file__).with_name("ordinary_repo"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    created = [at + timedelta(hours=5) for at in AT]
    ages, ratings = [*range(30, 42)], [n / 3 for n in range(12)]
    write(folder / "data/profiles.parquet", user_id=USERS, at=AT, created=created, age=ages, rating=ratings)
    shops = [n % 2 for n in range(12)]
    write(folder / "data/visits.parquet", user_id=USERS, shop_id=shops, at=AT, created=created, seen=[*range(12)])
    opened = Repo(folder)
    opened.apply()
    try:
        for name, source in opened.sources.items():
            landing = opened.storage(name).folder("landing")
            landing.mkdir(parents=True)
            (landing / "0.jsonl").write_text("\n".join(events(name)) + "\n")
            start(spark, opened, source, Directory(landing, 1)).awaitTermination()
            build(spark, opened, source)
        yield opened
    finally:
        redis.stop(embedded_folder(opened.store.config))


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


def frame(**more: Any) -> pd.DataFrame:
    """Entity rows: two that are equal, one of nobody, one without a shop, in no order of time."""
    minutes = [3, 1, 4, 1, 5, 9, 1]
    columns = {
        "user_id": ["ann", "bob", None, "zoe", "eve", "ann", "bob"],
        "shop_id": pd.array([0, 1, 1, None, 1, 1, 1], dtype="Int64"),
        "basket": [1.5, 2, 3, 4, 5, 6, 2],
        "label": pd.Categorical(["b", "a", "a", None, "b", "a", "a"]),
        "event_timestamp": [START + timedelta(days=m % 3 + 1, minutes=m) for m in minutes],
    }
    return pd.DataFrame(columns | more, index=[9, 9, 4, 3, 1, 0, 2])


def columns_of(table: pa.Table) -> dict[str, list[Any]]:
    """Columns as Python has them; instants are UTC, whatever a column's own unit and zone."""
    kinds = [pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind for kind in table.schema.types]
    plain = [column.cast(kind, safe=False) for column, kind in zip(table.columns, kinds, strict=True)]
    return {
        name: column.to_pylist(maps_as_pydicts="strict") for name, column in zip(table.column_names, plain, strict=True)
    }


def training(store: FeatureStore, features: Any, entity_df: Any = None, **options: Any) -> dict[str, list[Any]]:
    return columns_of(store.get_historical_features(entity_df, features, **options).to_arrow())


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
        "pass a pandas DataFrame or an Arrow table, one row for each entity and instant, "
        "or none, and start_date and end_date."
    )
    for given, what in [("SELECT user_id FROM users", "SQL text"), ([{"user_id": "ann"}], "a list")]:
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
    storage.finish(storage.note(storage.begin(1, 0), rows_read=2, accepted=2, arrival_days=[f"{now.date()}"]))
    folder = tmp_path / "orders/log/query=1/batch=0"
    folder.mkdir(parents=True)
    table = {"user_id": ["ann", "bob"], "event_time": pa.array(times, pa.timestamp("us", tz="UTC"))}
    pq.write_table(pa.table(table), folder / "0.parquet")
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    orders = event_source("orders", fields=[text("user_id")], arrival_time=None)
    view = feature_view("u", entity=user, source=orders, features=[feature("n", Count(), over=hours(1))])
    view.entity_columns = [Field(name="user_id", dtype=String)]
    config: Any = SimpleNamespace(repo_path=tmp_path, offline_store=SimpleNamespace(path="."))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        found = span.rows(config, [view], now - timedelta(days=1), datetime.now())
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
    event = tmp_path / "data/orders/log/query=1/batch=0/0.parquet"
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
        with pytest.raises(InputError, match="entity_df is SQL text; pass a pandas DataFrame or an Arrow table"):
            training(client, ["user_orders:mean_7d"], "SELECT 1")
    finally:
        server.shutdown()
