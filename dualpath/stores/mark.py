"""The mark: the last micro-batch whose records Redis has acknowledged, kept in Redis itself.

Redis keeps a prefix of its writes: restarted from an older dump, or failed over to a replica that lagged, it has
lost the last ones and none before. So a mark that is up to date says that everything written before it is there.
"""

from collections.abc import Sequence
from typing import Any

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


def read(redis: Any, project: str, namespace: str, source: str) -> Fence | None:
    """How far a namespace is whole; None if it has no mark."""
    found = [redis.get(key) for key in keys.marks(project, namespace, source)]
    return None if None in found else min(map(decode, found))


def place(redis: Any, project: str, namespace: str, source: str, fence: Fence) -> None:
    """Say that everything up to a batch has been written to a new namespace."""
    for key in keys.marks(project, namespace, source):
        redis.set(key, encode(fence))


def advance(redis: Any, project: str, namespace: str, source: str, *, since: Fence, to: Fence) -> None:
    """Say that a batch has been acknowledged; raises `LostError` if the mark is not `since` any more."""
    for key in keys.marks(project, namespace, source):
        if not redis.eval(COMPARE_AND_SET, 1, key, encode(since), encode(to)):
            raise LostError("writes were lost in the middle of a batch")


def receded(seen: Sequence[bytes | None], now: Sequence[bytes | None]) -> bool:
    """Whether marks, as stored, have gone back since they were `seen`."""
    return any((new or b"") < (old or b"") for old, new in zip(seen, now, strict=True))


def life(redis: Any) -> str:
    """Another name for each start of the server: between two equal ones no acknowledged write was lost."""
    return redis.info("server")["run_id"]
