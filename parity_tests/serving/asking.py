"""How the tests ask: keys, and what the library says to the same question."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fastapi.testclient import TestClient
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from dualpath.serving.settings import Key, Settings

NOON = "2026-03-01T12:00:00+00:00"
USERS = ["ann", "bob", "", "7", "urn:user:42", "Ünï 😀", 'a"b\\\x00', "nan", "nobody", None]
"""The last two have no event."""


def key(name: str, *scopes: Any, **limits: Any) -> Key:
    """A key whose secret is `secret of NAME`."""
    return Key(name=name, sha256=hashlib.sha256(secret(name).encode()).hexdigest(), scopes=scopes, **limits)


def secret(name: str) -> str:
    return f"secret of {name}"


def header(name: str) -> dict[str, str]:
    """What a caller sends who has the key of that name."""
    return {"Authorization": f"Bearer {secret(name)}"}


HEADERS = header("all")
SETTINGS = Settings(keys=[key("all", "features", "rank", "replay", "admin", rate=1e6, burst=1_000_000)])


def ask(client: TestClient, body: Any, status: int = 200, **options: Any) -> Any:
    """The decoded answer to `POST /features`, which must have the status."""
    found = client.post("/features", **({"json": body} if body is not None else {}), **options)
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/json"
    return json.loads(found.content)


def library(
    store: FeatureStore, features: Any, rows: Mapping[str, Any], full: bool = False
) -> tuple[dict[str, list[Any]], dict[str, list[str]]]:
    """Values and statuses of `get_online_features`, by column."""
    found = store.get_online_features(features, dict(rows), full_feature_names=full)
    names = found.proto.metadata.feature_names.val
    statuses = {
        name: [FieldStatus.Name(each) for each in vector.statuses]
        for name, vector in zip(names, found.proto.results, strict=True)
        if name not in rows
    }
    return found.to_dict(), statuses
