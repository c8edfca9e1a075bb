"""Every path to a value gives the same bits: oracle, served, trained in process, trained on Spark."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from pyspark.sql import SparkSession

from dualpath.offline.history import History, view_version
from dualpath.online import keys, manifest
from dualpath.online.connection import connect
from dualpath.parity.compare import differences
from dualpath.parity.events import read
from dualpath.parity.oracle_runner import answers
from dualpath.parity.sample import draw
from dualpath.parity.views import ViewGroup, serve, train, view_groups
from dualpath.record import layout
from dualpath.repo import Repo
from parity_tests.conftest import SOURCE

ROWS = 400


@pytest.fixture(scope="module", params=["user_id", "product_id"])
def group(shop: Repo, request: pytest.FixtureRequest) -> ViewGroup:
    """Views of one entity."""
    return next(f for f in view_groups(shop) if f.views[0].keys == (request.param,))


@pytest.fixture(scope="module")
def asked(shop: Repo, group: ViewGroup) -> tuple[list[pa.Array], np.ndarray]:
    """Entities and instants chosen to hurt."""
    return draw(read(shop.storage(SOURCE), shop.sources[SOURCE]).to_batches, group.views, ROWS, seed=7)


@pytest.fixture(scope="module")
def truth(shop: Repo, group: ViewGroup, asked: tuple[list[pa.Array], np.ndarray]) -> dict[str, list[Any]]:
    """What the oracle answers, for the windowed features."""
    events = read(shop.storage(SOURCE), shop.sources[SOURCE])
    rows = [(tuple(k[i].as_py() for k in asked[0]), int(t)) for i, t in enumerate(asked[1])]
    columns = {}
    for view in group.views:
        found = answers(view, [events], rows)
        columns |= {f"{view.name}:{f.name}": [row[f.name] for row in found] for f in view.features}
    return columns


def serve_one_by_one(repo: Repo, group: ViewGroup, entities: list[pa.Array], as_of: np.ndarray) -> dict[str, list[Any]]:
    """Served values, each row in a request of its own."""
    found: dict[str, list[Any]] = {ref: [] for ref in group.refs}
    for i in range(len(as_of)):
        for ref, values in serve(repo, group, [k.slice(i, 1) for k in entities], as_of[i : i + 1]).items():
            found[ref] += values
    return found


def train_on_spark(repo: Repo, group: ViewGroup, entities: list[pa.Array], as_of: np.ndarray) -> dict[str, list[Any]]:
    """Training values computed by Spark."""
    distributed = Repo(repo.folder)
    distributed.store.config.offline_store.spark_above_rows = 0
    return train(distributed, group, entities, as_of)


PATHS = {"served": serve, "served one by one": serve_one_by_one, "trained": train, "trained on Spark": train_on_spark}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_gives_the_oracles_bits(
    path: str,
    shop: Repo,
    group: ViewGroup,
    asked: tuple[list[pa.Array], np.ndarray],
    truth: dict[str, list[Any]],
    spark: Any,
) -> None:
    found = PATHS[path](shop, group, *asked)
    assert differences({ref: found[ref] for ref in truth}, truth) == []
    assert all(len(values) == ROWS for values in found.values())


def test_the_derived_level_follows_from_the_counts(shop: Repo, spark: SparkSession) -> None:
    users = next(f for f in view_groups(shop) if f.views[0].keys == ("user_id",))
    entities, as_of = draw(read(shop.storage(SOURCE), shop.sources[SOURCE]).to_batches, users.views, ROWS, seed=8)
    for found in (serve(shop, users, entities, as_of), train(shop, users, entities, as_of)):
        counts = zip(found["user_activity:actions_5min"], found["user_activity:actions_30min"], strict=True)
        expected = ["highly_engaged" if a > 10 else "active" if b > 5 else "browsing" for a, b in counts]
        assert found["engagement:engagement_level"] == expected
        assert set(expected) == {"highly_engaged", "active", "browsing"}


def test_the_stream_and_the_batch_make_the_same_records(shop: Repo) -> None:
    redis = connect(shop.redis_address)
    for view in shop.views.values():
        kind = layout(view)
        batch: dict[str, list[tuple[int, ...]]] = {}
        table = ds.dataset(History(shop.root).paths(view_version(view)), format="parquet").to_table()
        for entity, words in zip(table["entity"].to_pylist(), table["words"].to_pylist(), strict=True):
            batch.setdefault(entity, []).append(tuple(words))
        stream: dict[str, list[tuple[int, ...]]] = {}
        known = manifest.read(redis, shop.project, view.name)
        for part in known.parts:
            for key, found in keys.states(redis, shop.project, namespace=known.namespace, views=[view.name], part=part):
                stream.setdefault(found.entity, []).extend(map(tuple, kind.unpack(redis.get(key)).tolist()))
        assert batch and {e: sorted(r) for e, r in batch.items()} == {e: sorted(r) for e, r in stream.items()}


def test_a_row_without_an_instant_is_answered_for_the_present(shop: Repo) -> None:
    """The events are long past: every window is empty by now, and the entity is still known."""
    user = read(shop.storage(SOURCE), shop.sources[SOURCE])["user_id"][0].as_py()
    answer = shop.store.get_online_features(
        ["user_activity:actions_30min", "user_activity:last_active"], [{"user_id": user}]
    )
    values = answer.to_dict()
    assert values["actions_30min"] == [0] and values["last_active"][0] > 0


def test_an_unknown_entity_is_not_found_and_gets_the_empty_values(shop: Repo) -> None:
    refs = [f"user_activity:{f.name}" for f in shop.views["user_activity"].features]
    answer = shop.store.get_online_features(refs, [{"user_id": "nobody"}])
    names = answer.proto.metadata.feature_names.val
    statuses = {n: list(r.statuses) for n, r in zip(names, answer.proto.results, strict=True) if n != "user_id"}
    assert statuses == {f.name: [FieldStatus.NOT_FOUND] for f in shop.views["user_activity"].features}
    assert {k: v[0] for k, v in answer.to_dict().items() if k != "user_id"} == {
        "actions_5min": 0, "actions_30min": 0, "interests_1h": [], "interest_5min": {}, "recent_products": [],
        "spend_today": 0.0, "last_active": None,
    }  # fmt: skip


def test_training_keeps_the_callers_rows_order_and_columns(shop: Repo) -> None:
    users = read(shop.storage(SOURCE), shop.sources[SOURCE])["user_id"].to_pylist()[:3]
    frame = pd.DataFrame({"label": [1, 0, 1], "user_id": [users[2], users[0], users[2]]})
    frame["event_timestamp"] = pd.to_datetime(["2026-03-05T12:00", "2026-03-02T12:00", "2026-03-05T12:00"], utc=True)
    made = shop.store.get_historical_features(frame, ["user_activity:actions_30min"]).to_df()
    pd.testing.assert_frame_equal(made[["label", "user_id"]], frame[["label", "user_id"]])
    assert made["actions_30min"][0] == made["actions_30min"][2]
