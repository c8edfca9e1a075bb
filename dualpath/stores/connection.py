"""Which Redis a repo uses: the one its `feature_store.yaml` names, the environment's, or an embedded one."""

import os
from pathlib import Path

from feast import RepoConfig
from feast.infra.online_stores.redis import RedisOnlineStore
from redis import Redis

from dualpath.runtime import redis as embedded

VARIABLE = "DUALPATH_REDIS"


def embedded_folder(config: RepoConfig) -> Path:
    """Where the embedded Redis of a repo keeps its data."""
    return Path(config.repo_path or ".") / "data" / "redis"


def configured(config: RepoConfig) -> str:
    """The connection string from `feature_store.yaml`, else from DUALPATH_REDIS, else empty."""
    return config.online_store.connection_string or os.environ.get(VARIABLE, "")


def address(config: RepoConfig) -> str:
    """A Feast connection string (`host:port,parameter=value`); starts the embedded Redis if none is configured."""
    return configured(config) or embedded.ensure(embedded_folder(config))


def connect(connection_string: str) -> Redis:
    """A client for a Feast connection string, in bytes."""
    nodes, parameters = RedisOnlineStore._parse_connection_string(connection_string)
    return Redis(host=nodes[0]["host"], port=int(nodes[0]["port"]), **parameters)
