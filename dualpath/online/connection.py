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
from redis import asyncio as redis_async
from redis.asyncio.cluster import ClusterNode as ClusterNodeAsync
from redis.asyncio.retry import Retry as RetryAsync
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, SSLConnection
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from dualpath.errors import InputError
from dualpath.online.deadline import bounded
from dualpath.runtime import redis as embedded

VARIABLE = "DUALPATH_REDIS"
CLUSTER = "cluster"
"""The parameter of an address, and of no string of Feast's, that says: the nodes are those of a cluster."""
FAILED: tuple[type[Exception], ...] = (RedisError, RedisClusterException)
"""What the client raises if Redis cannot be reached or refuses; the second, of a cluster, is not the first."""


def embedded_folder(config: Any) -> Path:
    """Where the embedded Redis of a repo (its Feast `RepoConfig`) keeps its data."""
    return Path(config.repo_path or ".") / embedded.FOLDER


def named(config: Any) -> str:
    """The connection string from `feature_store.yaml`, else from DUALPATH_REDIS, else empty; as Feast takes it."""
    return config.online_store.connection_string or os.environ.get(VARIABLE, "")


def configured(config: Any) -> str:
    """The address of the configured Redis; empty if none is. Raises `InputError` for what jobs cannot write to."""
    return located(named(config), config.online_store.redis_type)


def located(connection_string: str, kind: str) -> str:
    """The address that Feast's `connection_string` and `redis_type` mean; raises `InputError` as `configured`."""
    if kind == "redis_sentinel":
        raise InputError(
            "online_store.redis_type is redis_sentinel, which dualpath does not write to; "
            "name the primary's own address with redis_type redis, or use redis_cluster."
        )
    if kind != "redis_cluster":
        return connection_string
    if not connection_string:
        raise InputError(
            "online_store.redis_type is redis_cluster, but no nodes are named; "
            f"give online_store.connection_string or {VARIABLE} as host:port,host:port."
        )
    return f"{connection_string},{CLUSTER}=true"


def address(config: Any, patience: float | None = None) -> str:
    """The address of a repo's Redis; starts the embedded one if none is configured.

    One that runs but does not answer for `patience` seconds is an `UnavailableError`.
    """
    if found := configured(config):
        return found
    return embedded.ensure(embedded_folder(config), patience or embedded.START_TIMEOUT_SECONDS)


def connect(address: str, retries: int | None = None, timeout: float | None = None) -> Any:
    """A client, in bytes: a `Redis`, or a `RedisCluster`, which raises `redis.ConnectionError` if no node answers.

    It tries again `retries` times, by default as often as `redis` does. What it waits for ends after `timeout` seconds,
    if the address gives no timeouts itself, and with the budget of the read under way (`dualpath.online.deadline`).

    >>> connect("localhost:6379,db=3,password=secret").connection_pool.connection_kwargs["db"]
    3
    """
    [(host, port), *others], cluster, parameters = _placed(address)
    if timeout is not None:
        parameters = {"socket_timeout": timeout, "socket_connect_timeout": timeout, **parameters}
    if retries is not None:
        parameters["retry"] = Retry(NoBackoff(), retries)
    if not cluster:
        client = Redis(host=host, port=port, **parameters)
        pool = client.connection_pool
        pool.connection_class = bounded(pool.connection_class)
        return client
    # Only with a URL does a cluster's client take a connection class.
    secure = parameters.pop("ssl", False)
    parameters["connection_class"] = bounded(SSLConnection if secure else Connection)
    try:
        nodes = [ClusterNode(*place) for place in others]
        return RedisCluster(url=f"redis://{host}:{port}", startup_nodes=nodes, **parameters)
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


def connect_async(address: str, retries: int) -> Any:
    """The same of `redis.asyncio`, for the running event loop; it connects, or fails to, when it is first used."""
    places, cluster, parameters = _placed(address)
    retry = RetryAsync(NoBackoff(), retries)
    if cluster:
        nodes = [ClusterNodeAsync(*place) for place in places]
        return redis_async.RedisCluster(startup_nodes=nodes, retry=retry, **parameters)
    [(host, port), *_] = places
    return redis_async.Redis(host=host, port=port, retry=retry, **parameters)


def _placed(address: str) -> tuple[list[tuple[str, int]], bool, dict[str, Any]]:
    """The nodes of an address, whether they are of a cluster, and the client's parameters."""
    nodes, parameters = parse(address)
    places = [(host, int(port)) for host, port in (node.rsplit(":", 1) for node in nodes)]
    return places, parameters.pop(CLUSTER, False), parameters


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
