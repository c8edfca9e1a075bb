"""High-water marks: the last micro-batch whose records Redis has acknowledged, kept in Redis itself.

A server keeps a prefix of its writes: after a restart from an older dump, or a failover to a lagging replica, it lacks
the last writes and none before them. So if its high-water mark is up to date, everything written before it is there. A
cluster has a high-water mark for each hash tag. Every key has one of these tags, so a node holds the high-water marks
of all its keys, wherever the slots are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis import RedisCluster

from dualpath.online import keys
from dualpath.online.manifest import DONE, LostError
from dualpath.record import UNFENCED, Fence
from dualpath.steps import Step, step

WIDTH = 8
"""Bytes of each number, big-endian: the fences of high-water marks are ordered as their bytes are."""
FENCE = 2 * WIDTH
"""Bytes of the fence, which come first."""
ADVANCE = """
-- Moves a high-water mark, KEYS[1], from the fence ARGV[1] to ARGV[2] and notes the time of this server. The newest
-- arrival becomes ARGV[3], unless it is later already. Answers 1 if the mark is at ARGV[2] now, 0 if it was at neither,
-- and -1 if the server is none of those whose `incarnation` is ARGV[4] (empty: whichever).
if ARGV[4] ~= '' then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  if not string.find(ARGV[4], run, 1, true) then return -1 end
end
local old = redis.call('GET', KEYS[1]) or ''
local at = string.sub(old, 1, 16)
if at ~= ARGV[1] and at ~= ARGV[2] then return 0 end
local arrived = tonumber(ARGV[3])
if #old > 16 then arrived = math.max(arrived, (struct.unpack('>i8', old, 17))) end
local now = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[2] .. struct.pack('>i8i8', arrived, now[1] * 1000000 + now[2]))
return 1
"""


class HighWaterMark(NamedTuple):
    """What Redis has acknowledged: everything up to the micro-batch `fence`.

    `arrived` is when the accepted event that arrived last did; `written` is when the mark was written or confirmed, by
    the clock of Redis. Both are microseconds UTC; 0: not known, as in a mark of an earlier version.
    """

    fence: Fence
    arrived: int = 0
    written: int = 0


def encode(fence: Fence) -> bytes:
    """A fence as stored.

    >>> encode(Fence(1, 255)) < encode(Fence(1, 256)) < encode(Fence(2, 0))
    True
    """
    return b"".join(number.to_bytes(WIDTH, "big") for number in fence)


def decode(stored: bytes) -> HighWaterMark:
    """A high-water mark as stored.

    >>> decode(encode(Fence(3, 70_000)))
    HighWaterMark(fence=Fence(query=3, batch=70000), arrived=0, written=0)
    """
    query, batch, *times = (int.from_bytes(stored[at : at + WIDTH], "big") for at in range(0, len(stored), WIDTH))
    return HighWaterMark(Fence(query, batch), *times)


def lowest(stored: Sequence[bytes | None]) -> HighWaterMark:
    """What all of several high-water marks say; one that is missing says nothing."""
    marks = [decode(each) if each else HighWaterMark(UNFENCED) for each in stored]
    return HighWaterMark(*map(min, zip(*((m.fence, m.arrived, m.written) for m in marks), strict=True)))


def names(redis: Any, project: str, namespace: str, source: str) -> list[bytes]:
    """The keys of a source's high-water marks in a namespace."""
    stem = keys.high_water_mark(project, namespace, source)
    return [stem + tag for tag in keys.TAGS] if isinstance(redis, RedisCluster) else [stem]


def read(redis: Any, project: str, namespace: str, source: str) -> list[HighWaterMark | None]:
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
    redis: Any,
    project: str,
    namespace: str,
    source: str,
    *,
    since: Fence,
    to: Fence,
    arrived: int,
    within: Sequence[str],
) -> None:
    """Move the high-water marks from `since` to `to`: everything up to there has been acknowledged. It may be repeated.

    `arrived` is the newest arrival of the batches in between. Raises `LostError` if a high-water mark is neither, or if
    its server is not of the incarnation `within` which `since` was read: it may have restarted with the high-water mark
    and without the writes after it.
    """
    for key in names(redis, project, namespace, source):
        if redis.eval(ADVANCE, 1, key, encode(since), encode(to), arrived, ",".join(within)) != DONE:
            raise LostError("writes were lost in the middle of a batch")


def confirm(redis: Any, project: str, namespace: str, source: str, at: Fence) -> None:
    """Note that the high-water marks that are at a fence are of the present; others are left alone."""
    for key in names(redis, project, namespace, source):
        redis.eval(ADVANCE, 1, key, encode(at), encode(at), 0, "")
