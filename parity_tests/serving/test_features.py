"""`POST /features` answers what `get_online_features` answers: the same bits, the same order, the same refusals."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from feast.infra.online_stores.online_store import OnlineStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualpath.errors import InputError
from dualpath.parity.compare import same
from dualpath.repo import Repo
from dualpath.serving.app import create_app
from parity_tests.serving.asking import HEADERS, NOON, SETTINGS, USERS, ask, library
from parity_tests.serving.conftest import INSTANT, SHELF
from parity_tests.strategies import COMBINATIONS

ACTIVITY = ["user_activity:actions_30min", "user_activity:interests_1h", "user_activity:last_active"]
HOURS = 3_600_000_000
INSTANTS = [f"{np.datetime64(INSTANT - ago, 'us')}Z" for ago in (0, 1, 7 * 24 * HOURS, -100 * HOURS)]


def features(repo: Repo, view: str) -> list[str]:
    return [f"{view}:{feature.name}" for feature in repo.views[view].features]


def finite(values: Any) -> Any:
    """Values as the library has them, whose infinities are no texts."""
    match values:
        case dict():
            return {name: finite(each) for name, each in values.items()}
        case list():
            return [finite(each) for each in values]
        case "Infinity" | "-Infinity":
            return float(values)
    return values


def agree(repo: Repo, client: TestClient, asked: dict[str, Any], rows: dict[str, Any], answered_by: str) -> Any:
    """Hold the application's answer beside the library's; gives the application's."""
    full = asked.get("full_feature_names", False)
    service = asked.get("feature_service")
    wanted = repo.store.get_feature_service(service) if service else asked["features"]
    answer = ask(client, {**asked, "entities": rows})
    values, statuses = library(repo.store, wanted, rows, full)
    assert same(finite(answer["results"]), values)
    assert answer["statuses"] == statuses and [*answer["statuses"]] == [*statuses]
    assert answer["metadata"]["answered_by"] == answered_by
    assert answer["metadata"]["rows"] == len(next(iter(rows.values())))
    return answer


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("view", ["v0", "v1"])
def test_every_aggregate_of_every_kind_is_the_same_bits(everything: Repo, view: str, full: bool) -> None:
    named = [(user, shop, instant) for user in USERS for shop in (1, "-1", 2**49, None) for instant in INSTANTS]
    users, shops, instants = map(list, zip(*named, strict=True))
    rows = {"event_timestamp": instants, "user": users} | ({"shop": shops} if view == "v1" else {})
    asked = {"features": features(everything, view)[::-1], "full_feature_names": full}
    assert len(asked["features"]) == len(COMBINATIONS)
    with TestClient(create_app(SETTINGS, everything.store), headers=HEADERS) as client:
        answer = agree(everything, client, asked, rows, "dualpath")
    seen = {type(value) for values in answer["results"].values() for value in values}
    assert "Infinity" in answer["results"][f"{view}__stddev_double" if full else "stddev_double"]
    assert seen == {str, int, float, bool, list, dict, type(None)}
    assert {*answer["statuses"][next(iter(answer["statuses"]))]} == {"PRESENT", "NOT_FOUND"}


def test_as_of_is_one_instant_or_one_for_each_row_and_the_present_without_it(
    client: TestClient, shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    online: Any = shop.store._get_provider().online_store
    monkeypatch.setattr(online, "clock", lambda: int(np.datetime64("2026-03-01T12:05:00.123456", "us").astype(int)))
    entities = {"user_id": USERS[4:6]}
    body = {"features": ACTIVITY, "entities": entities}
    one = ask(client, {**body, "as_of": NOON})
    assert one["metadata"]["as_of"] == ["2026-03-01T12:00:00.000000Z"] * 2
    assert one["results"]["actions_30min"] == [4, 5]
    each = ask(client, {**body, "as_of": [NOON, "2026-03-01T11:41:30"]})
    assert each["results"]["actions_30min"] == [4, 2]
    now = agree(shop, client, {"features": ACTIVITY}, entities, "dualpath")
    assert now["metadata"]["as_of"] == ["2026-03-01T12:05:00.123456Z"] * 2


def test_tokens_and_arrivals_are_features_like_others(client: TestClient, shop: Repo) -> None:
    own = ["user_activity:known_user_activity", "user_activity:arrived_user_activity"]
    asked = {"features": [own[0], *ACTIVITY, own[1]]}
    answer = agree(shop, client, asked, {"user_id": USERS, "event_timestamp": [NOON] * len(USERS)}, "dualpath")
    assert answer["results"]["known_user_activity"] == ["q0b0", *["q1b1"] * 7, "q0b0", "q0b0"]


def test_several_views_of_several_keys_are_one_answer_in_the_order_asked(client: TestClient, shop: Repo) -> None:
    asked = {"features": [features(shop, "product_activity")[0], *ACTIVITY]}
    rows = {"product_id": ["p0", "p1"], "user_id": ["7", 7.0], "ignored": [1, 2], "event_timestamp": [NOON] * 2}
    answer = agree(shop, client, asked, rows, "dualpath")
    assert [*answer["results"]][:2] == ["product_id", "user_id"] and answer["results"]["user_id"] == ["7", "7"]


def test_windowed_views_alone_are_answered_without_feasts_call(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(OnlineStore, "get_online_features_async")
    assert (
        ask(client, {"features": ACTIVITY, "entities": {"user_id": ["ann"]}})["metadata"]["answered_by"] == "dualpath"
    )


@pytest.mark.parametrize("asked", [{"feature_service": "user_profile"}, {"feature_service": "audited_profile"}])
def test_on_demand_views_and_logged_services_are_answered_by_feast(
    client: TestClient, shop: Repo, asked: dict[str, Any]
) -> None:
    agree(shop, client, asked, {"user_id": USERS, "event_timestamp": [NOON] * len(USERS)}, "feast")


def test_what_feast_answers_to_a_logged_service_is_logged(client: TestClient, shop: Repo) -> None:
    online: Any = shop.store._get_provider().online_store
    online.served_log.flush()
    before = online.served_log.counts["written"]
    ask(client, {"feature_service": "audited_profile", "entities": {"user_id": ["ann", "bob"]}, "as_of": NOON})
    online.served_log.flush()
    assert online.served_log.counts["written"] == before + 2


def test_ordinary_values_of_every_type_have_a_form_in_json(client: TestClient, shop: Repo) -> None:
    names = ["metres", "hashed", "seen", "sizes", "place"]
    rows = {"product_id": ["p0", "p1", "p2", "none", None]}
    asked = {
        "features": [
            *(f"shelves:{name}" for name in names),
            "product_activity:" + shop.views["product_activity"].features[0].name,
        ]
    }
    answer = ask(client, {**asked, "entities": rows})
    values, statuses = library(shop.store, asked["features"], rows)
    assert answer["metadata"]["answered_by"] == "feast"
    assert answer["statuses"] == statuses
    found = answer["results"]
    assert found["metres"] == [1.5, None, "-Infinity", None, None]
    assert [each and base64.b64decode(each) for each in found["hashed"]][:2] == [*SHELF["hashed"][:1], ""]
    assert found["seen"][:2] == ["2026-02-01T08:00:00Z", "1969-12-31T23:59:59Z"]
    for name in ("sizes", "place", "product_id"):
        assert same(found[name], values[name])
    assert found["sizes"][0] == [1, 2**62] and found["place"][0] == "Zürich 😀"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from([*USERS, *map(str, range(3)), 7, 7.0, -0.0, 1e300]) | ANYTHING


@settings(max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    asked=st.sampled_from(
        [
            {"features": ACTIVITY},
            {"features": [*ACTIVITY, "user_orders:user_7d_orders"], "full_feature_names": True},
            {"feature_service": "user_profile"},
        ]
    ),
    rows=st.lists(
        st.tuples(KEYS, st.just(NOON) | st.datetimes().map(lambda at: at.isoformat()) | ANYTHING), max_size=4
    ),
    more=st.dictionaries(st.text(), st.just([]), max_size=1),
)
def test_any_key_and_any_instant_mean_what_they_mean_to_the_library(
    client: TestClient, shop: Repo, asked: dict[str, Any], rows: list[tuple[Any, Any]], more: dict[str, Any]
) -> None:
    entities = {"user_id": [key for key, _ in rows], "event_timestamp": [at for _, at in rows], **more}
    found = client.post("/features", json={**asked, "entities": entities})
    service = asked.get("feature_service")
    wanted = shop.store.get_feature_service(service) if service else asked["features"]
    try:
        values, statuses = library(shop.store, wanted, entities, asked.get("full_feature_names", False))
    except InputError as error:
        assert (found.status_code, found.json()["error"]["message"]) == (422, error.message)
        return
    assert found.status_code == 200, found.text
    assert same(found.json()["results"], values) and found.json()["statuses"] == statuses


ASKED = {"features": ACTIVITY}
ANN = {"user_id": ["ann"]}


@pytest.mark.parametrize(
    ("body", "status", "code", "sentence"),
    [
        ({"features": ["user_activity:nope"], "entities": ANN}, 404, "not-found", "Feature nope not found"),
        ({"features": ["nope:nope"], "entities": ANN}, 404, "not-found", "Feature view nope does not exist"),
        ({"feature_service": "nope", "entities": ANN}, 404, "not-found", "Feature service nope does not exist"),
        ({"features": ["actions_30min"], "entities": ANN}, 422, "input", "give a feature service, or a list of"),
        ({"features": [], "entities": ANN}, 422, "input", "give a feature service, or a list of"),
        ({"features": ACTIVITY * 2, "entities": ANN}, 422, "name-collision", "Duplicate features named"),
        ({**ASKED, "entities": {"usr": ["ann"]}}, 422, "input", "the entity rows have no 'user_id'"),
        ({**ASKED, "entities": {}}, 422, "input", "the entity rows have no 'user_id'"),
        ({**ASKED, "entities": {"user_id": [7.5]}}, 422, "input", "7.5 (float) is not a text key"),
        ({**ASKED, "entities": {"user_id": [[1]]}}, 422, "input", "is not a text key"),
        ({**ASKED, "entities": {"user_id": [10**30]}}, 422, "input", "is not a text key"),
        ({**ASKED, "entities": {"user_id": ["ann"], "more": []}}, 422, "input", "have different lengths"),
        ({**ASKED, "entities": ANN, "as_of": "noon"}, 422, "input", "'noon' is not ISO-8601"),
        ({**ASKED, "entities": ANN, "as_of": [NOON, NOON]}, 422, "input", "2 of 'event_timestamp'"),
        ({**ASKED, "entities": ANN | {"event_timestamp": [NOON]}, "as_of": NOON}, 422, "input", "'as_of' and entities"),
        ({**ASKED, "entities": ANN | {"event_timestamp": [7]}}, 422, "input", "is a number, whose unit"),
        ({**ASKED, "entities": ANN, "as_of": 7}, 422, "input", "Input should be a valid string"),
        ({**ASKED, "entities": ANN, "feature_service": "user_profile"}, 422, "input", "either features or a feature_s"),
        ({"entities": ANN}, 422, "input", "either features or a feature_service"),
        (
            {**ASKED, "entities": {"user_id": "ann"}},
            422,
            "input",
            "entities.user_id: Input should be a valid list",
        ),
        ({**ASKED, "entities": ANN, "as_off": NOON}, 422, "input", "body.as_off: Extra inputs are not permitted"),
        ([], 422, "input", "body: "),
    ],
)
def test_a_callers_mistake_is_one_sentence_with_a_code(
    client: TestClient, body: Any, status: int, code: str, sentence: str
) -> None:
    error = ask(client, body, status)["error"]
    assert error.keys() == {"code", "message", "where"}
    assert error["code"] == code and sentence in error["message"], error


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b'{"features": ["a:b"], "entities": {"user_id": [NaN]}}',
        b'{"features": ["a:b"], "entities": {"user_id": ["\\ud800"]}}',
        b"[" * 5_000,
        b"9" * 5_000,
    ],
    ids=["nothing", "half", "no UTF-8", "NaN", "half a pair", "deep", "long"],
)
def test_what_is_not_json_is_refused(client: TestClient, text: bytes) -> None:
    error = ask(client, None, 422, content=text, headers={"Content-Type": "application/json"})["error"]
    assert error["code"] == "input" and error["where"].startswith("body")


def test_paths_and_methods_that_are_not_there_are_refused_in_the_same_form(client: TestClient) -> None:
    for method, path, status, code in (("GET", "/nope", 404, "not-found"), ("GET", "/features", 405, "method")):
        found = client.request(method, path)
        assert found.status_code == status and found.json()["error"]["code"] == code
    assert found.headers["allow"] == "POST"


def test_a_defect_is_a_500_that_says_nothing_of_itself(shop: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("of no concern")

    monkeypatch.setattr(shop.store._get_provider().online_store, "get_columns", broken)
    with TestClient(create_app(SETTINGS, shop.store), headers=HEADERS, raise_server_exceptions=False) as client:
        found = client.post("/features", json={**ASKED, "entities": ANN})
    assert found.status_code == 500
    assert json.loads(found.content) == {
        "error": {"code": "defect", "message": "the server failed; its log says why.", "where": None}
    }
