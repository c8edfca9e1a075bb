"""What Redis has of a person beside the state of views, which a rebuild replaces; and how what it replaced goes."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import tenacity
from feast.infra.key_encoding_utils import deserialize_entity_key
from feast.infra.online_stores.helpers import _redis_key
from redis import RedisCluster, ResponseError

from dualpath.erasure.keys import Keys
from dualpath.online import keys as names
from dualpath.online import manifest
from dualpath.online.removal import remove, remove_superseded
from dualpath.repo import Repo
from dualpath.steps import Step, step
from dualpath.view import View

WRITTEN_SECONDS = 600
"""How long Redis may take to write its files anew."""


def decisions(redis: Any, project: str, keys: Keys) -> Iterator[bytes]:
    """The answers of the serving application that name one of the keys, kept for retries."""
    for some in _pieces(names.decisions(redis, project)):
        with redis.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.get(key)
            answers = pipe.execute()
        for key, kept in zip(some, answers, strict=True):
            event = json.loads(kept) if kept else {}
            if any(event.get(name) in values for name, values in keys.items()):
                yield key


def ordinary(redis: Any, repo: Repo, keys: Keys) -> Iterator[bytes]:
    """The keys in which Feast keeps values of ordinary views of the person."""
    own, version = repo.project.encode(), repo.store.config.entity_key_serialization_version
    for key in redis.scan_iter(match=b"*" + own, count=names.SCANNED):
        try:
            found = deserialize_entity_key(key.removesuffix(own), version)
        except (ValueError, UnicodeDecodeError):
            continue
        values = [str(getattr(each, each.WhichOneof("val"))) for each in found.entity_values]
        named = any(value in keys.get(name, ()) for name, value in zip(found.join_keys, values, strict=True))
        # A key of another project, whose name ends with this one's, reads otherwise.
        if named and _redis_key(repo.project, found, version) == key:
            yield key


def forget_large(redis: Any, project: str, views: Iterable[View]) -> None:
    """Forget which entities of views are large: what is written next notes them again."""
    remove(redis, (names.large_entities(project, view.name) for view in views))


@step(Step.REMOVE_SUPERSEDED)
def forget_superseded(redis: Any, project: str, views: Iterable[View]) -> None:
    """Remove at once the parts of views that their manifests do not name."""
    found = {view.name: manifest.read(redis, project, view.name) for view in views}
    remove_superseded(redis, project, {name: known for name, known in found.items() if known})


@step(Step.REMOVE_TEXTS)
def forget_texts(redis: Any, project: str, codes: np.ndarray) -> int:
    """Remove every text whose code is not one of those that records have, int64[n]; answers how many texts that
    were."""
    name, removed = names.dictionary(project), 0
    for found in _pieces(redis.hscan_iter(name, count=names.SCANNED)):
        there = np.array([int(code) for code, _ in found], dtype=np.int64)
        gone = there[~np.isin(there, codes)]
        if len(gone):
            removed += redis.hdel(name, *map(str, gone.tolist()))
    return removed


def _pieces(found: Iterable[Any]) -> Iterator[list[Any]]:
    """As many as are looked at in one round trip."""
    rest = iter(found)
    while piece := list(islice(rest, names.SCANNED)):
        yield piece


@step(Step.REWRITE_REDIS)
def rewrite_files(redis: Any) -> str:
    """Let every server write the files anew from which it starts, and wait; answers what is wrong, if it cannot.

    Until then they have what was removed.
    """
    targets = redis.get_primaries() if isinstance(redis, RedisCluster) else [None]
    try:
        for node in targets:
            _rewrite(redis, {} if node is None else {"target_nodes": node})
    except (ResponseError, tenacity.RetryError) as error:
        return f"Redis does not write its files anew when it is told to ({error})"
    return ""


def _rewrite(redis: Any, at: dict[str, Any]) -> None:
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_result(bool),
        stop=tenacity.stop_after_delay(WRITTEN_SECONDS),
        wait=tenacity.wait_fixed(0.05),
    )
    waiting(_writes, redis, at)  # what it began before has what was removed since
    about = redis.info("persistence", **at)
    if about.get("aof_enabled"):
        redis.bgrewriteaof(**at)
    elif redis.config_get("save", **at).get("save"):
        redis.bgsave(**at)
    waiting(_writes, redis, at)


def _writes(redis: Any, at: dict[str, Any]) -> bool:
    about = redis.info("persistence", **at)
    busy = ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")
    return any(about.get(name) for name in busy)
