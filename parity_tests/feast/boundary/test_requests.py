"""Requests one by one: null keys, missing instants, aliases, orders, and what is refused in a sentence."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from dualpath.errors import InputError
from dualpath.parity.compare import same
from dualpath.repo import Repo
from parity_tests.feast.boundary.asking import BIG, REFS, START, agree, served

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


def told(store: FeatureStore) -> str:
    """What a service and a list of features answer to one row, as a text that keeps its order."""
    rows = {"user_id": ["ann"], "shop_id": [7], "event_timestamp": ["2026-03-04T12:00:00Z"]}
    answers = []
    for features in (store.get_feature_service("everything"), REFS):
        online = store.get_online_features(features, rows, full_feature_names=True).to_dict()
        training = store.get_historical_features(pd.DataFrame(rows), features, full_feature_names=True).to_df()
        answers.append(([*online], [*online.values()], [*training.columns]))
    return str(answers)


TOLD = """
import sys
from feast import FeatureStore
from parity_tests.feast.boundary.test_requests import told
print(told(FeatureStore(sys.argv[1])))
"""


@pytest.mark.slow
def test_answers_have_the_order_asked_in_every_process(repo: Repo) -> None:
    here = told(repo.store)
    names = [ref.replace(":", "__") for ref in REFS]
    assert str(["user_id", "shop_id", *names]) in here
    for seed in {"1", "2"} - {os.environ.get("PYTHONHASHSEED")}:
        words = [sys.executable, "-c", TOLD, str(repo.folder)]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == here


def test_the_two_ways_to_ask_are_one(repo: Repo) -> None:
    """A list of rows and a dict of columns, awaited or not, frame or table."""
    columns = {"user_id": ["ann", None, "bob"], "shop_id": [7, 0, BIG], "event_timestamp": [NOON] * 3}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    service = repo.store.get_feature_service("everything")
    expected = served(repo.store, service, columns)
    awaited = asyncio.run(repo.store.get_online_features_async(service, rows, full_feature_names=True))
    assert served(repo.store, service, rows) == awaited.to_dict() == expected
    assert list(awaited.to_df().columns) == list(expected) == awaited.to_arrow().column_names
