"""Which Redis a repo uses: the one its `feature_store.yaml` names, the environment's, or an embedded one.

Spark's workers import this module, so it does not import Feast, which takes seconds.
"""

import json
import os
from pathlib import Path
from typing import Any

from redis import Redis

VARIABLE = "DUALPATH_REDIS"


def embedded_folder(config: Any) -> Path:
    """Where the embedded Redis of a repo (its Feast `RepoConfig`) keeps its data."""
    return Path(config.repo_path or ".") / "data" / "redis"


def configured(config: Any) -> str:
    """The connection string from `feature_store.yaml`, else from DUALPATH_REDIS, else empty."""
    return config.online_store.connection_string or os.environ.get(VARIABLE, "")


def address(config: Any) -> str:
    """A Feast connection string; starts the embedded Redis if none is configured."""
    if found := configured(config):
        return found
    from dualpath.runtime import redis as embedded

    return embedded.ensure(embedded_folder(config))


def connect(connection_string: str) -> Redis:
    """A client, in bytes, for a Feast connection string.

    >>> connect("localhost:6379,db=3,password=secret").connection_pool.connection_kwargs["db"]
    3
    """
    nodes, parameters = parse(connection_string)
    host, port = nodes[0].rsplit(":", 1)
    return Redis(host=host, port=int(port), **parameters)


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
