"""The high-water marks: the last micro-batch whose records Redis has acknowledged, kept in Redis itself.

A server keeps a prefix of its writes: restarted from an older dump, or failed over to a replica that lagged, it has
lost the last ones and none before. So a high-water mark that is up to date says that everything written before it is
there. A cluster has a high-water mark for each hash tag. Every other key has one of these tags too, so whatever a node
holds, however many nodes there are and wherever the slots lie, it holds the high-water marks that speak for it.
"""

from collections.abc import Sequence
from typing import Any

from redis import RedisCluster

from dualpath.online import keys
from dualpath.online.manifest import COMPARE_AND_SET, DONE, LostError
from dualpath.record import Fence
from dualpath.steps import Step, step

WIDTH = 8
"""Bytes of each of a fence's two numbers, big-endian: high-water marks are ordered as their bytes are."""


def encode(fence: Fence) -> bytes:
    """As stored.

    >>> encode(Fence(1, 255)) < encode(Fence(1, 256)) < encode(Fence(2, 0))
    True
    """
    return b"".join(number.to_bytes(WIDTH, "big") for number in fence)


def decode(stored: bytes) -> Fence:
    """The inverse of `encode`.

    >>> decode(encode(Fence(3, 70_000)))
    Fence(query=3, batch=70000)
    """
    return Fence(int.from_bytes(stored[:WIDTH], "big"), int.from_bytes(stored[WIDTH:], "big"))


def names(redis: Any, project: str, namespace: str, source: str) -> list[bytes]:
    """The keys of a source's high-water marks in a namespace."""
    stem = keys.high_water_mark(project, namespace, source)
    return [stem + tag for tag in keys.TAGS] if isinstance(redis, RedisCluster) else [stem]


def read(redis: Any, project: str, namespace: str, source: str) -> list[Fence | None]:
    """How far a namespace is whole, by each of its high-water marks; None for one that is missing."""
    with redis.pipeline(transaction=False) as pipe:
        for key in names(redis, project, namespace, source):
            pipe.get(key)
        return [None if stored is None else decode(stored) for stored in pipe.execute()]


def place(redis: Any, project: str, namespace: str, source: str, fence: Fence) -> None:
    """Set the high-water marks, whatever they were."""
    with redis.pipeline(transaction=False) as pipe:
        for key in names(redis, project, namespace, source):
            pipe.set(key, encode(fence))
        pipe.execute()


@step(Step.ADVANCE_MARK)
def advance(
    redis: Any, project: str, namespace: str, source: str, *, since: Fence, to: Fence, within: Sequence[str]
) -> None:
    """Say that everything up to `to` has been acknowledged; high-water marks that are there already stay, as when this
    is done again.

    Raises `LostError` if a high-water mark is not `since` any more, or if its server is not of the incarnation `within`
    which that was seen: it may have come back with the high-water mark and without what was written after it.
    """
    for key in names(redis, project, namespace, source):
        if redis.eval(COMPARE_AND_SET, 1, key, encode(since), encode(to), ",".join(within)) != DONE:
            raise LostError("writes were lost in the middle of a batch")
