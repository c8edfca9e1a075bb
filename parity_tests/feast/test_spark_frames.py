"""Training sets of Spark frames: the bits of the training set in the process, for one row each, and its refusals."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.errors import EntityTimestampInferenceException, SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from pyspark.errors import PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dualpath.errors import InputError, StaleRecordsError, UnavailableError
from dualpath.feast import spark_frames
from dualpath.feast.spark_set import SparkTrainingSet
from dualpath.files.objects import opened
from dualpath.files.parquet import write_rows
from dualpath.jobs.build import build
from dualpath.kinds import INSTANT
from dualpath.offline import distributed
from dualpath.online.connection import embedded_folder
from dualpath.parity.compare import same
from dualpath.repo import Repo
from dualpath.runtime import redis
from parity_tests.conftest import REPOS
from parity_tests.feast.test_several import World, refs
from parity_tests.feast.training import START, columns_of
from parity_tests.startup.object_store import reached
from parity_tests.startup.s3 import Server

WINDOWED = [
    *("user_orders:mean_7d", "shop_orders:shop_mean_7d", "user_orders:shops_7d", "user_returns:returns_7d"),
    *("user_orders:orders_1h", "shop_orders:buyers"),
]
"""Of two sources and of two entities."""
AT = START + timedelta(days=2)


def drawn(rows: int = 400) -> pd.DataFrame:
    """Rows in no order of time: nulls, unknown entities, all of them twice, with a number that tells them apart."""
    random = np.random.default_rng(3)
    at = [START + timedelta(microseconds=int(us)) for us in random.integers(0, 5 * 86_400 * 10**6, rows // 2)]
    columns = {
        "user_id": random.choice(["ann", "bob", "zoe", "nobody", None], rows // 2),
        "shop_id": pd.array(random.choice([0, 1, 7, None], rows // 2), "Int64"),
        "event_timestamp": at,
        "known_at": [
            each + timedelta(hours=int(hours))
            for each, hours in zip(at, random.integers(-9, 9, rows // 2), strict=True)
        ],
    }
    made = pd.DataFrame(columns)
    return pd.concat([made, made]).assign(row=range(rows), basket=random.random(rows))


def in_microseconds(rows: pd.DataFrame) -> pa.Table:
    """The rows in Arrow, without the nanoseconds that Spark does not read."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    for name in ("event_timestamp", "known_at"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(INSTANT))
    return table


def in_spark(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    return spark.createDataFrame(pa.Table.from_pandas(rows, preserve_index=False)).repartition(3)


def ordered(table: pa.Table) -> dict[str, list[Any]]:
    return columns_of(table.sort_by("row"))


def assert_same(repo: Repo, spark: SparkSession, rows: pd.DataFrame, features: Any, **options: Any) -> pa.Table:
    """What Spark computes of a frame is what the process computes; returns it."""
    here = repo.store.get_historical_features(rows, features, **options).to_arrow()
    job = repo.store.get_historical_features(in_spark(spark, rows), features, **options)  # type: ignore[arg-type]
    assert isinstance(job, SparkTrainingSet)
    there = job.to_spark_df()
    assert there.columns == here.column_names
    assert same(ordered(there.toArrow()), ordered(here))
    assert same(ordered(job.to_arrow()), ordered(here))
    assert job.metadata.features == repo.store.get_historical_features(rows, features, **options).metadata.features
    return here


@pytest.mark.parametrize("together", [1, distributed.TOGETHER])
@pytest.mark.parametrize("known", [False, True], ids=["final", "known_at"])
def test_a_spark_frame_has_the_bits_of_the_process(
    repo: Repo, spark: SparkSession, known: bool, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where entities are computed one by one, and where columns have the names of Spark's own."""
    monkeypatch.setattr(distributed, "TOGETHER", together)
    rows = drawn() if known else drawn().drop(columns="known_at")
    own = {"entity0": "a", "as_of": 1, "given": 2.5, "place": None, "a.b `c`": 3}
    found = assert_same(repo, spark, rows.assign(**own), WINDOWED, full_feature_names=True)
    assert len({*found["user_orders__mean_7d"].to_pylist()}) > 20
    assert len(found) == len(rows) and found["user_orders__orders_1h"].to_pylist().count(0) < len(rows)


def test_a_known_lag_holds_for_a_spark_frame(repo: Repo, spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = drawn().drop(columns="known_at")
    before = assert_same(repo, spark, rows, WINDOWED)
    monkeypatch.setattr(repo.store.config.offline_store, "known_lag", timedelta(days=1))
    assert not assert_same(repo, spark, rows, WINDOWED).equals(before)


@pytest.mark.parametrize("kind", ["string", "timestamp_ntz", "date"])
def test_keys_and_instants_are_cast_as_in_the_process(repo: Repo, spark: SparkSession, kind: str) -> None:
    """Whatever the time zone of the session."""
    rows = drawn(60).drop(columns="known_at").assign(event_timestamp="2026-03-03", user_id=7.0, shop_id="1")
    zone = spark.conf.get("spark.sql.session.timeZone")
    try:
        spark.conf.set("spark.sql.session.timeZone", "America/Los_Angeles")
        frame = in_spark(spark, rows)
        frame = frame.withColumn("event_timestamp", F.col("event_timestamp").cast(kind))
        if kind == "string":
            with pytest.raises(EntityTimestampInferenceException):
                repo.store.get_historical_features(frame.withColumnRenamed("event_timestamp", "at"), WINDOWED)
        found = repo.store.get_historical_features(frame, WINDOWED).to_arrow()
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
    plain = repo.store.get_historical_features(rows, WINDOWED).to_arrow()
    for name in [ref.split(":")[1] for ref in WINDOWED]:
        assert ordered(found)[name] == ordered(plain)[name]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("user_id", 2.5, "user_id, row {row}: 2.5 (float) is not a text key; pass text"),
        ("shop_id", "a", "shop_id, row {row}: 'a' (str) is not an integer key; pass a whole number"),
        ("event_timestamp", None, "event_timestamp, row {row}: the instant is missing; pass a datetime"),
        ("event_timestamp", "03/04/2026", "event_timestamp, row {row}: '03/04/2026' is not ISO-8601; pass a datetime"),
        ("known_at", None, "known_at, row {row}: the instant is missing"),
        ("known_user_orders", "q1b7", "known_user_orders, row {row}: the log of source 'orders' has no finished batch"),
        ("known_user_orders", "no", "known_user_orders, row {row}: 'no' is not a token; pass the values"),
    ],
)
def test_what_is_refused_in_the_process_is_refused_with_the_same_sentence_and_the_row(
    repo: Repo, spark: SparkSession, column: str, value: Any, said: str
) -> None:
    """The row is the 15,001st of its partition, after the first batch that Spark hands over."""
    right = {"user_id": 7.0, "shop_id": "1", "known_user_orders": "q1b0"}
    rows = pd.DataFrame({"user_id": "ann", "shop_id": 1, "event_timestamp": [AT.isoformat()] * 15_002})
    if column in right:
        rows[column] = right[column]
    rows[column] = rows.get(column, AT)
    rows[column] = rows[column].astype(object if column != "user_id" else float)
    rows.loc[15_001, column] = value
    features = ["user_orders:orders_7d", *(["shop_orders:buyers"] if column == "shop_id" else [])]
    frame = spark.createDataFrame(pa.Table.from_pandas(rows)).coalesce(1)
    kinds = (InputError, StaleRecordsError)
    for given, where in ((rows, ""), (frame, "entity_df, partition 0: ")):
        with pytest.raises(kinds) as refused:
            repo.store.get_historical_features(given, features).to_arrow()
        assert refused.value.message.startswith(where + said.format(row=15_001))
    with pytest.raises(PythonException) as raised:
        repo.store.get_historical_features(frame, features).to_spark_df().collect()
    assert said.format(row=15_001) in str(raised.value)


def test_what_a_spark_frame_cannot_be_is_refused_before_anything_runs(repo: Repo, spark: SparkSession) -> None:
    frame = in_spark(spark, drawn(4))
    for features, given, said in (
        (["user_profile:age"], frame, "entity_df is a Spark DataFrame, and view 'user_profile' is not windowed"),
        (["user_orders:mean_7d"], frame.drop("user_id"), "entity_df has no column 'user_id', the join key of view"),
        (["user_orders:mean_7d"], frame.withColumn("mean_7d", F.lit(1)), "entity_df has a column 'mean_7d', which is"),
        (["user_orders:mean_7d"], frame.select("*", "row"), "entity_df has several columns 'row'"),
        (
            ["user_orders:mean_7d"],
            frame.withColumn("known_user_orders", F.lit("q1b0")),
            "entity_df has 'known_user_orders' and 'known_at', and a row can know only one thing",
        ),
    ):
        with pytest.raises(InputError) as refused:
            repo.store.get_historical_features(given, features).to_spark_df()
        assert refused.value.message.startswith(said)
    for method in ("to_sql", "to_remote_storage"):
        with pytest.raises(InputError):
            getattr(repo.store.get_historical_features(frame, ["user_orders:mean_7d"]), method)()


def test_a_spark_set_is_persisted_as_a_folder_that_feast_reads_back(repo: Repo, spark: SparkSession) -> None:
    rows = drawn().drop(columns="known_at")
    here = repo.store.get_historical_features(rows, WINDOWED, full_feature_names=True).to_arrow()
    job = repo.store.get_historical_features(in_spark(spark, rows), WINDOWED, full_feature_names=True)
    storage, folder = SavedDatasetFileStorage("data/by_spark"), repo.folder / "data/by_spark"
    with pytest.warns(RuntimeWarning):
        saved = repo.store.create_saved_dataset(job, "by_spark", storage)
    back = columns_of(saved.to_arrow())  # the keys, the features and the instants
    assert {*here.column_names} - {*back} == {"row", "basket"}
    written, expected = ordered(pq.read_table(folder)), ordered(here)
    read, told = (sorted(map(repr, zip(*(side[name] for name in back), strict=True))) for side in (back, expected))
    assert read == told
    assert folder.is_dir() and not [f for f in folder.iterdir() if f.suffix != ".parquet"]
    assert {*pq.read_schema(next(folder.glob("*.parquet"))).field("event_timestamp").type.unit} == {*"us"}
    for name in here.column_names:
        assert same(written[name], expected[name]), name
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    fewer = repo.store.get_historical_features(in_spark(spark, rows[:9]), WINDOWED, full_feature_names=True)
    fewer.persist(storage, allow_overwrite=True)
    assert pq.read_table(folder).num_rows == 9
    (folder / "below").mkdir()
    shutil.copy(next(folder.glob("*.parquet")), folder / "below")
    with pytest.raises(InputError, match="has Parquet files in subfolders"):
        job.persist(storage, allow_overwrite=True)
    assert not [*folder.parent.glob(".by_spark*")]
    with pytest.raises(InputError, match="persisted to a local folder"):
        job.persist(SavedDatasetFileStorage("s3://bucket/folder"))


def test_a_persisted_set_names_what_was_refused_and_leaves_nothing(repo: Repo, spark: SparkSession) -> None:
    frame = in_spark(spark, drawn(40)).withColumn("event_timestamp", F.lit("soon"))
    job = repo.store.get_historical_features(frame, WINDOWED)
    with pytest.raises(InputError, match="'soon' is not ISO-8601"):
        job.persist(SavedDatasetFileStorage("data/refused"))
    assert not [*(repo.folder / "data").glob("*refused*")]


@pytest.mark.parametrize("above", [10**6, 0], ids=["Arrow", "Spark"])
def test_the_path_of_parquet_files_is_an_entity_df(
    repo: Repo, tmp_path: Path, above: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repo.store.config.offline_store, "spark_above_rows", above)
    rows = drawn()
    table = in_microseconds(rows)
    folder, file = tmp_path / "rows", tmp_path / "rows.parquet"
    folder.mkdir()
    pq.write_table(table, file)
    for at in (0, 150):
        pq.write_table(table.slice(at, 150 if not at else None), folder / f"{at}.parquet")
    monkeypatch.chdir(tmp_path)
    expected = repo.store.get_historical_features(rows, WINDOWED).to_arrow()
    linked = tmp_path / "linked"
    (linked / "_again=1").mkdir(parents=True)
    (linked / "_SUCCESS").touch()
    (linked / "_temporary").mkdir()
    (linked / "_temporary/part.parquet").write_text("not read, by Spark neither")
    (linked / "_again=1/rows").symlink_to(folder)
    for path in (linked, "linked"):
        found = repo.store.get_historical_features(str(path), WINDOWED).to_arrow()
        assert {*found["_again"].to_pylist()} == {1}
        assert same(ordered(found.drop_columns("_again")), ordered(expected))
    for path in (str(file), str(folder), "rows"):
        job = repo.store.get_historical_features(path, WINDOWED)
        assert isinstance(job, SparkTrainingSet) == (above == 0)
        assert same(ordered(job.to_arrow()), ordered(expected))
    both = ["user_orders:mean_7d", "user_profile:age"]  # never on Spark
    found = repo.store.get_historical_features(str(file), both).to_arrow()
    assert same(columns_of(found), columns_of(repo.store.get_historical_features(rows, both).to_arrow()))
    pq.write_table(pa.Table.from_pandas(rows), file, version="2.6")
    if not above:
        with pytest.raises(InputError, match="column 'event_timestamp' has nanoseconds, which Spark does not read"):
            repo.store.get_historical_features(str(file), WINDOWED)
    file.write_text("no")
    with pytest.raises(InputError, match=r"entity_df is the path '.*rows\.parquet', which has no Parquet"):
        repo.store.get_historical_features(str(file), WINDOWED)
    for text in ("SELECT " + "user_id, " * 1_000, "rows.parq", "ftp://host/rows.parquet"):
        with pytest.raises(InputError, match="entity_df is a text, and there is no such file"):
            repo.store.get_historical_features(text, WINDOWED)


def test_an_entity_df_may_be_in_an_object_store(repo: Repo, s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = in_microseconds(drawn())
    expected = repo.store.get_historical_features(rows, WINDOWED).to_arrow()
    with reached(s3.environ):
        folder = opened(s3.fresh())
        write_rows(rows, folder / "rows" / "day=3" / "part.parquet")
        (folder / "rows" / "_SUCCESS").write_text("")
        (folder / "no" / "rows.parquet").write_text("no")
        for path in (f"{folder}/rows/day=3/part.parquet", f"{folder}/rows/day=3"):
            assert same(repo.store.get_historical_features(path, WINDOWED).to_arrow(), expected)
        found = repo.store.get_historical_features(f"{folder}/rows", WINDOWED).to_arrow()
        assert same(found.drop_columns("day"), expected) and {*found["day"].to_pylist()} == {3}
        for path in (f"{folder}/no", f"{folder}/no/rows.parquet"):
            with pytest.raises(InputError, match=f"entity_df is the path '{path}', which has no Parquet"):
                repo.store.get_historical_features(path, WINDOWED)
        with pytest.raises(InputError, match="entity_df is a text, and there is no such file"):
            repo.store.get_historical_features(f"{folder}/none", WINDOWED)
        monkeypatch.setattr(repo.store.config.offline_store, "spark_above_rows", 0)
        with pytest.raises(UnavailableError, match=f"without a client of S3, which {folder}/rows is read with"):
            repo.store.get_historical_features(f"{folder}/rows", WINDOWED)


def test_two_views_of_one_entity_take_one_job_and_one_shuffle_of_their_records(repo: Repo, spark: SparkSession) -> None:
    frame = in_spark(spark, drawn(40))
    for features, shuffles in ((WINDOWED[:1], 1), ([WINDOWED[0], WINDOWED[3]], 1), (WINDOWED, 2)):
        job = repo.store.get_historical_features(frame, features)
        plan = job.to_spark_df()._jdf.queryExecution().executedPlan().toString()
        assert plan.count("REPARTITION_BY_COL") == shuffles


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A repo with views of several sources, after two batches of one and one of the others."""
    folder = tmp_path_factory.mktemp("world") / "several"
    shutil.copytree(REPOS / "several", folder, ignore=shutil.ignore_patterns("__pycache__"))
    made = World(folder)
    made.repo.apply()
    try:
        made.land(spark, 120, "clicks", "orders", "returns")
        made.land(spark, 80, "clicks")
        for source in made.repo.sources.values():
            build(spark, made.repo, source)
        yield made
    finally:
        redis.stop(embedded_folder(made.repo.store.config))


@pytest.mark.slow
def test_tokens_of_several_sources_hold_for_a_spark_frame(spark: SparkSession, world: World) -> None:
    repo, asked = world.repo, world.questions()
    rows = asked[["row", "user", "as_of"]].rename(columns={"as_of": "event_timestamp"})
    tokens = np.array(["clicks:q1b0/orders:q1b0", "clicks:q1b1/orders:q1b0", "clicks:q0b0/orders:q1b0"])
    known = rows.assign(known_activity=tokens[np.arange(len(rows)) % 3])
    features = [ref for ref in refs(repo, "activity") if not ref.endswith("known_activity")]
    final = assert_same(repo, spark, rows, [*features, *refs(repo, "everything")])
    served = assert_same(repo, spark, known, features)
    assert not served.drop_columns("known_activity").equals(
        final.select(served.drop_columns("known_activity").column_names)
    )
    by_arrival = assert_same(repo, spark, rows.assign(known_at=asked["known_at"]), features)
    assert by_arrival["actions_30min"] != final["actions_30min"]

    # Record files that lack a batch answer for tokens of those before it, on every path.
    world.stream(spark, "orders")
    job = repo.store.get_historical_features(in_spark(spark, known), features)
    assert same(ordered(job.to_arrow()), ordered(served))
    with pytest.raises(StaleRecordsError, match="view 'activity@orders': its record files lack events of"):
        repo.store.get_historical_features(in_spark(spark, rows), features).to_spark_df()
    ahead = rows.assign(known_activity="clicks:q1b1/orders:q1b1")
    for given in (ahead, in_spark(spark, ahead)):
        with pytest.raises(StaleRecordsError, match="view 'activity@orders': its record files lack events of"):
            repo.store.get_historical_features(given, features).to_arrow()


@pytest.mark.filterwarnings("ignore::dualpath.offline.history.StaleWarning")
def test_features_that_say_what_was_known_are_null_in_a_spark_frame(spark: SparkSession, world: World) -> None:
    rows = world.questions()[["row", "user", "as_of"]].rename(columns={"as_of": "event_timestamp"})
    asked, repo = ["activity:known_activity", "activity:refs", "activity:arrived_activity"], world.repo
    repo.store.config.offline_store.stale = "warn"
    found = assert_same(repo, spark, rows, asked)
    assert found["known_activity"].null_count == found["arrived_activity"].null_count == len(rows)


def test_rows_of_nobody_alone_are_answered_by_spark_too(repo: Repo, spark: SparkSession) -> None:
    rows = drawn(20).assign(user_id=None, shop_id=pd.array([None] * 20, "Int64"))
    found = assert_same(repo, spark, rows, WINDOWED)
    repo.store.config.offline_store.spark_above_rows, before = 0, repo.store.config.offline_store.spark_above_rows
    try:
        assert repo.store.get_historical_features(rows, WINDOWED).to_arrow().equals(found)
    finally:
        repo.store.config.offline_store.spark_above_rows = before


def test_whole_entities_are_handed_over_together() -> None:
    entities = ["a"] * 3 + ["b"] * 9 + ["c"] + ["d"] * 4
    for size in (1, 2, 5, 17):
        table = pa.table({"entity": pa.array([None, None, *entities])})
        for least in (1, 3, 8):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(distributed, "TOGETHER", least)
                found = [each["entity"].to_pylist() for each in distributed._whole_entities(table.to_batches(size))]
            assert [entity for each in found for entity in each] == [None, None, *entities]
            for entity in {*entities}:
                assert sum(entity in each for each in found) == 1
            assert least > 1 or size > 2 or len(found) > 3
    assert spark_frames.feature_column(1, "x") == "feature1_x"
