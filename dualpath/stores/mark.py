"""The marks: the last micro-batch whose records Redis has acknowledged, kept in Redis itself.

A server keeps a prefix of its writes: restarted from an older dump, or failed over to a replica that lagged, it has
lost the last ones and none before. So a mark that is up to date says that everything written before it is there.
A cluster has a mark for each hash tag. Every other key has one of these tags too, so whatever a node holds, however
many nodes there are and wherever the slots lie, it holds the marks that speak for it.
"""

from typing import Any

from redis import RedisCluster

from dualpath.record import Fence
from dualpath.stores import keys
from dualpath.stores.pointer import COMPARE_AND_SET, LostError

WIDTH = 8
"""Bytes of each of a fence's two numbers, big-endian: marks are ordered as their bytes are."""


def encode(fence: Fence) -> bytes:
    """As stored.

    >>> encode(Fence(1, 255)) < encode(Fence(1, 256)) < encode(Fence(2, 0))
    True
    """
    return b"".join(number.to_bytes(WIDTH, "big") for number in fence)


def decode(stored: bytes) -> Fence:
    """The inverse of `encode`.

    >>> decode(encode(Fence(3, 70_000)))
    Fence(epoch=3, batch=70000)
    """
    return Fence(int.from_bytes(stored[:WIDTH], "big"), int.from_bytes(stored[WIDTH:], "big"))


def names(redis: Any, project: str, namespace: str, source: str) -> list[bytes]:
    """The keys of a source's marks in a namespace."""
    stem = keys.mark(project, namespace, source)
    return [stem + tag for tag in keys.TAGS] if isinstance(redis, RedisCluster) else [stem]


def read(redis: Any, project: str, namespace: str, source: str) -> list[Fence | None]:
    """How far a namespace is whole, by each of its marks; None for one that is missing."""
    with redis.pipeline(transaction=False) as pipe:
        for key in names(redis, project, namespace, source):
            pipe.get(key)
        return [None if stored is None else decode(stored) for stored in pipe.execute()]


def place(redis: Any, project: str, namespace: str, source: str, fence: Fence) -> None:
    """Say that everything up to a batch has been written to a new namespace."""
    with redis.pipeline(transaction=False) as pipe:
        for key in names(redis, project, namespace, source):
            pipe.set(key, encode(fence))
        pipe.execute()


def advance(redis: Any, project: str, namespace: str, source: str, *, since: Fence, to: Fence) -> None:
    """Say that a batch has been acknowledged; raises `LostError` if a mark is neither `since` nor there already,
    as some are when this is done again."""
    for key in names(redis, project, namespace, source):
        if not redis.eval(COMPARE_AND_SET, 1, key, encode(since), encode(to)):
            raise LostError("writes were lost in the middle of a batch")


def life(redis: Any) -> list[str]:
    """Another name for each start of a server, and each change of a cluster's primaries: between two equal ones no
    acknowledged write was lost. Raises an error of `redis` unless all of them answer."""
    cluster = isinstance(redis, RedisCluster)
    told = [redis.info("server", target_nodes=n) for n in redis.get_primaries()] if cluster else [redis.info("server")]
    return sorted(each["run_id"] for each in told)
