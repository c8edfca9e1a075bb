"""Ids of accepted events as sorted arrays: what tells a duplicate from a new event, however many ids there are.

An id is known by 128 bits of hashes. *Ids* are an int64 array of three rows, `HASH`, `CHECK` and `CLOCK` (the instant
at which the id was accepted, microseconds UTC), with one column for each id. A *segment* has its ids in ascending order
of `HASH`. Hashes are spread evenly, so a search touches only the logarithm of a segment, and a file holds a segment as
it is, one row after the other. A large segment is split by hash into several files, and a task whose ids share a range
of hashes opens only the files of that range.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

HASH, CHECK, CLOCK = range(3)
BYTES_PER_ID = 24
MERGE_FACTOR = 8
"""Segments of one size that are merged into one."""
FILE_IDS = 2**22
"""Ids of a merged segment from which on it is split into several files."""
LARGEST_IDS = 2**25
"""Ids of a segment from which on it is not merged again."""
COPIED_IDS = 2**20
"""Ids that `merged` copies into memory at a time."""
LOWEST, HIGHEST = -(2**63), 2**63 - 1


def sort(ids: np.ndarray) -> np.ndarray:
    """Make a segment of ids in any order.

    >>> sort(np.array([[7, -2, 5], [70, 20, 50], [1, 2, 3]]))
    array([[-2,  5,  7],
           [20, 50, 70],
           [ 2,  3,  1]])
    """
    return np.take(ids, np.argsort(ids[HASH], kind="stable"), axis=1)


def first_of_each(ids: np.ndarray) -> np.ndarray:
    """Positions at which an id occurs for the first time, in ascending order of the hashes.

    >>> first_of_each(np.array([[7, 5, 7, 7], [70, 50, 70, 71], [1, 1, 1, 1]]))
    array([1, 0, 3])
    """
    order = np.lexsort((ids[CHECK], ids[HASH]))
    ordered = ids[: CHECK + 1, order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return order[new]


def contains(segment: np.ndarray, ids: np.ndarray, since: int) -> np.ndarray:
    """Whether a segment has each of some ids, accepted after `since`: a mask. Ids in ascending order are found fastest.

    >>> contains(sort(np.array([[7, 5], [70, 50], [1, 2]])), np.array([[5, 7, 7], [50, 70, 71]]), since=1)
    array([ True, False, False])
    """
    found = np.zeros(ids.shape[1], dtype=bool)
    asked = np.arange(ids.shape[1])
    at = np.searchsorted(segment[HASH], ids[HASH])
    while asked.size:  # a second time only where a hash is that of two ids, or of one that was accepted twice
        there = at < segment.shape[1]
        asked, at = asked[there], at[there]
        same = segment[HASH, at] == ids[HASH, asked]
        asked, at = asked[same], at[same]
        hit = (segment[CHECK, at] == ids[CHECK, asked]) & (segment[CLOCK, at] > since)
        found[asked[hit]] = True
        asked, at = asked[~hit], at[~hit] + 1
    return found


def due_for_merge(sizes: Sequence[int]) -> int:
    """How many of the latest segments to merge now, given how many ids are in each, oldest first; 0 if none.

    Sizes fall into tiers, each of them up to eight times the one below. `MERGE_FACTOR` segments of one tier are merged,
    with all later ones, so few segments are left and each id is moved once a tier.

    >>> due_for_merge([900, 64] + [9] * 7), due_for_merge([900, 64] + [9] * 8), due_for_merge([900, 64, 2] + [9] * 7)
    (0, 8, 8)
    """
    tiers: Counter[int] = Counter()
    tier = 0
    for back, size in enumerate(reversed(sizes), start=1):
        if size >= LARGEST_IDS:
            break
        # One that is older and smaller than another goes with it.
        tier = max(tier, size.bit_length() // 3)
        tiers[tier] += 1
        if tiers[tier] == MERGE_FACTOR:
            return back
    return 0


def split(
    segments: Sequence[np.ndarray], pieces: int, low: int = LOWEST, high: int = HIGHEST
) -> list[list[np.ndarray]]:
    """Cut hashes `low` to `high` into ranges of the same width; answers the share of each segment, range by range.

    >>> split([sort(np.array([[-5, 3, 9], [0, 0, 0], [1, 1, 1]]))], 2)[0][0].tolist()
    [[-5], [0], [1]]
    """
    edges = [np.int64(low + (high - low + 1) * piece // pieces) for piece in range(1, pieces)]
    cuts = [[0, *np.searchsorted(each[HASH], edges), each.shape[1]] for each in segments]
    spans = zip(*map(pairwise, cuts), strict=True)
    return [[each[:, a:b] for each, (a, b) in zip(segments, span, strict=True)] for span in spans]


def hash_bounds(segments: Iterable[np.ndarray]) -> tuple[int, int]:
    """The least and the greatest hash of segments that are not empty.

    >>> hash_bounds([np.array([[5, 9], [0, 0], [1, 1]]), np.array([[3, 4], [0, 0], [1, 1]])])
    (3, 9)
    """
    ends = [(int(each[HASH, 0]), int(each[HASH, -1])) for each in segments]
    return min(low for low, _ in ends), max(high for _, high in ends)


def merged(segments: Sequence[np.ndarray], into: np.ndarray | None = None) -> np.ndarray:
    """Merge segments into one, written to an array of the right shape, which may be a file's, or to a new one.

    >>> merged([sort(np.array([[7, 5], [70, 50], [1, 1]])), sort(np.array([[6], [60], [2]]))])
    array([[ 5,  6,  7],
           [50, 60, 70],
           [ 1,  2,  1]])
    """
    segments = [each for each in segments if each.shape[1]]
    total = sum(each.shape[1] for each in segments)
    into = np.empty((3, total), dtype=np.int64) if into is None else into
    if not total:
        return into
    at = 0
    for shares in split(segments, -(-total // COPIED_IDS), *hash_bounds(segments)):
        piece = sort(np.concatenate(shares, axis=1))
        into[:, at : at + piece.shape[1]] = piece
        at += piece.shape[1]
    return into


@dataclass(frozen=True)
class Stored:
    """A segment whose hashes lie between `low` and `high`, both included; `read` answers its ids."""

    low: int
    high: int
    read: Callable[[], np.ndarray]


class Deduplicator:
    """Recognises ids that were accepted after `since`: those of the stored segments, and those it has found new."""

    def __init__(self, stored: Iterable[Stored], since: int) -> None:
        self.stored, self.since = list(stored), since
        self.own: list[np.ndarray] = []

    def new(self, ids: np.ndarray) -> np.ndarray:
        """Whether each of some ids, in any order, is in no segment and not among those before it: a mask. From now on
        they are known.

        >>> old = sort(np.array([[7, 5], [70, 50], [1, 2]]))
        >>> deduplicator = Deduplicator([Stored(5, 7, lambda: old)], since=1)
        >>> deduplicator.new(np.array([[5, 7, 7, 9], [50, 70, 70, 90], [3, 3, 3, 3]]))
        array([False,  True, False,  True])
        >>> deduplicator.new(np.array([[9, 8], [90, 80], [3, 3]]))
        array([False,  True])
        """
        order = first_of_each(ids)
        asked = ids[:, order]
        old = np.zeros(len(order), dtype=bool)
        for each in self.stored:
            begin = np.searchsorted(asked[HASH], np.int64(each.low))
            end = np.searchsorted(asked[HASH], np.int64(each.high), side="right")
            if begin < end:
                old[begin:end] |= contains(each.read(), asked[:, begin:end], self.since)
        for mine in self.own:
            old |= contains(mine, asked, self.since)
        found = np.zeros(ids.shape[1], dtype=bool)
        found[order[~old]] = True
        self.own.append(asked[:, ~old])
        while count := due_for_merge([each.shape[1] for each in self.own]):
            self.own[-count:] = [merged(self.own[-count:])]
        return found
