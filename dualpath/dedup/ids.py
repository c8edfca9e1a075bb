"""Ids of accepted events as sorted arrays: what tells a repetition from something new, however many there are.

An id is known by 128 bits of hashes. A *run* is an int64 array of three rows, `HASH`, `CHECK` and `CLOCK` (the instant
at which the id was accepted, microseconds UTC), with one column for each id, in ascending order of `HASH`. Hashes are
spread evenly, so what a search touches grows with the logarithm of a run, and a run lies in a file as it is,
one row after the other.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

HASH, CHECK, CLOCK = range(3)
BYTES = 24
"""Of an id in a run."""
FAN = 8
"""Runs of a size that become one."""
MOST = 2**22
"""Ids of a run that no later one is added to."""
AT_ONCE = 2**20
"""Ids that `merged` holds a copy of."""


def run(ids: np.ndarray) -> np.ndarray:
    """A run of ids in any order: an array of the same three rows.

    >>> run(np.array([[7, -2, 5], [70, 20, 50], [1, 2, 3]]))
    array([[-2,  5,  7],
           [20, 50, 70],
           [ 2,  3,  1]])
    """
    return np.take(ids, np.argsort(ids[HASH], kind="stable"), axis=1)


def first(ids: np.ndarray) -> np.ndarray:
    """Where in some ids, in any order, each is the first of its kind: positions, in ascending order of the hashes.

    >>> first(np.array([[7, 5, 7, 7], [70, 50, 70, 71], [1, 1, 1, 1]]))
    array([1, 0, 3])
    """
    order = np.lexsort((ids[CHECK], ids[HASH]))
    ordered = ids[: CHECK + 1, order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    return order[new]


def known(ids: np.ndarray, within: np.ndarray, since: int) -> np.ndarray:
    """Whether each of some ids, best in ascending order of their hashes, is in a run and was accepted after `since`: a
    mask of their number.

    >>> known(np.array([[5, 7, 7], [50, 70, 71]]), run(np.array([[7, 5], [70, 50], [1, 2]])), since=1)
    array([ True, False, False])
    """
    found = np.zeros(ids.shape[1], dtype=bool)
    asked = np.arange(ids.shape[1])
    at = np.searchsorted(within[HASH], ids[HASH])
    while asked.size:  # a second time only where a hash is that of two ids, or of one that was accepted twice
        there = at < within.shape[1]
        asked, at = asked[there], at[there]
        same = within[HASH, at] == ids[HASH, asked]
        asked, at = asked[same], at[same]
        hit = (within[CHECK, at] == ids[CHECK, asked]) & (within[CLOCK, at] > since)
        found[asked[hit]] = True
        asked, at = asked[~hit], at[~hit] + 1
    return found


def due(sizes: Sequence[int]) -> int:
    """How many of the latest runs should become one, given how many ids are in each, oldest first.

    Sizes fall into tiers, each of them up to eight times the one below. So that few runs are left and each id is moved
    seldom, it is those from the oldest of `FAN` of the same tier on; 0 if there are not as many.

    >>> due([900, 64] + [9] * 7), due([900, 64] + [9] * 8), due([900, 64, 2] + [9] * 7)
    (0, 8, 8)
    """
    tiers: Counter[int] = Counter()
    tier = 0
    for back, size in enumerate(reversed(sizes), start=1):
        if size >= MOST:
            break
        # One that is older and smaller than another goes with it.
        tier = max(tier, size.bit_length() // 3)
        tiers[tier] += 1
        if tiers[tier] == FAN:
            return back
    return 0


def merged(runs: Sequence[np.ndarray], into: np.ndarray | None = None) -> np.ndarray:
    """Runs in one, written into an array of the right shape, which may be a file's, or into a new one.

    >>> merged([run(np.array([[7, 5], [70, 50], [1, 1]])), run(np.array([[6], [60], [2]]))])
    array([[ 5,  6,  7],
           [50, 60, 70],
           [ 1,  2,  1]])
    """
    total = sum(each.shape[1] for each in runs)
    into = np.empty((3, total), dtype=np.int64) if into is None else into
    pieces = -(-total // AT_ONCE)
    edges = [np.int64(-(2**63) + 2**64 * piece // pieces) for piece in range(pieces)]
    cuts = [[*np.searchsorted(each[HASH], edges), each.shape[1]] for each in runs]
    at = 0
    for spans in zip(*map(pairwise, cuts), strict=True):
        piece = run(np.concatenate([each[:, a:b] for each, (a, b) in zip(runs, spans, strict=True)], axis=1))
        into[:, at : at + piece.shape[1]] = piece
        at += piece.shape[1]
    return into


class Seen:
    """Ids that were accepted after `since`, in runs: those given, and its own, of all that it has found new."""

    def __init__(self, runs: Iterable[np.ndarray], since: int) -> None:
        self.runs, self.since = list(runs), since
        self.own: list[np.ndarray] = []

    def new(self, ids: np.ndarray) -> np.ndarray:
        """Whether each of some ids, in any order, was not there, nor among those before it: a mask of their number.
        From now on they are.

        >>> seen = Seen([run(np.array([[7, 5], [70, 50], [1, 2]]))], since=1)
        >>> seen.new(np.array([[5, 7, 7, 9], [50, 70, 70, 90], [3, 3, 3, 3]]))
        array([False,  True, False,  True])
        >>> seen.new(np.array([[9, 8], [90, 80], [3, 3]]))
        array([False,  True])
        """
        order = first(ids)
        asked = ids[:, order]
        old = np.zeros(len(order), dtype=bool)
        for each in (*self.runs, *self.own):
            old |= known(asked, each, self.since)
        found = np.zeros(ids.shape[1], dtype=bool)
        found[order[~old]] = True
        self.own.append(asked[:, ~old])
        while many := due([each.shape[1] for each in self.own]):
            self.own[-many:] = [merged(self.own[-many:])]
        return found
