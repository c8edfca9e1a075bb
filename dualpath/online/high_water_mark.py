"""High-water marks: the last micro-batch whose records Redis has acknowledged, kept in Redis itself.

A server keeps a prefix of its writes: after a restart from an older dump, or a failover to a lagging replica, it lacks
the last writes and none before them. So if its high-water mark is up to date, everything written before it is there. A
cluster has a high-water mark for each hash tag. Every key has one of these tags, so a node holds the high-water marks
of all its keys, wherever the slots are.
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
    """Each high-water mark of a namespace; None for one that is missing."""
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
    """Move the high-water marks from `since` to `to`: everything up to there has been acknowledged. It may be repeated.

    Raises `LostError` if a high-water mark is neither, or if its server is not of the incarnation `within` which
    `since` was read: it may have restarted with the high-water mark and without the writes after it.
    """
    for key in names(redis, project, namespace, source):
        if redis.eval(COMPARE_AND_SET, 1, key, encode(since), encode(to), ",".join(within)) != DONE:
            raise LostError("writes were lost in the middle of a batch")
