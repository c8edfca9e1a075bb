"""Decisions over HTTP: what is asked is checked, who asks may, and what the live page gets is what it promises."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.serving import ranking
from dualpath.serving.app import create_app
from dualpath.serving.metrics import Metrics
from dualpath.serving.routes import RankAnswer
from dualpath.serving.service import Service
from dualpath.serving.settings import Settings
from parity_tests.servers import suspended
from parity_tests.serving.newsroom import applied, filled
from parity_tests.serving.test_learner import decided, write
from parity_tests.serving.test_rank import Kept

SECRETS = {"ranker": ["rank"], "auditor": ["replay"], "operator": ["admin"]}
BODY = {"request_id": "q", "user_id": "ann", "device": "mobile", "candidates": ["a1", "a2", "a3"]}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    found = applied(tmp_path_factory.mktemp("news") / "feature_repo")
    filled(found, time.time())
    yield found
    redis.stop(embedded_folder(found.store.config))


@pytest.fixture(scope="module")
def client(repo: Repo) -> Iterator[TestClient]:
    declared, metrics = ranking.read(repo.folder), Metrics()
    assert declared is not None
    keys = [
        {
            "name": name,
            "sha256": hashlib.sha256(name.encode()).hexdigest(),
            "scopes": scopes,
            "rate": 1000,
            "burst": 1000,
        }
        for name, scopes in SECRETS.items()
    ]
    settings = Settings.model_validate({"keys": keys, "body_limit": 50_000})
    service = Service(repo, declared, Kept(), metrics.registry)
    with TestClient(create_app(settings, repo.store, metrics=metrics, service=service)) as found:
        yield found


def headers(name: str = "ranker") -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def rank(client: TestClient, **change: Any) -> Any:
    return client.post("/rank", json=BODY | change, headers=headers())


def test_a_feed_is_ranked(client: TestClient) -> None:
    found = rank(client).json()
    assert {each["article_id"] for each in found["ranking"]} == {"a1", "a2", "a3"}
    assert found["variant"] in ("bandit", "uniform") and len(found["policy"]) == 64 and len(found["decision_id"]) == 64
    assert set(found["known"]) == {"reader_interest", "article_facts", "article_clicks", "article_impressions"}
    assert found["as_of"].endswith("Z") and found["degraded"] in (None, "stale")


def test_a_feed_has_the_form_that_the_documentation_of_the_service_shows(client: TestClient) -> None:
    answer = rank(client)
    assert (
        RankAnswer.model_validate_json(answer.text, strict=True, extra="forbid").model_dump(mode="json")
        == answer.json()
    )
    described = client.get("/openapi.json").json()["paths"]["/rank"]["post"]["responses"]["200"]
    assert described["content"]["application/json"]["schema"]["$ref"].endswith("/RankAnswer")


def test_the_same_request_gets_the_same_answer(client: TestClient) -> None:
    assert rank(client, request_id="again").json() == rank(client, request_id="again").json()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"candidates": []}, "candidates"),
        ({"candidates": [f"a{n}" for n in range(101)]}, "candidates"),
        ({"candidates": ["a1", "a2", "a1"]}, "candidates"),
        ({"candidates": ["a1", ""]}, "candidates"),
        ({"candidates": ["a1", 2]}, "candidates"),
        ({"candidates": "a1"}, "candidates"),
        ({"candidates": ["a\0"]}, "candidates"),
        ({"user_id": None}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"request_id": ["q"]}, "request_id"),
        ({"device": {}}, "device"),
        ({"more": 1}, "more"),
    ],
)
def test_a_request_of_another_shape_is_refused_with_the_place(client: TestClient, change: Any, where: str) -> None:
    answer = rank(client, **change)
    assert answer.status_code == 422
    assert where in answer.json()["error"]["where"]


def test_a_doubled_candidate_is_named(client: TestClient) -> None:
    assert "'a1' is there twice" in rank(client, candidates=["a1", "a2", "a1"]).json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    assert rank(client, device="x" * 60_000).status_code == 413


@pytest.mark.parametrize(
    ("path", "body", "allowed"),
    [("/rank", BODY, "ranker"), ("/replay", {"decision_id": "0" * 64}, "auditor")],
)
def test_each_route_wants_its_own_scope(client: TestClient, path: str, body: Any, allowed: str) -> None:
    for name in SECRETS:
        status = client.post(path, json=body, headers=headers(name)).status_code
        assert (status != 403) == (name == allowed)
    assert client.post(path, json=body).status_code == 401
    assert client.post(path, json=body, headers=headers("guess")).status_code == 401


def test_a_decision_that_is_not_in_the_log_is_not_found(client: TestClient) -> None:
    answer = client.post("/replay", json={"decision_id": "0" * 64}, headers=headers("auditor"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not-found")


def test_a_decision_without_features_is_nothing_to_make_again(client: TestClient, repo: Repo) -> None:
    """It kept the order of its candidates, so there are no bits to compare; that is no difference."""
    logged = decided(1, decision_id="f" * 64, context="[]", degraded="features")
    other = decided(2, decision_id="e" * 64)
    write(repo, "decisions", 0, [other | {"event_id": "e" * 64}, logged | {"event_id": "f" * 64}])
    answer = client.post("/replay", json={"decision_id": "f" * 64}, headers=headers("auditor"))
    assert answer.status_code == 422 and "had no features" in answer.json()["error"]["message"]


def test_interest_is_of_a_reader(client: TestClient) -> None:
    found = client.get("/interest/ann", headers=headers()).json()
    assert set(found["interest"]) == {"politics", "sport"} and found["clicks_5min"] == 13
    nobody = client.get("/interest/no%2Fbody", headers=headers())
    assert nobody.status_code in (200, 404)
    assert client.get("/interest/nobody", headers=headers()).json()["interest"] == {}
    assert client.get("/interest/a%00", headers=headers()).status_code == 422
    assert client.get("/interest/ann").status_code == 401


def test_without_redis_everything_is_answered_and_says_so(repo: Repo, client: TestClient) -> None:
    with suspended(repo):
        found = rank(client, request_id="outage")
        assert (found.status_code, found.json()["degraded"]) == (200, "features")
        assert [each["article_id"] for each in found.json()["ranking"]] == BODY["candidates"]
        assert client.get("/interest/ann", headers=headers()).json()["degraded"] == "features"
        assert client.get("/live", headers=headers("operator")).json()["degraded"]["features"] >= 1
        assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").status_code == 200


def test_the_live_page_gets_what_it_promises(client: TestClient) -> None:
    rank(client, request_id="live", user_id="ann")
    assert client.get("/live", headers=headers()).status_code == 403
    found = client.get("/live", params={"user_id": "ann"}, headers=headers("operator")).json()
    assert set(found) == {
        *("as_of", "reader", "readers", "simulation", "experiment", "policy", "loop", "health", "stages", "requests"),
        "degraded",
    }
    assert found["reader"]["user_id"] == "ann" and len(found["reader"]["feed"]) == 3
    assert {each["category"] for each in found["reader"]["feed"]} == {"politics", "sport"}
    assert set(found["health"]) == {"redis", "breaker", "staleness_seconds", "kafka", "journal_queue"}
    assert client.get("/live", headers=headers("operator")).json()["readers"][0] == "ann"
    page = client.get("/")
    assert page.url.path == "/page/" and "<html" in page.text
    assert client.get("/page/page.js").status_code == 200


def test_metrics_are_those_of_decisions_too(client: TestClient) -> None:
    rank(client, request_id="metrics")
    text = client.get("/metrics", headers=headers("operator")).text
    for name in ("decisions_total", "stage_seconds_bucket", "breaker_open", "policy_age_seconds", "staleness_seconds"):
        assert f"dualpath_serving_{name}" in text
