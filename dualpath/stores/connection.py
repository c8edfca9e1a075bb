"""Which Redis a repo uses: the one its `feature_store.yaml` names, the environment's, or an embedded one.

Feast says beside its connection string whether it names the nodes of a cluster; an *address* is such a string that
says it itself. Spark's workers import this module, so it does not import Feast, which takes seconds.
"""

import json
import os
from pathlib import Path
from typing import Any

from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisCluster, RedisError
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException

from dualpath.errors import InputError

VARIABLE = "DUALPATH_REDIS"
CLUSTER = "cluster"
"""The parameter of an address, and of no string of Feast's, that says: the nodes are those of a cluster."""
FAILED: tuple[type[Exception], ...] = (RedisError, RedisClusterException)
"""What the client raises if Redis cannot be reached or refuses; the second, of a cluster, is not the first."""


def embedded_folder(config: Any) -> Path:
    """Where the embedded Redis of a repo (its Feast `RepoConfig`) keeps its data."""
    return Path(config.repo_path or ".") / "data" / "redis"


def named(config: Any) -> str:
    """The connection string from `feature_store.yaml`, else from DUALPATH_REDIS, else empty; as Feast takes it."""
    return config.online_store.connection_string or os.environ.get(VARIABLE, "")


def configured(config: Any) -> str:
    """The address of the configured Redis; empty if none is. Raises `InputError` for what jobs cannot write to."""
    found, kind = named(config), config.online_store.redis_type
    if kind == "redis_sentinel":
        raise InputError(
            "online_store.redis_type is redis_sentinel, which dualpath does not write to; "
            "name the primary's own address with redis_type redis, or use redis_cluster."
        )
    if kind != "redis_cluster":
        return found
    if not found:
        raise InputError(
            "online_store.redis_type is redis_cluster, but no nodes are named; "
            f"give online_store.connection_string or {VARIABLE} as host:port,host:port."
        )
    return f"{found},{CLUSTER}=true"


def address(config: Any) -> str:
    """The address of a repo's Redis; starts the embedded one if none is configured."""
    if found := configured(config):
        return found
    from dualpath.runtime import redis as embedded

    return embedded.ensure(embedded_folder(config))


def connect(address: str) -> Any:
    """A client, in bytes: a `Redis`, or a `RedisCluster`, which raises `redis.ConnectionError` if no node answers.

    >>> connect("localhost:6379,db=3,password=secret").connection_pool.connection_kwargs["db"]
    3
    """
    nodes, parameters = parse(address)
    places = [(host, int(port)) for host, port in (node.rsplit(":", 1) for node in nodes)]
    if not parameters.pop(CLUSTER, False):
        [(host, port), *_] = places
        return Redis(host=host, port=port, **parameters)
    try:
        return RedisCluster(startup_nodes=[ClusterNode(*place) for place in places], **parameters)
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


def shown(address: str) -> str:
    """The nodes alone, for people: the parameters may hold a password.

    >>> shown("a:1,b:2,ssl=true,password=x")
    'a:1, b:2'
    """
    return ", ".join(parse(address)[0])


def parse(connection_string: str) -> tuple[list[str], dict[str, Any]]:
    """`host:port` nodes and parameters of a Feast connection string, `host:port,...,name=value,...`.

    >>> parse("a:1,b:2,ssl=true,password=x=y")
    (['a:1', 'b:2'], {'ssl': True, 'password': 'x=y'})
    """
    nodes, parameters = [], {}
    for part in connection_string.split(","):
        name, given, value = part.partition("=")
        if not given:
            nodes.append(part)
            continue
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
    return nodes, parameters
