"""Cases of writing: online, offline, pushed and materialised; each case has keys or a view of its own."""

import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from feast.data_source import PushMode

from parity_tests.differential.data import NOON, START, asked
from parity_tests.differential.plain import exact, rows, served, shown, trained
from parity_tests.differential.sides import NOW, Case, Side

HOME = ["driver_home:town", "driver_home:rent"]
KEYED = ["trips", "acc_rate"]
MINUTE = timedelta(minutes=1)


def home(driver: int, *values: tuple[str | None, float | None, datetime]) -> pd.DataFrame:
    """Rows of one driver's home."""
    town, rent, at = zip(*values, strict=True)
    return pd.DataFrame({"driver_id": driver, "town": town, "rent": rent, "event_timestamp": at})


def read(side: Side, features: list[str], *drivers: int) -> Any:
    """What is served of drivers now."""
    return served(side.store.get_online_features(features, {"driver_id": list(drivers)}))


def keyed(side: Side, view: str, *drivers: int) -> Any:
    """The values of a view that cases write; what it has not is another case."""
    features = [f"{view}:{name}" for name in KEYED]
    return exact(side.store.get_online_features(features, {"driver_id": list(drivers)}).to_dict())


def written(driver: int, *batches: pd.DataFrame) -> Case:
    """The case of rows that are written batch by batch; after each, what is served."""

    def write(side: Side) -> Any:
        answers = []
        for batch in batches:
            side.store.write_to_online_store("driver_home", batch)
            answers.append(read(side, HOME, driver))
        return answers

    return write


def written_async(driver: int, *batches: pd.DataFrame) -> Case:
    """The same, awaited."""

    def write(side: Side) -> Any:
        answers = []
        for batch in batches:
            side.run(side.store.write_to_online_store_async("driver_home", batch))
            answers.append(read(side, HOME, driver))
        return answers

    return write


AGO = NOW - MINUTE
BATCHES: dict[str, list[list[tuple[str | None, float | None, datetime]]]] = {
    "newer_replaces_older": [[("a", 1.0, AGO)], [("b", 2.0, NOW)]],
    "older_is_skipped": [[("b", 2.0, NOW)], [("a", 1.0, AGO)]],
    "the_same_instant_is_skipped": [[("a", 1.0, NOW)], [("b", 2.0, NOW)]],
    "two_rows_of_one_batch": [[("b", 2.0, NOW), ("a", 1.0, AGO)]],
    "two_rows_of_one_instant": [[("a", 1.0, NOW), ("b", 2.0, NOW)]],
    "nulls_replace": [[("a", 1.0, AGO)], [(None, 2.0, NOW)]],
    "only_nulls_are_not_written": [[("a", 1.0, AGO)], [(None, None, NOW)]],
    "no_time_zone": [[("a", 1.0, NOW.replace(tzinfo=None))]],
    "microseconds": [[("a", 1.0, NOW + timedelta(microseconds=1))], [("b", 2.0, NOW)]],
}


def frames(driver: int, batches: list[Any]) -> list[pd.DataFrame]:
    """Batches as frames."""
    return [home(driver, *batch) for batch in batches]


def refused(frame: Callable[[], pd.DataFrame], view: str = "driver_home") -> Case:
    """The case of a frame that may not be written; what is served if it is."""

    def write(side: Side) -> Any:
        side.store.write_to_online_store(view, frame())
        return read(side, HOME, 2100)

    return write


def with_extra_columns(side: Side) -> Any:
    """Columns that the view does not know."""
    side.store.write_to_online_store("driver_home", home(2020, ("a", 1.0, NOW)).assign(colour="red"))
    return read(side, HOME, 2020)


def without_rows(side: Side) -> Any:
    """An empty frame changes nothing and warns."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        side.store.write_to_online_store("driver_home", home(2021, ("a", 1.0, NOW)).head(0))
    return [str(each.message) for each in said if "empty" in str(each.message)], read(side, HOME, 1001)


def inputs_of_columns(side: Side) -> Any:
    """`inputs` in place of a frame."""
    columns = home(2022, ("a", 1.0, NOW)).to_dict("list")
    side.store.write_to_online_store("driver_home", inputs=columns)
    return read(side, HOME, 2022)


def stored_on_demand(side: Side) -> Any:
    """An on-demand view whose values are computed when they are written; Feast stamps them with the clock."""
    side.store.write_to_online_store("stored", home(2023, ("a", 10.5, NOW)))
    return shown(side.store.get_online_features(["stored:yearly"], {"driver_id": [2023]}))


def stored_on_demand_beside_others(side: Side) -> Any:
    """The same with features of other views."""
    side.store.write_to_online_store("stored", home(1002, ("a", 3.5, NOW)))
    features = ["stored:yearly", "driver_home:rent", "driver_stats:trips"]
    return shown(side.store.get_online_features(features, {"driver_id": [1002]}))


def pushed(driver: int, to: PushMode) -> Case:
    """The case of a push; what is served, and what the source holds of the driver."""

    def push(side: Side) -> Any:
        frame = pd.DataFrame({"driver_id": [driver], "trips": [5], "acc_rate": [0.25], "event_timestamp": [NOW]})
        side.store.push("pushed_push", frame, to=to)
        found = pq.read_table(side.source("pushed"), filters=[("driver_id", "=", driver)])
        return keyed(side, "pushed", driver), rows(found)

    return push


def pushed_async(side: Side) -> Any:
    """A push to both stores, awaited."""
    frame = pd.DataFrame({"driver_id": [2034], "trips": [6], "acc_rate": [0.5], "event_timestamp": [NOW]})
    side.run(side.store.push_async("pushed_push", frame, to=PushMode.ONLINE_AND_OFFLINE))
    found = pq.read_table(side.source("pushed"), filters=[("driver_id", "=", 2034)])
    return keyed(side, "pushed", 2034), rows(found)


def pushed_to_nobody(side: Side) -> Any:
    """A push source that nobody declared."""
    return side.store.push("nobody_push", home(2035, ("a", 1.0, NOW)))


def appended(side: Side) -> Any:
    """Rows written offline are trained on, whatever the order of their columns."""
    frame = pd.DataFrame({"event_timestamp": [START], "acc_rate": [0.5], "trips": [3], "driver_id": [2040]})
    side.store.write_to_offline_store("appended", frame)
    asked_of = asked(driver_id=2040)
    job = side.store.get_historical_features(asked_of, ["appended:trips", "appended:acc_rate"])
    return rows(pq.read_table(side.source("appended"))), trained(job)


def appended_without_a_column(side: Side) -> Any:
    """Every column of the source is needed."""
    return side.store.write_to_offline_store("appended", pd.DataFrame({"driver_id": [1], "trips": [2]}))


def appended_as_it_is(side: Side) -> Any:
    """Columns in another order, without leave to reorder them."""
    frame = pd.DataFrame({"event_timestamp": [START], "acc_rate": [0.5], "trips": [3], "driver_id": [2041]})
    return side.store.write_to_offline_store("appended", frame, reorder_columns=False)


def appended_to_nobody(side: Side) -> Any:
    """A view that nobody declared."""
    return side.store.write_to_offline_store("nobody", pd.DataFrame({"driver_id": [1]}))


def materialised(side: Side) -> Any:
    """The latest row of a span, in every type; of two with one instant, the one created later."""
    features = [f"nightly:{feature.name}" for feature in side.store.get_feature_view("nightly").features]
    answers = []
    for start, end in [(START - timedelta(days=1), START + timedelta(hours=17)), (START + timedelta(hours=17), NOON)]:
        side.store.materialize(start, end, ["nightly"])
        answers.append(read(side, features, 1001, 1002, 1003, 1004))
    return answers


def materialised_incrementally(side: Side) -> Any:
    """From where the last run ended, which the registry knows."""
    answers = []
    for end in (START + timedelta(hours=4), NOON):
        side.store.materialize(START, START + timedelta(hours=1), ["hourly"])
        side.store.materialize_incremental(end, ["hourly"])
        spans = side.store.get_feature_view("hourly").materialization_intervals
        answers.append((keyed(side, "hourly", 1001, 1002, 1003), [(a.isoformat(), b.isoformat()) for a, b in spans]))
    return answers


def materialised_without_entities(side: Side) -> Any:
    """A view without entities has one row."""
    side.store.materialize(START, NOON, ["weather"])
    return read(side, ["weather:degrees"], 1001)


def materialised_composite(side: Side) -> Any:
    """Two keys, and values newer than the span, which stay."""
    side.store.materialize(START, NOON, ["driver_orders"])
    keys = {"driver_id": [1001, 1002, 1001, 1002], "customer_id": ["ann", "bob", "bob", "ann"]}
    return served(side.store.get_online_features(["driver_orders:orders", "driver_orders:spent"], keys))


def precomputed(side: Side) -> Any:
    """A service whose rows are put together beforehand."""
    count = side.store.precompute_feature_service("ready")
    service, keys = side.store.get_feature_service("ready"), {"driver_id": [1001, 1002]}
    # Feast finds them by their full names alone.
    return count > 2, shown(side.store.get_online_features(service, keys, full_feature_names=True))


def precomputed_for_an_earlier_instant(side: Side) -> Any:
    """The same, asked for an instant before anything was written."""
    side.store.precompute_feature_service("ready")
    rows = [{"driver_id": 1001, "event_timestamp": NOW - timedelta(days=9)}]
    return shown(side.store.get_online_features(side.store.get_feature_service("ready"), rows, full_feature_names=True))


def materialised_version(side: Side) -> Any:
    """A version of a view that does not exist."""
    return side.store.materialize(START, NOON, ["driver_home"], version="v9")


def materialised_nobody(side: Side) -> Any:
    """A view that nobody declared."""
    return side.store.materialize(START, NOON, ["nobody"])


def materialised_backwards(side: Side) -> Any:
    """A span that ends before it starts."""
    return side.store.materialize(NOON, START, ["nightly"])


OTHERS = [with_extra_columns, without_rows, inputs_of_columns, stored_on_demand, stored_on_demand_beside_others]
OTHERS += [pushed_async, pushed_to_nobody]
OTHERS += [appended, appended_without_a_column, appended_as_it_is, appended_to_nobody]
OTHERS += [materialised, materialised_incrementally, materialised_without_entities, materialised_composite]
OTHERS += [
    precomputed,
    precomputed_for_an_earlier_instant,
    materialised_version,
    materialised_nobody,
    materialised_backwards,
]
ROW = home(2100, ("a", 1.0, NOW))
CASES: dict[str, Case] = {
    **{f"write {name}": written(2000 + i, *frames(2000 + i, b)) for i, (name, b) in enumerate(BATCHES.items())},
    **{
        f"write async {name}": written_async(2050 + i, *frames(2050 + i, b))
        for i, (name, b) in enumerate(BATCHES.items())
    },
    "write without_a_feature": refused(lambda: ROW.drop(columns="rent")),
    "write without_the_key": refused(lambda: ROW.drop(columns="driver_id")),
    "write without_the_time": refused(lambda: ROW.drop(columns="event_timestamp")),
    "write of_another_type": refused(lambda: ROW.assign(rent="dear")),
    "write null_key": refused(lambda: ROW.assign(driver_id=pd.Series([None], dtype="Int64"))),
    "write missing_instant": refused(lambda: ROW.assign(event_timestamp=pd.NaT)),
    "write unknown_view": refused(lambda: ROW, view="nobody"),
    "push online": pushed(2031, PushMode.ONLINE),
    "push offline": pushed(2032, PushMode.OFFLINE),
    "push online_and_offline": pushed(2033, PushMode.ONLINE_AND_OFFLINE),
    **{f"write {case.__name__}": case for case in OTHERS},
}
