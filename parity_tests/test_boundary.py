"""Whatever a user hands over means the same online and in training, or is refused by both in a sentence.

One filled repo, thousands of requests: every shape of keys, instants, aliases and services.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from dualpath.errors import DualpathError, InputError
from dualpath.jobs.build import build
from dualpath.jobs.stream import start
from dualpath.online.connection import embedded_folder
from dualpath.parity.compare import same
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sources.source import Directory

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BERLIN = ZoneInfo("Europe/Berlin")
BIG = 10_000_000_000
"""A shop number that a float column holds exactly, and 32 bits do not."""
USERS = ["ann", "bob", "", "7", "urn:user:42", "Ünï 😀", "00000000-0000-0000-0000-000000000005", "nan", "None"]
SHOPS = [0, 7, -1, BIG]
REFS = [
    "user_orders:orders_1h",
    "user_orders:by_kind",
    "shop_orders:spent_7d",
    "pair_orders:pair_orders_7d",
    "user_orders:mean_7d",
    "user_orders:kinds_7d",
    "shop_orders:orders_7d",
    "user_profile:age",
    "derived:busy",
    "user_profile:rating",
    "derived:adult",
]
KEYS = {"user_id": "text", "author_id": "text", "reader_id": "text", "shop_id": "integer", "seller_id": "integer"}


def payloads(count: int) -> Iterator[str]:
    """Orders of every user in every shop, some of nobody or nowhere."""
    random = np.random.default_rng(11)
    for n in range(count):
        order = {
            "event_id": f"o{n}",
            "event_time": (START + timedelta(seconds=int(random.integers(0, 5 * 86_400)))).isoformat(),
            "user_id": random.choice([*USERS, None]),
            "shop_id": random.choice(np.array([*SHOPS, None], dtype=object)),
            "kind": random.choice(["book", "tea", "Ünï", "", None]),
            "amount": f"{int(random.integers(0, 9_999)) / 100:.2f}",
        }
        yield json.dumps({name: value for name, value in order.items() if value is not None})


@pytest.fixture(scope="module")
def repo(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    folder = tmp_path_factory.mktemp("boundary") / "boundary"
    shutil.copytree(Path(__file__).with_name("boundary_repo"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    days = [START + timedelta(days=n) for n in range(4)]
    profiles = pd.DataFrame(
        [(user, when, 15 + n + i, i / 3) for i, user in enumerate(USERS) for n, when in enumerate(days)],
        columns=["user_id", "event_time", "age", "rating"],
    )
    pq.write_table(pa.Table.from_pandas(profiles, preserve_index=False), folder / "data" / "profiles.parquet")
    opened = Repo(folder)
    opened.apply()
    landing = opened.storage("orders").folder("landing")
    landing.mkdir(parents=True)
    (landing / "0.jsonl").write_text("\n".join(payloads(800)) + "\n")
    try:
        start(spark, opened, opened.sources["orders"], Directory(landing, 1)).awaitTermination()
        build(spark, opened, opened.sources["orders"])
        newest = profiles[profiles["event_time"] == days[-1]]
        opened.store.write_to_online_store("user_profile", newest)
        yield opened
    finally:
        redis.stop(embedded_folder(opened.store.config))


@dataclass
class Said:
    """What one side answers: values by column, or the sentence of its refusal."""

    values: dict[str, list[Any]] | None = None
    refusal: str = ""


def said(ask: Callable[[], dict[str, list[Any]]]) -> Said:
    """Ask; an error that is not one of dualpath's goes through, and fails the test."""
    try:
        return Said(ask())
    except DualpathError as error:
        return Said(refusal=error.message)


def served(store: FeatureStore, features: Any, rows: Any) -> dict[str, list[Any]]:
    return store.get_online_features(features, rows, full_feature_names=True).to_dict()


def trained(store: FeatureStore, features: Any, frame: Any) -> dict[str, list[Any]]:
    table = store.get_historical_features(frame, features, full_feature_names=True).to_arrow()
    return {name: table[name].to_pylist(maps_as_pydicts="strict") for name in table.column_names}


def asked_for(store: FeatureStore, features: Any) -> list[str]:
    """The columns that an answer must have, in their order."""
    if isinstance(features, list):
        return [ref.replace(":", "__") for ref in features]
    return [
        f"{projection.name_to_use()}__{feature.name}"
        for projection in features.feature_view_projections
        for feature in projection.features
    ]


def agree(repo: Repo, features: Any, columns: dict[str, Any], rows: Any = None) -> Said:
    """Hold both sides together; `columns` become the `entity_df`, and are the entity rows if there are no others."""
    online = said(lambda: served(repo.store, features, columns if rows is None else rows))
    training = said(lambda: trained(repo.store, features, pd.DataFrame(columns)))
    assert (online.values is None) == (training.values is None), (online, training)
    if online.values is not None and training.values is not None:
        wanted = asked_for(repo.store, features)
        assert [name for name in online.values if "__" in name] == wanted
        assert [name for name in training.values if "__" in name and name in wanted] == wanted
        for name in wanted:
            assert same(online.values[name], training.values[name]), (name, online.values[name], training.values[name])
    return online


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


NOON = START + timedelta(days=3, hours=12)


@pytest.mark.parametrize("nobody", [None, float("nan"), pd.NA, pd.NaT], ids=repr)
def test_a_null_join_key_is_nobody(repo: Repo, nobody: Any) -> None:
    """Not the entity 0 or "", which both have orders; nor half of a composite key."""
    features = ["shop_orders:orders_7d", "user_orders:kinds_7d", "pair_orders:pair_orders_7d", "user_profile:age"]
    rows = {
        "user_id": [nobody, "", nobody, "ann"],
        "shop_id": [0, nobody, nobody, nobody],
        "event_timestamp": [NOON] * 4,
    }
    answer = repo.store.get_online_features(features, rows)
    statuses = {
        name: [FieldStatus.Name(status) for status in result.statuses]
        for name, result in zip(answer.proto.metadata.feature_names.val, answer.proto.results, strict=True)
    }
    values = answer.to_dict()
    assert values["orders_7d"][0] > 0 and values["orders_7d"][1:] == [0, 0, 0]
    assert values["kinds_7d"][0] == values["kinds_7d"][2] == [] and values["kinds_7d"][1] and values["kinds_7d"][3]
    assert values["pair_orders_7d"] == [0, 0, 0, 0]
    assert values["age"][0] is values["age"][2] is None and None not in (values["age"][1], values["age"][3])
    assert statuses["orders_7d"] == ["PRESENT", *["NOT_FOUND"] * 3]
    assert statuses["pair_orders_7d"] == ["NOT_FOUND"] * 4
    assert statuses["kinds_7d"] == statuses["age"] == ["NOT_FOUND", "PRESENT", "NOT_FOUND", "PRESENT"]
    agree(repo, features, rows)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            {"user_id": ["ann", "bob"], "event_timestamp": [NOON]},
            "the columns of the entity rows have different lengths, 2 of 'user_id', 1 of 'event_timestamp'; "
            "give each one value a row.",
        ),
        (
            [{"user_id": "ann"}, {"event_timestamp": NOON}],
            "entity row 1 has no 'user_id', which others have; give it to every row.",
        ),
        ([{"shop_id": 7}], "the entity rows have no 'user_id', the join key of view 'user_orders'; they have shop_id."),
        ({"user_id": "ann"}, "the column 'user_id' of the entity rows is a lone str; pass a list."),
        ([], "there are no entity rows; pass at least one."),
        ("ann", "entity_rows are a list of rows, each a dict, or one dict of columns; pass one of the two."),
        (
            [{"user_id": 7.5}],
            "user_id, row 0: 7.5 (float) is not a text key; pass text, or a whole number or a UUID, which become text.",
        ),
        (
            [{"user_id": "ann", "event_timestamp": NOON}, {"user_id": "ann", "event_timestamp": None}],
            "event_timestamp, row 1: the instant is missing; pass a datetime, which is UTC if it has no time zone, or "
            "ISO-8601 text like 2026-03-04T12:00:00Z.",
        ),
    ],
    ids=["fewer instants", "a gap", "no key at all", "a lone text", "no rows", "no shape", "no text", "no instant"],
)
def test_a_request_that_cannot_be_read_is_refused_in_one_sentence(repo: Repo, rows: Any, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        served(repo.store, ["user_orders:orders_1h"], rows)
    assert refused.value.message == sentence


def test_a_row_without_an_instant_means_the_present_beside_rows_with_one(repo: Repo) -> None:
    rows = [{"user_id": "ann", "event_timestamp": NOON}, {"user_id": "ann"}]
    answer = served(repo.store, ["user_orders:kinds_7d", "user_orders:by_kind"], rows)
    assert answer["user_orders__kinds_7d"][0] and answer["user_orders__kinds_7d"][1] == []
    assert answer["user_orders__by_kind"][1]


def test_whole_floats_beyond_32_bits_are_integer_keys(repo: Repo) -> None:
    """pandas makes floats of integers as soon as one is missing."""
    rows = {"shop_id": pd.Series([BIG, None, 7]), "event_timestamp": [NOON] * 3}
    assert rows["shop_id"].dtype == float
    answer = agree(repo, ["shop_orders:orders_7d"], rows).values
    assert answer is not None
    big, nobody, seven = answer["shop_orders__orders_7d"]
    assert big > 0 and seven > 0 and nobody == 0


def test_an_alias_is_read_from_its_own_column_whatever_else_a_row_has(repo: Repo) -> None:
    service = repo.store.get_feature_service("aliased")
    right = {"author_id": ["ann"], "reader_id": ["bob"], "seller_id": [7], "event_timestamp": [NOON]}
    expected = agree(repo, service, right).values
    assert expected is not None
    assert expected["author__by_kind"] != expected["reader__by_kind"]
    for stray in ("user_id", "shop_id"):
        for first in (True, False):
            strays = {stray: ["7"]}
            found = agree(repo, service, strays | right if first else right | strays).values
            assert found is not None
            assert all(same(found[name], values) for name, values in expected.items())
    with pytest.raises(InputError, match="no 'author_id', the join key of view 'author'; they have user_id, reader_id"):
        served(repo.store, service, {"user_id": ["ann"], **{k: v for k, v in right.items() if k != "author_id"}})


def test_an_ordinary_view_serves_no_value_that_is_later_than_the_instant(repo: Repo) -> None:
    written = START + timedelta(days=3)
    instant, expiry = timedelta(microseconds=1), written + timedelta(days=2)
    instants = [written - instant, written, expiry, expiry + instant, written]
    rows = {"user_id": ["ann"] * 4 + ["nobody"], "event_timestamp": instants}
    answer = repo.store.get_online_features(["user_profile:age"], rows)
    [_, result] = answer.proto.results
    assert answer.to_dict()["age"] == [None, 18, 18, None, None]
    assert [FieldStatus.Name(status) for status in result.statuses] == [
        "NOT_FOUND", "PRESENT", "PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND",
    ]  # fmt: skip
    agree(repo, ["user_profile:age"], {name: values[1:] for name, values in rows.items()})


@pytest.mark.parametrize(
    ("service", "why"),
    [("frozen", "the values of view 'shop_orders' change with time"), ("frozen_profile", "the rows name instants")],
)
def test_vectors_made_beforehand_are_not_served_for_an_instant(repo: Repo, service: str, why: str) -> None:
    rows = {"user_id": ["ann"], "shop_id": [7], "event_timestamp": [NOON]}
    with pytest.raises(InputError, match=f"'{service}' has precompute_online=True, but {why}; take precompute_online"):
        served(repo.store, repo.store.get_feature_service(service), rows)


ORDER = """
import sys
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
store = FeatureStore(sys.argv[1])
rows = {"user_id": ["ann"], "shop_id": [7], "event_timestamp": ["2026-03-04T12:00:00Z"]}
for features in (store.get_feature_service("everything"), sys.argv[2].split()):
    online = store.get_online_features(features, rows, full_feature_names=True)
    frame = __import__("pandas").DataFrame(rows)
    training = store.get_historical_features(frame, features, full_feature_names=True).to_df()
    print([*online.to_dict()], [*online.to_dict().values()], [*training.columns])
"""


@pytest.mark.slow
def test_answers_have_the_order_asked_in_every_process(repo: Repo) -> None:
    told = set()
    for seed in ("1", "2", "3"):
        words = [sys.executable, "-c", ORDER, str(repo.folder), " ".join(REFS)]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        told.add(done.stdout)
    assert len(told) == 1
    names = [ref.replace(":", "__") for ref in REFS]
    assert str(["user_id", "shop_id", *names]) in told.pop()


def test_the_two_ways_to_ask_are_one(repo: Repo) -> None:
    """A list of rows and a dict of columns, awaited or not, frame or table."""
    columns = {"user_id": ["ann", None, "bob"], "shop_id": [7, 0, BIG], "event_timestamp": [NOON] * 3}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    service = repo.store.get_feature_service("everything")
    expected = served(repo.store, service, columns)
    awaited = asyncio.run(repo.store.get_online_features_async(service, rows, full_feature_names=True))
    assert served(repo.store, service, rows) == awaited.to_dict() == expected
    assert list(awaited.to_df().columns) == list(expected) == awaited.to_arrow().column_names
