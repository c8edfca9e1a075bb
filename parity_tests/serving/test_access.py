"""Keys, scopes, rates, sizes and pages of other sites: who is let in, and what the others are told."""

import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dualpath.repo import Repo
from dualpath.serving import access
from dualpath.serving.app import create_app
from dualpath.serving.settings import Caller, Settings
from parity_tests.serving.asking import NOON, ask, header, key, secret

BODY = {"features": ["user_activity:actions_30min"], "entities": {"user_id": ["ann"]}, "as_of": NOON}
PAGE = "https://shop.example"
FRESH = Settings(
    keys=[
        key("reader", "features", rate=2, burst=3),
        key("ranker", "rank"),
        key("operator", "admin"),
    ],
    body_limit=300,
    cors_origins=[PAGE],
)


class Clock:
    """Seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caller(shop: Repo, clock: Clock) -> Iterator[TestClient]:
    """One without a key."""
    with TestClient(create_app(FRESH, shop.store, clock=clock)) as made:
        yield made


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer guess"},
        {"Authorization": f"Basic {secret('reader')}"},
        {"Authorization": secret("reader")},
        {"Authorization": "Bearer é".encode().decode("latin-1")},
    ],
)
def test_whoever_has_no_key_is_refused_whatever_is_asked(caller: TestClient, sent: dict[str, str]) -> None:
    for method, path in (("POST", "/features"), ("GET", "/metrics"), ("GET", "/nope"), ("OPTIONS", "/features")):
        found = caller.request(method, path, headers={k: v.encode("latin-1") for k, v in sent.items()}, content="{")
        assert found.status_code == 401, (method, path)
        assert found.json()["error"]["code"] == "no-key"
        assert found.headers["www-authenticate"] == "Bearer"


def test_a_key_lets_its_scopes_pass_and_no_others(caller: TestClient) -> None:
    assert ask(caller, BODY, headers=header("reader"))["results"]["actions_30min"] == [0]
    error = ask(caller, BODY, 403, headers=header("ranker"))["error"]
    assert error["code"] == "scope" and "'features'" in error["message"]
    assert caller.get("/metrics", headers=header("reader")).status_code == 403
    assert caller.get("/metrics", headers=header("operator")).status_code == 200


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def counted(one: str, other: str) -> bool:
        compared.append(one)
        return hmac_compare(one, other)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(access.hmac, "compare_digest", counted)
    found = access.found(FRESH.keys, secret("reader"))
    assert found is not None and found.name == "reader"
    assert compared == [each.sha256 for each in FRESH.keys]


def test_callers_without_a_key_may_do_what_the_settings_say(shop: Repo) -> None:
    settings = Settings(keys=FRESH.keys, anonymous=Caller(scopes=["features"]))
    with TestClient(create_app(settings, shop.store)) as caller:
        ask(caller, BODY)
        assert caller.get("/metrics").status_code == 403
        assert ask(caller, BODY, 401, headers={"Authorization": "Bearer guess"})["error"]["code"] == "no-key"


def test_a_key_that_is_used_too_often_waits_and_the_others_do_not(caller: TestClient, clock: Clock) -> None:
    for _ in range(3):
        ask(caller, BODY, headers=header("reader"))
    found = caller.post("/features", json=BODY, headers=header("reader"))
    assert (found.status_code, found.headers["retry-after"]) == (429, "1")
    assert found.json()["error"]["code"] == "rate" and "2 times a second and 3 at once" in found.text
    assert caller.get("/metrics", headers=header("operator")).status_code == 200
    clock.now += 0.5
    ask(caller, BODY, headers=header("reader"))
    ask(caller, BODY, 429, headers=header("reader"))
    clock.now += 60
    for status in (200, 200, 200, 429):
        ask(caller, BODY, status, headers=header("reader"))


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_body_that_is_too_large_is_refused(caller: TestClient, in_parts: bool) -> None:
    text = json.dumps(BODY).encode().ljust(FRESH.body_limit + 1)

    def parts() -> Iterator[bytes]:
        yield text[:200]
        yield text[200:]

    sent: Any = {"headers": header("reader") | {"Content-Type": "application/json"}}
    error = ask(caller, None, 413, content=parts() if in_parts else text, **sent)["error"]
    assert error["code"] == "too-large" and "larger than 300 bytes" in error["message"]
    ask(caller, None, content=text[:-1], **sent)


def test_pages_that_may_ask_are_told_so_and_see_refusals(caller: TestClient) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    found = caller.options("/features", headers={"Origin": PAGE, **asked})
    assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, PAGE)
    assert caller.options("/features", headers={"Origin": "https://other.example", **asked}).status_code == 400
    refused = caller.post("/features", json=BODY, headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_every_request_is_counted_by_route_and_status(caller: TestClient) -> None:
    ask(caller, BODY, headers=header("reader"))
    ask(caller, {}, 422, headers=header("reader"))
    ask(caller, BODY, 401)
    caller.get("/nope/1", headers=header("ranker"))
    found = caller.get("/metrics", headers=header("operator"))
    assert found.headers["content-type"].startswith("text/plain")
    for route, status in (("/features", 200), ("/features", 422), ("other", 401), ("other", 404)):
        assert f'dualpath_serving_requests_total{{route="{route}",status="{status}"}} 1.0' in found.text
    assert 'dualpath_serving_request_seconds_count{route="/features"} 2.0' in found.text
