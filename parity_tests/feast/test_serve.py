"""`feast serve` with four workers: what a caller sees is what the library says, whoever's mistake it is."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore, RepoConfig
from feast.errors import FeastError

from dualpath.errors import InputError
from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis as embedded
from parity_tests.filled import fill
from parity_tests.served import post, running, users_environ, values
from parity_tests.servers import suspended

pytestmark = pytest.mark.slow

SHELVES = """
from entities import product
from feast import FeatureView, Field, FileSource, PushSource
from feast.types import Float64

kept = FileSource(name="kept", path="shelves.parquet", timestamp_field="event_timestamp")
pushed = PushSource(name="pushed", batch_source=kept)
shelves = FeatureView(name="shelves", entities=[product], schema=[Field(name="metres", dtype=Float64)], source=pushed)
"""
"""An ordinary view beside the windowed ones, which may be pushed to."""
NOON = "2026-03-01T12:00:00+00:00"
USERS = [f"user {n}" for n in range(12)]
EVENTS = [
    {
        "user_id": user,
        "product_id": f"product {n}",
        "action": "purchase",
        "amount": n + number / 100,
        "order_value": number / 100,
        "category": f"of {user}",
        "event_time": f"2026-03-01T11:{40 + n}:00",
    }
    for number, user in enumerate(USERS)
    for n in range(number)
]
PROFILE = {"feature_service": "user_profile"}
WINDOWED = {"features": ["user_activity:actions_30min"]}
ORDINARY = {"features": ["shelves:metres"]}


@dataclass(frozen=True)
class Served:
    """A repo and the address of its server."""

    repo: Repo
    address: str

    def get(self, asked: dict[str, Any], **entities: list[Any]) -> tuple[int, Any]:
        """Status and answer: names to values, or the class and the sentence of an error."""
        status, said = post(f"{self.address}/get-online-features", {**asked, "entities": entities})
        return status, values(said, maps=["interest_5min"]) if status == 200 else said

    def health(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.address}/health") as answered:
                return answered.status, answered.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()


@pytest.fixture(scope="module")
def shop(new_repo: Callable[[], Repo]) -> Repo:
    repo = new_repo()
    (repo.folder / "shelves.py").write_text(SHELVES)
    one = {"product_id": ["product 0"], "metres": [1.5], "event_timestamp": pd.to_datetime([NOON])}
    pd.DataFrame(one).to_parquet(repo.folder / "shelves.parquet")
    settings = repo.folder / "feature_store.yaml"
    text = settings.read_text().replace('connection_string: ""', f"connection_string: {repo.redis_address}")
    settings.write_text(text.replace("data/registry.db", "{path: data/registry.db, cache_ttl_seconds: 1}"))
    repo.apply()
    fill(repo, EVENTS)
    return repo


@pytest.fixture(scope="module")
def served(shop: Repo) -> Iterator[Served]:
    with running(shop, "serve", "/health", "--workers", "4", "--registry_ttl_sec", "1") as address:
        yield Served(shop, address)


def library(repo: Repo, users: list[str]) -> dict[str, Any]:
    rows = [{"user_id": user, "event_timestamp": NOON} for user in users]
    return repo.store.get_online_features(repo.store.get_feature_service("user_profile"), rows).to_dict()


@pytest.mark.parametrize(
    ("asked", "entities", "status", "code", "sentence"),
    [
        ({"features": ["user_activity:nope"]}, {"user_id": ["ann"]}, 404, "not-found", "Feature nope not found"),
        ({"features": ["nope:nope"]}, {"user_id": ["ann"]}, 404, None, "Feature view nope does not exist"),
        ({"feature_service": "nope"}, {"user_id": ["ann"]}, 404, None, "Feature service nope does not exist"),
        ({"features": ["actions_30min"]}, {"user_id": ["ann"]}, 422, "input", "give a feature service, or a list of"),
        ({"features": []}, {"user_id": ["ann"]}, 422, "input", "give a feature service, or a list of"),
        (
            {"features": WINDOWED["features"] * 2},
            {"user_id": ["ann"]},
            422,
            "name-collision",
            "Duplicate features named",
        ),
        (WINDOWED, {"usr": ["ann"]}, 422, "input", "the entity rows have no 'user_id'"),
        (WINDOWED, {}, 422, "input", "the entity rows have no 'user_id'"),
        (ORDINARY, {"usr": ["ann"]}, 422, "input", "the entity rows have no 'product_id'"),
        (
            WINDOWED,
            {"user_id": ["ann", "bob"], "more": [1]},
            422,
            "input",
            "the columns of the entity rows have different lengths",
        ),
        (WINDOWED, {"user_id": ["ann", "bob"], "event_timestamp": [NOON]}, 422, "input", "1 of 'event_timestamp'"),
        (WINDOWED, {"user_id": ["ann"], "event_timestamp": ["noon"]}, 422, "input", "'noon' is not ISO-8601"),
        (WINDOWED, {"user_id": ["ann"], "event_timestamp": [1_772_366_400]}, 422, "input", "is a number, whose unit"),
        (WINDOWED, {"user_id": ["ann"], "event_timestamp": [None]}, 422, "input", "the instant is missing"),
        (WINDOWED, {"user_id": [7.5]}, 422, "input", "7.5 (float) is not a text key"),
    ],
)
def test_a_callers_mistake_is_a_sentence_of_a_callers_mistake(
    served: Served, asked: dict[str, Any], entities: dict[str, list[Any]], status: int, code: str | None, sentence: str
) -> None:
    found, said = served.get(asked, **entities)
    detail = json.loads(said)
    assert (found, sentence in detail["message"]) == (status, True), said
    assert detail.get("code") == code, said


def test_a_null_key_is_nobody_over_http_too(served: Served) -> None:
    entities = {"user_id": [None, "nobody", USERS[-1]], "event_timestamp": [NOON] * 3}
    status, said = post(f"{served.address}/get-online-features", {**WINDOWED, "entities": entities})
    assert status == 200
    [found] = [
        each
        for name, each in zip(said["metadata"]["feature_names"], said["results"], strict=True)
        if name == "actions_30min"
    ]
    assert found["values"] == [0, 0, len(USERS) - 1]
    assert found["statuses"] == ["NOT_FOUND", "NOT_FOUND", "PRESENT"]


def test_a_windowed_view_takes_no_values_over_http(served: Served) -> None:
    one = {"user_id": ["ann"], "user_7d_avg_order_value": [1.0], "user_7d_orders": [1]}
    own = {"known_user_orders": ["q1b0"], "arrived_user_orders": [0]}  # Feast itself demands every column
    frame = one | own | {"event_time": [NOON], "arrival_time": [NOON]}
    status, said = post(f"{served.address}/write-to-online-store", {"feature_view_name": "user_orders", "df": frame})
    assert status == 422 and "view 'user_orders' is windowed" in json.loads(said)["message"]


def test_all_workers_answer_what_the_library_answers_while_the_repo_is_applied_again(served: Served) -> None:
    expected = {user: library(served.repo, [user]) for user in USERS}
    assert [each["actions_30min"] for each in expected.values()] == [[n] for n in range(len(USERS))]
    assert served.get(PROFILE, user_id=USERS, event_timestamp=[NOON] * len(USERS)) == (200, library(served.repo, USERS))
    command = [sys.executable, "-m", "feast.cli.cli", "--chdir", str(served.repo.folder), "apply"]
    asked = 0
    with ThreadPoolExecutor(4) as threads:
        applying = subprocess.Popen(command, env=users_environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while applying.poll() is None:
            answers = threads.map(lambda u: served.get(PROFILE, user_id=[u], event_timestamp=[NOON]), USERS)
            assert dict(zip(USERS, answers, strict=True)) == {user: (200, each) for user, each in expected.items()}
            asked += len(USERS)
        assert applying.returncode == 0
    assert asked > 10 * len(USERS)


def test_what_was_pushed_is_served(served: Served) -> None:
    pushed = {"product_id": ["product 7"], "metres": [2.5], "event_timestamp": ["2026-03-01T12:00:00"]}
    assert post(f"{served.address}/push", {"push_source_name": "pushed", "df": pushed})[0] == 200
    for _ in range(8):
        assert served.get(ORDINARY, product_id=["product 7"])[1]["metres"] == [2.5]


def test_health_tells_the_truth_and_reads_end_while_redis_is_silent_or_gone(served: Served) -> None:
    body = {"push_source_name": "pushed", "df": {"product_id": ["p"], "metres": [1.0], "event_timestamp": [NOON]}}

    def well() -> None:
        with ThreadPoolExecutor(8) as threads:
            answers = threads.map(lambda u: served.get(PROFILE, user_id=[u], event_timestamp=[NOON]), USERS * 4)
            assert [*answers] == [(200, expected[user]) for user in USERS * 4]
        assert served.health() == (200, "")

    expected = {user: library(served.repo, [user]) for user in USERS}
    well()
    with suspended(served.repo):
        status, said = served.health()
        assert status == 503 and "no answer within 250 ms" in said
        for asked in (PROFILE, ORDINARY):
            status, said = served.get(asked, user_id=["ann"], product_id=["product 0"])
            assert status == 503 and "no answer within 250 ms" in json.loads(said)["message"]
    well()
    folder, address = embedded_folder(served.repo.store.config), served.repo.redis_address
    embedded.stop(folder)
    try:
        assert served.health()[0] == 503
        assert served.get(PROFILE, user_id=["ann"])[0] == 503
        status, said = post(f"{served.address}/push", body)
        assert status == 503 and f"Redis at {address} says" in json.loads(said)["message"]
    finally:
        assert embedded.ensure(folder) == address
    well()


# --- behind Feast's remote stores, errors are the ones that the library raises


def client(repo: Repo, **stores: Any) -> FeatureStore:
    registry = {"path": str(repo.folder / "data/registry.db")}
    return FeatureStore(
        config=RepoConfig(
            project=repo.project, provider="local", registry=registry, entity_key_serialization_version=3, **stores
        )
    )


def test_errors_keep_their_class_and_sentence_behind_the_remote_online_store(served: Served) -> None:
    remote = client(served.repo, online_store={"type": "remote", "path": served.address})
    for features, row in (
        (["user_activity:actions_30min"], {"user_id": "ann", "event_timestamp": "noon"}),
        (["user_activity:nope"], {"user_id": "ann"}),
    ):
        with pytest.raises(InputError) as ours:
            served.repo.store.get_online_features(features, [row])
        with pytest.raises(InputError) as theirs:
            remote.get_online_features(features, [row])
        assert theirs.value.message == str(theirs.value) == ours.value.message
        assert theirs.value.code == ours.value.code
        assert type(theirs.value) is type(ours.value)


def test_errors_keep_their_class_and_sentence_behind_the_remote_offline_store(shop: Repo) -> None:
    frame = pd.DataFrame({"usr": ["ann"], "event_timestamp": pd.to_datetime([NOON])})
    with running(shop, "serve_offline", None, "--host", "127.0.0.1") as address:
        host, port = address.removeprefix("http://").split(":")
        remote = client(shop, offline_store={"type": "remote", "host": host, "port": int(port)})
        for store in (shop.store, remote):
            with pytest.raises(InputError, match="entity_df has no column 'user_id'") as raised:
                store.get_historical_features(frame, ["user_activity:actions_30min"]).to_df()
            assert isinstance(raised.value, FeastError)
