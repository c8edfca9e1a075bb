"""Cases of training: `get_historical_features` of one `entity_df` after another, and saved datasets."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import FeatureService
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

from parity_tests.differential.data import NOON, START, asked, instants
from parity_tests.differential.plain import arrow, frame, trained
from parity_tests.differential.sides import Case, Side

STATS = [f"driver_stats:{name}" for name in ("trips", "conv_rate", "active", "tags", "seen", "city", "hashed")]
ORDERS = ["driver_orders:orders", "driver_orders:spent"]
ALL = [*STATS, "driver_home:rent", *ORDERS]
STAMPS = asked()["event_timestamp"]
NAIVE = STAMPS.dt.tz_localize(None)
AHEAD = STAMPS.dt.tz_convert("Asia/Kolkata")

FRAMES: dict[str, Callable[[], pd.DataFrame]] = {
    "utc": asked,
    "naive": lambda: asked(event_timestamp=NAIVE),
    "another_zone": lambda: asked(event_timestamp=AHEAD),
    "nanoseconds": lambda: asked(event_timestamp=STAMPS.dt.as_unit("ns")),
    "seconds": lambda: asked(event_timestamp=STAMPS.dt.as_unit("s")),
    "objects": lambda: asked(event_timestamp=pd.Series([s.to_pydatetime() for s in STAMPS], dtype=object)),
    "naive_objects": lambda: asked(event_timestamp=pd.Series([s.to_pydatetime() for s in NAIVE], dtype=object)),
    "iso_texts": lambda: asked(event_timestamp=[s.isoformat() for s in STAMPS]),
    "iso_texts_of_a_zone": lambda: asked(event_timestamp=[s.isoformat() for s in AHEAD]),
    "duplicate_rows": lambda: pd.concat([asked(), asked(), asked().head(2)], ignore_index=True),
    "duplicate_rows_of_other_columns": lambda: asked(row=None, label=[1, 2, 3, 4] * 2, driver_id=1001),
    "extra_columns": lambda: asked(label=[0.5, None] * 4, note=["a", None, "", "b"] * 2),
    "column_of_lists": lambda: asked(words=[["a"], []] * 4),
    "any_index": lambda: asked().set_index(pd.Index(list("hgfedcba"), name="label")),
    "repeated_index": lambda: asked().set_index(pd.Index([3] * 8)),
    "rows_backwards": lambda: asked().iloc[::-1],
    "small_keys": lambda: asked(driver_id=pd.Series([1001, 1001, 1002, 1003] * 2, dtype="int16")),
    "unsigned_keys": lambda: asked(driver_id=pd.Series([1001, 1001, 1002, 1003] * 2, dtype="uint32")),
    "nullable_keys": lambda: asked(driver_id=pd.Series([1001, None, 1002, 1003] * 2, dtype="Int64")),
    "float_keys": lambda: asked(driver_id=[1001.0, 1001.0, 1002.0, np.nan] * 2),
    "categorical_keys": lambda: asked(customer_id=asked()["customer_id"].astype("category")),
    "string_keys": lambda: asked(customer_id=asked()["customer_id"].astype("string")),
    "null_text_keys": lambda: asked(customer_id=["ann", None] * 4),
    "objects_as_keys": lambda: asked(driver_id=pd.Series([1001, 1001, 1002, 1003] * 2, dtype=object)),
    "another_name_of_the_time": lambda: asked().rename(columns={"event_timestamp": "asked_at"}),
    "a_second_time_column": lambda: asked(seen_at=NAIVE),
    "missing_instant": lambda: asked(event_timestamp=STAMPS.where(STAMPS.index != 2)),
    "missing_text_instant": lambda: asked(event_timestamp=[None, *(s.isoformat() for s in STAMPS[1:])]),
    "no_time_column": lambda: asked(event_timestamp=None),
    "instants_as_integers": lambda: asked(event_timestamp=range(8)),
    "missing_key": lambda: asked(customer_id=None),
    "label_named_like_a_feature": lambda: asked(spent=[1.0] * 8),
    "text_for_a_number": lambda: asked(driver_id=["a"] * 8),
    "no_rows": lambda: asked().head(0),
    "one_row": lambda: asked().head(1),
    "instants_out_of_range": lambda: asked(event_timestamp=instants(datetime(1700, 1, 1, tzinfo=UTC)).repeat(8)),
}  # fmt: skip


def of(features: list[str], make: Callable[[], Any], **options: Any) -> Case:
    """The case of a training set."""
    return lambda side: trained(side.store.get_historical_features(make(), features, **options))


def whatever_the_order(features: list[str], make: Callable[[], Any]) -> Case:
    """The same where stock's order of columns is not the same in every process: implied inputs stand in a set."""

    def train(side: Side) -> Any:
        df = side.store.get_historical_features(make(), features).to_df()
        return frame(df[sorted(df.columns)])

    return train


def of_service(name: str, make: Callable[[], pd.DataFrame], **options: Any) -> Case:
    """The case of a service's training set; the order of its columns is another case."""

    def train(side: Side) -> Any:
        service = side.store.get_feature_service(name)
        df = side.store.get_historical_features(make(), service, **options).to_df()
        return frame(df[sorted(df.columns)])

    return train


def with_bonus() -> pd.DataFrame:
    """Rows with the request data of `in_pandas`."""
    return asked(bonus=pd.Series(range(8), dtype="int64"))


def journeys() -> pd.DataFrame:
    """Rows with the keys of both aliases."""
    return asked(driver_id=None, customer_id=None, origin_id=[7, 8, 9, 7, 8, 9, 1, 7], destination_id=[8, 7] * 4)


def theirs() -> pd.DataFrame:
    """Rows with one key renamed, beside a column of its old name."""
    return asked(their_id=asked()["driver_id"], driver_id=1002)


def ties() -> pd.DataFrame:
    """The instants of rows that were created twice, just before and just after."""
    at = START - timedelta(hours=1) + timedelta(hours=18)
    micro = timedelta(microseconds=1)
    return pd.DataFrame({"driver_id": 1001, "event_timestamp": instants(at - micro, at, at + micro), "row": range(3)})


def edges_of_ttl() -> pd.DataFrame:
    """The only row of 1004 at the last instant that it holds, and a microsecond later."""
    at = START - timedelta(hours=4) + timedelta(days=2)
    micro = timedelta(microseconds=1)
    return pd.DataFrame({"driver_id": 1004, "event_timestamp": instants(at - micro, at, at + micro), "row": range(3)})


def created_later() -> pd.DataFrame:
    """Instants at which some values were not created yet."""
    half_hours = instants(*(NOON + timedelta(minutes=30 * i) for i in range(8)))
    return asked(driver_id=[1001, 1002] * 4, event_timestamp=half_hours)


def plain_and_aliased(side: Side) -> Any:
    """One view as it is and under another name."""
    with side.plain_and_aliased() as both:
        return trained(side.store.get_historical_features(journeys().assign(zone_id=7), both, full_feature_names=True))


def rows_keep_their_order(side: Side) -> Any:
    """Rows come back as they were handed in."""
    backwards = asked().iloc[::-1]
    return list(side.store.get_historical_features(backwards, ["driver_home:rent"]).to_df()["row"])


def the_entity_df_is_left_alone(side: Side) -> Any:
    """A caller's frame is not written into."""
    mine = asked(event_timestamp=[s.isoformat() for s in STAMPS])
    side.store.get_historical_features(mine, ["driver_home:rent"]).to_df()
    return frame(mine)


def asked_twice(side: Side) -> Any:
    """A job may be read again."""
    job = side.store.get_historical_features(asked(), ORDERS)
    return [frame(job.to_df()), arrow(job.to_arrow()), frame(job.to_df())]


def in_the_order_of_the_service(side: Side) -> Any:
    """The columns that a service adds; `town` is an input of an on-demand view."""
    service = side.store.get_feature_service("everything")
    columns = side.store.get_historical_features(with_bonus(), service).to_df().columns
    return [name for name in columns if name not in with_bonus().columns]


def to_sql(side: Side) -> Any:
    """Whether the store has SQL to show."""
    return side.store.get_historical_features(asked(), ORDERS).to_sql()


def metadata(side: Side) -> Any:
    """What a job says about itself."""
    job = side.store.get_historical_features(asked(), ORDERS)
    about = job.metadata
    assert about
    times = [about.min_event_timestamp, about.max_event_timestamp]
    return sorted(about.keys), about.features, [pd.Timestamp(t).isoformat() for t in times], job.full_feature_names


def saved(side: Side, name: str, path: str, features: list[str] | FeatureService, **options: Any) -> Any:
    """Save a training set as `path` and read it back, from the job and from the registry."""
    job = side.store.get_historical_features(with_bonus(), features)
    storage = SavedDatasetFileStorage(path=str(side.folder / "data" / path))
    made = side.store.create_saved_dataset(job, name, storage, tags={"of": name}, **options)
    found = side.store.get_saved_dataset(name)
    about = sorted(found.join_keys), sorted(found.features), found.tags, found.feature_service_name
    times = [pd.Timestamp(t).isoformat() for t in (found.min_event_timestamp, found.max_event_timestamp) if t]
    tables = [made.to_arrow(), found.to_arrow()]  # join keys come in the order of a set
    return about, times, [arrow(table.select(sorted(table.column_names))) for table in tables]


def dataset_in_a_file(side: Side) -> Any:
    """A dataset of two views in one Parquet file."""
    return saved(side, "in_a_file", "in_a_file.parquet", ALL)


def dataset_in_a_new_folder(side: Side) -> Any:
    """A file whose folder is not there yet."""
    return saved(side, "in_a_new_folder", "new/folder/set.parquet", ORDERS, allow_overwrite=True)


def dataset_in_a_directory(side: Side) -> Any:
    """A directory of Parquet files."""
    return saved(side, "in_a_directory", "in_a_directory", ORDERS)


def dataset_of_a_service(side: Side) -> Any:
    """A dataset that knows its service, on-demand views included."""
    service = side.store.get_feature_service("everything")
    options = {"feature_service": service, "allow_overwrite": True}
    return saved(side, "of_a_service", "of_a_service.parquet", service, **options)


def dataset_not_overwritten(side: Side) -> Any:
    """A second dataset in the same place is refused."""
    saved(side, "first", "twice.parquet", ORDERS)
    return saved(side, "second", "twice.parquet", ORDERS)


def dataset_overwritten(side: Side) -> Any:
    """Unless overwriting is allowed."""
    saved(side, "first", "again.parquet", ORDERS)
    return saved(side, "second", "again.parquet", ["driver_home:rent"], allow_overwrite=True)


def dataset_in_one_call(side: Side) -> Any:
    """`create_dataset_from_retrieval` and a look at its first rows."""
    storage = SavedDatasetFileStorage(path=str(side.folder / "data/one_call.parquet"))
    side.store.create_dataset_from_retrieval("one_call", asked(), ORDERS, storage)
    listed = [each.name for each in side.store.list_saved_datasets() if each.name == "one_call"]
    found = side.store.retrieve_dataset_data("one_call", limit=3)
    return listed, frame(found[sorted(found.columns)])


def dataset_unknown(side: Side) -> Any:
    """A name under which nothing was saved."""
    return side.store.get_saved_dataset("nothing")


def logs(side: Side) -> Any:
    """What was served is logged and found in the logs' folder."""
    from feast.feature_logging import LOG_DATE_FIELD, LOG_TIMESTAMP_FIELD, REQUEST_ID_FIELD

    stamp = pa.array([NOON, NOON], pa.timestamp("us", tz="UTC"))
    columns: dict[str, Any] = {"driver_id": [1001, 1002], "driver_home__town": ["Bern", None]}
    columns |= {"driver_home__rent": [1.5, -0.0], "driver_home__rent__timestamp": stamp}
    columns |= {"driver_home__town__timestamp": stamp, "driver_home__town__status": [0, 2]}
    columns |= {"driver_home__rent__status": [0, 0], REQUEST_ID_FIELD: ["a", "b"]}
    columns |= {LOG_TIMESTAMP_FIELD: stamp, LOG_DATE_FIELD: pa.array([NOON.date()] * 2)}
    side.store.write_logged_features(pa.table(columns), side.store.get_feature_service("logged"))
    import pyarrow.parquet as pq

    return arrow(pq.read_table(side.folder / "data/logged").drop_columns([LOG_DATE_FIELD]))


OTHERS = [
    plain_and_aliased,
    rows_keep_their_order,
    the_entity_df_is_left_alone,
    asked_twice,
    in_the_order_of_the_service,
    to_sql,
    metadata,
]
OTHERS += [dataset_in_a_file, dataset_in_a_new_folder, dataset_in_a_directory, dataset_of_a_service]
OTHERS += [dataset_not_overwritten, dataset_overwritten, dataset_in_one_call, dataset_unknown, logs]
SPAN = {"start_date": NOON - timedelta(days=1), "end_date": NOON}
CASES: dict[str, Case] = {
    **{f"training {name}": of(ORDERS, make) for name, make in FRAMES.items()},
    "training every_type": of(ALL, asked),
    "training every_type_in_arrow": lambda side: arrow(side.store.get_historical_features(asked(), ALL).to_arrow()),
    "training full_names": of(ALL, asked, full_feature_names=True),
    "training label_of_a_full_name": of(ALL, lambda: asked(rent=[1.0] * 8), full_feature_names=True),
    "training service": of_service("everything", with_bonus),
    "training service_with_full_names": of_service("everything", with_bonus, full_feature_names=True),
    "training on_demand_alone": whatever_the_order(["in_pandas:rate_twice", "in_python:address"], with_bonus),
    "training on_demand_stored": whatever_the_order(["stored:yearly"], asked),
    "training on_demand_without_request_data": of(["in_pandas:rate_twice"], asked),
    "training aliases": of_service("journey", journeys, full_feature_names=True),
    "training one_of_two_keys_renamed": of_service("theirs", theirs),
    "training aliases_without_full_names": of_service("journey", journeys),
    "training alias_without_its_key": of_service("journey", asked, full_feature_names=True),
    "training ties": of(STATS, ties),
    "training edges_of_ttl": of(STATS, edges_of_ttl),
    "training filter_by_created_timestamp": of(STATS, created_later, filter_by_created_timestamp=True),
    "training filter_by_created_timestamp_without_one": of(ORDERS, asked, filter_by_created_timestamp=True),
    "training not_filtered_by_created_timestamp": of(STATS, created_later),
    "training view_without_entities": of(["weather:degrees"], asked),
    "training renamed_column": of(["driver_home:rent", "driver_home:town"], asked),
    "training view_that_changed_no_name": of(["nightly:trips", "hourly:acc_rate"], asked),
    "training clash_of_names": of(["driver_stats:trips", "nightly:trips"], asked),
    "training unknown_feature": of(["driver_home:colour"], asked),
    "training unknown_view": of(["nobody:rent"], asked),
    "training no_features": of([], asked),
    "training span_without_entity_df": of(ORDERS, lambda: None, **SPAN),
    "training start_without_entity_df": of(ORDERS, lambda: None, start_date=SPAN["start_date"]),
    "training entity_df_and_span": of(ORDERS, asked, **SPAN),
    "training no_entity_df": of(ORDERS, lambda: None),
    "training query": of(ORDERS, lambda: "SELECT 1"),
    "training arrow_entity_df": of(ORDERS, lambda: pa.Table.from_pandas(asked())),
    "training version_0": of(["driver_home@v0:rent"], asked),
    "training version_latest": of(["driver_home@latest:rent"], asked),
    "training version_unknown": of(["driver_home@v9:rent"], asked),
    **{f"training {case.__name__}": case for case in OTHERS},
}
