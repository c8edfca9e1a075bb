"""Keys in Redis: whose they are, and that removing something removes it and nothing that only looks like it."""

from collections.abc import Callable, Iterator
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dualpath import entities
from dualpath.declare import TAG
from dualpath.feast.online import DualpathRedisOnlineStore
from dualpath.online import keys
from dualpath.online.connection import connect
from dualpath.online.manifest import Manifest
from dualpath.online.removal import expire_high_water_marks, expire_superseded, remove_project, remove_views
from dualpath.repo import Repo
from dualpath.runtime import redis as embedded

PROJECTS = ("shop", "shop2", "myshop", "shop-x", "shop:x", "shop*", "sh?p", "sh[a-z]p", "[s]hop", "sh\\op")
VIEWS = ("user", "user_2", "my_user", "usér", "u")
ENTITIES = (
    *("42", "", "urn:user:42", "n1:user:e2026-03-01:42", "{00}x", "a\nb", "*", "user", "dp:shop:n1:user:s2026-03-01:"),
    entities.name(["a", "user:b"]),
)
PARTS = ("s2026-03-01", "e2026-03-01", "e2026-03-02")
ORDINARY = (b"\x02\x00\x00\x00user_idshop", b"\x01\x00\x00\x00dp:shop:user:shop", b"dp:shop", b"user", b"dp:")
STRANGE = tuple(b"dp:shop:n1:user:e2026-03-01:" + rest for rest in (b"42", b"{00}42", b"{zz}42", b""))
"""Keys that look like one of a project's state and are none: what stands before an entity is the tag it has."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("redis")
    yield connect(embedded.ensure(folder))
    embedded.stop(folder)


@pytest.fixture
def full(server: Any) -> dict[str, set[bytes]]:
    """Keys of every kind, of each project, in one Redis beside those of ordinary views; by project."""
    server.flushall()
    made = {project: set(_keys(project)) for project in PROJECTS}
    server.mset(dict.fromkeys([key for each in made.values() for key in each] + [*ORDINARY, *STRANGE], b"x"))
    return made


def _keys(project: str) -> Iterator[bytes]:
    yield keys.dictionary(project)
    for namespace in ("n1", "n12"):
        yield keys.high_water_mark(project, namespace, "clicks")
        yield keys.high_water_mark(project, namespace, "clicks") + keys.TAGS[7]
    for view in VIEWS:
        yield from (keys.manifest(project, view), keys.large_entities(project, view))
        for namespace in ("n1", "n12"):
            for part in PARTS:
                for entity in ENTITIES:
                    yield keys.prefix(project, namespace, view, part) + keys.tagged(entity)


def left(server: Any) -> set[bytes]:
    return set(server.keys("*"))


def of_view(project: str, view: str) -> set[bytes]:
    named = {keys.prefix(project, ns, view, part) for ns in ("n1", "n12") for part in PARTS}
    states = {prefix + keys.tagged(entity) for prefix in named for entity in ENTITIES}
    return states | {keys.manifest(project, view), keys.large_entities(project, view)}


@pytest.mark.parametrize("project", PROJECTS)
def test_forgetting_views_takes_their_keys_and_no_other(server: Any, full: dict[str, set[bytes]], project: str) -> None:
    everything = left(server)
    remove_views(server, project, ["user"])
    assert everything - left(server) == of_view(project, "user")
    remove_views(server, project, ["u", "usér"])
    assert everything - left(server) == of_view(project, "user") | of_view(project, "u") | of_view(project, "usér")


@pytest.mark.parametrize("project", PROJECTS)
def test_clearing_a_project_takes_all_of_it_and_nothing_of_another(
    server: Any, full: dict[str, set[bytes]], project: str
) -> None:
    everything = left(server)
    remove_project(server, project)
    assert everything - left(server) == full[project]


def test_parts_that_expire_are_those_of_the_view_that_no_manifest_names(
    server: Any, full: dict[str, set[bytes]]
) -> None:
    expire_superseded(server, "shop", {"user": Manifest("n12", "2026-03-01", ("2026-03-02",))})
    expiring = {key for key in left(server) if server.pttl(key) > 0}
    parts = [("n1", part) for part in PARTS] + [("n12", "e2026-03-01")]
    expected = {keys.prefix("shop", ns, "user", part) + keys.tagged(e) for ns, part in parts for e in ENTITIES}
    assert expiring == expected


def test_high_water_marks_of_lower_namespaces_expire_and_no_others(server: Any, full: dict[str, set[bytes]]) -> None:
    others = [
        keys.high_water_mark("shop", namespace, name) for namespace in ("n11", "n2") for name in ("clicks", "other")
    ]
    server.mset(dict.fromkeys(others, b"x"))
    expire_high_water_marks(server, "shop", "clicks", below=12)
    expiring = {key for key in left(server) if server.pttl(key) > 0}
    assert expiring == {keys.high_water_mark("shop", namespace, "clicks") for namespace in ("n1", "n2", "n11")}


def test_a_scan_can_be_narrowed_to_a_namespace_views_and_a_part(server: Any, full: dict[str, set[bytes]]) -> None:
    found = dict(keys.states(server, "shop", namespace="n1", views=["user"], part="s2026-03-01"))
    assert found == {
        keys.prefix("shop", "n1", "user", "s2026-03-01") + keys.tagged(e): ("n1", "user", "s2026-03-01", e)
        for e in ENTITIES
    }
    assert len(dict(keys.states(server, "shop"))) == 2 * len(VIEWS) * len(PARTS) * len(ENTITIES)


def test_a_removed_view_is_forgotten_by_the_store_and_ordinary_keys_stay(
    server: Any, full: dict[str, set[bytes]], new_repo: Callable[[], Repo]
) -> None:
    """Feast itself is not asked to delete a windowed view: it has no values of it, and its pattern for those of a
    join key ends with the project, as those of project `myshop` do."""
    config = new_repo().store.config
    config.online_store.connection_string = "{host}:{port}".format(**server.connection_pool.connection_kwargs)
    store, tables = DualpathRedisOnlineStore(), [_table("user", {TAG: "{}"}), _table("my_user", {})]
    neighbour = keys_of_feast("user_id", "7", "myshop")
    server.hset(neighbour, mapping={"_ts:user": b"1"})
    everything = left(server)
    store.update(config, tables, [], [], [], partial=False)
    assert everything - left(server) == of_view("shop", "user")
    store.teardown(config, [_table("user", {TAG: "{}"})], [])
    assert everything - left(server) == full["shop"]


def _table(name: str, tags: dict[str, str]) -> Any:
    return SimpleNamespace(
        name=name,
        tags=tags,
        join_keys=["user_id"],
        features=[],
        projection=SimpleNamespace(version_tag=None),
        current_version_number=None,
    )


def keys_of_feast(key: str, value: str, project: str) -> bytes:
    from feast.infra.online_stores.helpers import _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return _redis_key(project, EntityKey(join_keys=[key], entity_values=[Value(string_val=value)]), 3)


@given(
    namespace=st.integers(1, 10**6),
    view=st.from_regex(r"[^\W\d]\w*", fullmatch=True),
    entity=st.text(st.characters(codec="utf-8")),
    day=st.dates(),
    kind=st.sampled_from("se"),
    project=st.from_regex(r"\w[\w-]*", fullmatch=True),
    other=st.from_regex(r"\w[\w-]*", fullmatch=True),
)
@example(1, "user", "n1:user:e2026-03-01:{33}ann", date(2026, 3, 1), "e", "shop", "shop2")
def test_a_key_says_what_it_was_built_of_and_to_no_other_project(
    namespace: int, view: str, entity: str, day: Any, kind: str, project: str, other: str
) -> None:
    part = f"{kind}{day.isoformat()}"
    key = keys.prefix(project, f"n{namespace}", view, part) + keys.tagged(entity)
    assert keys.state(project, key) == (f"n{namespace}", view, part, entity)
    assert keys.owns(project, key)
    if other != project:
        assert keys.state(other, key) is None and not keys.owns(other, key)
