"""Probes tell the truth, and reads end with a 503 and come back, while Redis is silent, gone or behind."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dualpath.online import manifest
from dualpath.online.connection import connect
from dualpath.online.manifest import Manifest
from dualpath.repo import Repo
from dualpath.runtime import redis
from parity_tests.servers import suspended
from parity_tests.serving.asking import NOON, ask

BODY = {"features": ["user_activity:actions_30min"], "entities": {"user_id": ["7"]}, "as_of": NOON}
ORDINARY = {"features": ["shelves:place"], "entities": {"product_id": ["p0"]}}


def checks(client: TestClient, status: int = 200) -> dict[str, str | None]:
    """What `/readyz` says of each check."""
    found = client.get("/readyz")
    assert found.status_code == status, found.text
    assert (found.headers.get("retry-after") is None) == (status == 200)
    told = found.json()
    assert told["ready"] == (status == 200)
    return {each["name"]: each["message"] for each in told["checks"]}


def well(client: TestClient) -> None:
    """Everything is answered."""
    assert checks(client) == {"registry": None, "redis": None, "views": None}
    assert ask(client, BODY)["results"]["actions_30min"] == [3]
    assert ask(client, ORDINARY)["results"]["place"] == ["Zürich 😀"]


def refused(client: TestClient, body: Any, code: str) -> str:
    """The sentence of a 503."""
    found = client.post("/features", json=body)
    assert (found.status_code, found.headers["retry-after"]) == (503, "1")
    assert found.json()["error"]["code"] == code
    return found.json()["error"]["message"]


def test_a_redis_that_is_silent_or_gone_is_told_and_comes_back(client: TestClient, shop: Repo, embedded: Path) -> None:
    well(client)
    with suspended(shop):
        for body in (BODY, ORDINARY):
            assert "no answer within 250 ms" in refused(client, body, "unavailable")
        assert "no answer within 250 ms" in str(checks(client, 503)["redis"])
    well(client)
    redis.stop(embedded)
    try:
        for body in (BODY, ORDINARY):
            assert f"Redis at {shop.redis_address} says" in refused(client, body, "unavailable")
        assert "Redis at" in str(checks(client, 503)["redis"])
        assert client.get("/livez").json() == {"alive": True}
    finally:
        assert redis.ensure(embedded) == shop.redis_address
    well(client)


def test_a_view_that_is_being_rebuilt_is_not_ready(client: TestClient, shop: Repo) -> None:
    server = connect(shop.redis_address)
    whole = manifest.read(server, shop.project, "user_orders")
    assert whole is not None
    manifest.place(server, shop.project, "user_orders", Manifest("", None, (), rebuilding=True))
    try:
        assert "'user_orders': the online store has lost writes and is being rebuilt" in str(
            checks(client, 503)["views"]
        )
        ask(client, BODY)
    finally:
        manifest.place(server, shop.project, "user_orders", whole)
    well(client)


@pytest.mark.parametrize(("when_stale", "status"), [("refuse", 503), ("mark", 200)])
def test_a_stream_that_says_nothing_is_not_ready_unless_stale_values_are_served(
    client: TestClient, shop: Repo, monkeypatch: pytest.MonkeyPatch, when_stale: str, status: int
) -> None:
    online = shop.store.config.online_store
    monkeypatch.setattr(online, "max_staleness", timedelta(minutes=1))
    monkeypatch.setattr(online, "when_stale", when_stale)
    told = checks(client, status)
    if status == 503:
        assert "the stream of source 'shop_events' said" in str(told["views"])
        assert "max_staleness" in refused(client, BODY, "stale-stream")
    else:
        assert ask(client, BODY)["statuses"]["actions_30min"] == ["OUTSIDE_MAX_AGE"]


def test_a_registry_that_cannot_be_read_is_not_ready(
    client: TestClient, shop: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(**_: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(shop.store.registry, "list_projects", unreadable)
    assert checks(client, 503) == {"registry": "OSError: the disk is gone"}
