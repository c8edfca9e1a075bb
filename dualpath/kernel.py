"""The kernel: computes from records what a window holds. No other code folds records into a value.

Plain loops, compiled by numba; one call serves one row or a million. Every fold is exact and order-free
over int64 words, so the bits of an answer depend on the set of records alone.
"""

import numpy as np
from numba import njit

from dualpath.schema import NULL, SATURATED

SUM, MIN, MAX, FIRST, LAST, GROUPS, TIMED, NEWEST, SKETCH = range(9)
"""The operations; `dualpath.cells` says what each one computes."""
OK, OVERFLOW, STRADDLES, BEYOND, MISSHAPEN = range(5)
"""How a fold ended: well; a sum left int64; a folded record lies on both sides of `as_of` (or wholly after it);
the arrays do not fit together."""


@njit(cache=True, nogil=True)
def arrange(words, starts):
    """Sort the records of every entity by time, in place; entity i owns `[starts[i], starts[i + 1])`."""
    for i in range(len(starts) - 1):
        a, b = starts[i], starts[i + 1]
        for k in range(a + 1, b):
            if words[k, 0] < words[k - 1, 0]:
                words[a:b] = words[a:b][np.argsort(words[a:b, 0], kind="mergesort")]
                break


@njit(cache=True, nogil=True)
def after(words, a, b, edge):
    """Index of the first record in `[a, b)`, sorted by time, whose time is greater than `edge`; else b."""
    while a < b:
        middle = (a + b) // 2
        if words[middle, 0] > edge:
            b = middle
        else:
            a = middle + 1
    return a


@njit(cache=True, nogil=True)
def outside(words, k, right, coarse):
    """OK if record k, in the window by its bucket, is wholly at or before `right`; BEYOND if wholly after it."""
    if not coarse or words[k, 1] <= right:
        return OK
    return STRADDLES if words[k, 2] <= right else BEYOND


@njit(cache=True, nogil=True)
def successors(words, spans):
    """For every record in one of the spans, int64[n]: the index of the next version of the same row; -1: none, or in no
    span.

    The records' words 0 to 3 are time, id, row and version; an entity's are sorted by time. The versions of a row are
    in the order of (time, version, id).
    """
    later = np.full(len(words), -1, dtype=np.int64)
    for i in range(len(spans)):
        a, b = spans[i]
        if (i and a == spans[i - 1, 0]) or not 0 <= a <= b <= len(words):
            continue
        order = a + np.argsort(words[a:b, 1], kind="mergesort")
        for slot in (3, 0, 2):
            order = order[np.argsort(words[:, slot][order], kind="mergesort")]
        for k in range(1, len(order)):
            if words[order[k], 2] == words[order[k - 1], 2]:
                later[order[k - 1]] = order[k]
    return later


@njit(cache=True, nogil=True)
def unknown(words, k, known, part, limits, i):
    """Whether record k became known later than row i knows: `fold` says by which number and limit."""
    if part is None:
        return words[k, known] > limits[i, 0]
    return words[k, known] > limits[i, words[k, part]]


@njit(cache=True, nogil=True)
def replaced(words, later, k, as_of, known, part, limits, i):
    """Whether a later version than record k has happened at `as_of`, and is known."""
    k = later[k]
    while k >= 0 and words[k, 0] <= as_of:
        if known < 0 or not unknown(words, k, known, part, limits, i):
            return True
        k = later[k]
    return False


@njit(cache=True, nogil=True)
def reduce(words, later, a, b, right, as_of, coarse, op, slot, known, part, limits, i):
    """Fold one cell over records `[a, b)` for row i: (status, word); the word is NULL where nothing is picked."""
    total, carry = np.int64(0), 0
    best, time, name = np.int64(NULL), np.int64(NULL), np.int64(NULL)
    for k in range(a, b):
        if known >= 0 and unknown(words, k, known, part, limits, i):
            continue
        if later is not None:  # noqa: SIM102 - numba leaves out only a whole `if`
            if replaced(words, later, k, as_of, known, part, limits, i):
                continue
        if coarse:
            side = outside(words, k, right, coarse)
            if side == STRADDLES:
                return STRADDLES, total
            if side != OK:
                continue
        word = words[k, slot]
        if op == SUM:
            if word == SATURATED:
                return OVERFLOW, total
            grown = total + word
            if ((total ^ grown) & (word ^ grown)) < 0:
                carry += 1 if word > 0 else -1
            total = grown
        elif op == MIN:
            if word != NULL and (best == NULL or word < best):
                best = word
        elif op == MAX:
            if word > best:
                best = word
        elif words[k, slot + 1] != NULL:
            t, n = words[k, slot + 1], words[k, slot + 2]
            newer = t > time or (t == time and n > name)
            if time == NULL or newer == (op == LAST):
                best, time, name = word, t, n
    # Sums wrap on the way, in whatever order; only a carry that is left at the end does not fit.
    return OVERFLOW if carry else OK, total if op == SUM else best


@njit(cache=True, nogil=True)
def gather(
    words, later, a, b, right, as_of, coarse, how, slot, member, weight, known, part, limits, i, codes, times, weights
):
    """What the records `[a, b)` hold one by one for row i, merged and in order: (status, how many).

    GROUPS: distinct dimension values, ascending, with their weights. TIMED: the same for every distinct
    (value, record time). NEWEST: picked values, latest (time, id) first. SKETCH: distinct hashes, ascending.
    A dimension slot of -1 is code 0.
    """
    n = 0
    for k in range(a, b):
        if known >= 0 and unknown(words, k, known, part, limits, i):
            continue
        if later is not None:  # noqa: SIM102 - numba leaves out only a whole `if`
            if replaced(words, later, k, as_of, known, part, limits, i):
                continue
        side = outside(words, k, right, coarse)
        if side == STRADDLES:
            return STRADDLES, 0
        if side != OK:
            continue
        if how == NEWEST:
            if words[k, slot + 1] != NULL:
                codes[n], times[n], weights[n] = words[k, slot], words[k, slot + 1], words[k, slot + 2]
                n += 1
        elif how == SKETCH:
            if words[k, slot] != NULL:
                codes[n], times[n], weights[n] = words[k, slot], 0, 0
                n += 1
        elif words[k, member] != 0:
            codes[n] = words[k, slot] if slot >= 0 else 0
            times[n] = words[k, 0] if how == TIMED else 0
            weights[n] = words[k, weight]
            if weights[n] == SATURATED:
                return OVERFLOW, 0
            n += 1
    if how == NEWEST:
        arranged(times, weights, codes, n)
        codes[:n] = codes[:n][::-1].copy()
        weights[:n] = 1
        return OK, n
    if n < 2:
        return OK, n
    if how == TIMED:
        arranged(codes, times, weights, n)
    else:
        order = np.argsort(codes[:n])
        codes[:n], weights[:n] = codes[:n][order], weights[:n][order]
    m, carry = 0, 0
    for k in range(1, n):
        if codes[k] == codes[m] and times[k] == times[m]:
            grown = weights[m] + weights[k]
            if ((weights[m] ^ grown) & (weights[k] ^ grown)) < 0:
                carry += 1 if weights[k] > 0 else -1
            weights[m] = grown
        else:
            if carry:
                return OVERFLOW, 0
            m += 1
            codes[m], times[m], weights[m] = codes[k], times[k], weights[k]
    return OVERFLOW if carry else OK, m + 1


@njit(cache=True, nogil=True)
def arranged(first, second, other, n):
    """Sort the first n of three columns by the first two, in place."""
    order = np.argsort(second[:n], kind="mergesort")
    order = order[np.argsort(first[:n][order], kind="mergesort")]
    first[:n], second[:n], other[:n] = first[:n][order], second[:n][order], other[:n][order]


@njit(cache=True, nogil=True)
def enlarged(column, filled, size):
    """A column with room for `size` and the same first `filled`."""
    room = np.empty(size, dtype=np.int64)
    room[:filled] = column[:filled]
    return room


@njit(cache=True, nogil=True)
def fold(words, later, spans, as_of, left, right, plan, groups, coarse, known, part, limits):
    """Every reduction of a view at every instant.

    words: int64[n, width], records sorted by time within an entity. later: their `successors`, int64[n], if they
    are versions of rows, else None, for which numba compiles code of its own. spans: int64[m, 2], each row's
    records. as_of: int64[m]. left, right: int64[m, w], window edges, open and closed. plan: int64[r, 3] of (op,
    window, slot), one a scalar reduction. groups: int64[g, 5] of (op, window, slot, member slot, weight slot).
    known: the slot of the word that must be at most a limit of the row for a record to count for it; -1 if all records
    count. limits: int64[m, p]. part: the slot of the word that says which of the row's limits a record is compared
    with; None, for which numba compiles code of its own: the only one.

    Answers (status, row, reduction, scalars int64[m, r], offsets int64[g, m + 1], codes, times, weights): the
    first three say where a fold failed; row i of group j owns `codes[offsets[j, i]:offsets[j, i + 1]]`.
    """
    m, r, g = len(spans), len(plan), len(groups)
    scalars = np.empty((m, r), dtype=np.int64)
    offsets = np.zeros((g, m + 1), dtype=np.int64)
    size = 64 if g else 0
    codes, times, weights = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    # Compiled code reads whatever lies behind an array's end, so shapes are looked at before anything is read.
    if len(as_of) != m or len(left) != m or len(right) != m or len(limits) != m:
        return MISSHAPEN, 0, 0, scalars, offsets, codes, times, weights
    if later is not None and len(later) != len(words):
        return MISSHAPEN, 0, 0, scalars, offsets, codes, times, weights
    if part is not None:
        for k in range(len(words)):
            if not 0 <= words[k, part] < limits.shape[1]:
                return MISSHAPEN, 0, 0, scalars, offsets, codes, times, weights
    for i in range(m):
        if not 0 <= spans[i, 0] <= spans[i, 1] <= len(words):
            return MISSHAPEN, i, 0, scalars, offsets, codes, times, weights
    for i in range(m):
        for j in range(r):
            op, window, slot = plan[j]
            a = after(words, spans[i, 0], spans[i, 1], left[i, window])
            b = after(words, a, spans[i, 1], right[i, window])
            status, scalars[i, j] = reduce(
                words, later, a, b, right[i, window], as_of[i], coarse, op, slot, known, part, limits, i
            )
            if status != OK:
                return status, i, j, scalars, offsets, codes, times, weights
    filled = 0
    for j in range(g):
        how, window, slot, member, weight = groups[j]
        offsets[j, 0] = filled
        for i in range(m):
            a = after(words, spans[i, 0], spans[i, 1], left[i, window])
            b = after(words, a, spans[i, 1], right[i, window])
            if filled + b - a > len(codes):
                size = 2 * (filled + b - a)
                codes, times, weights = (
                    enlarged(codes, filled, size),
                    enlarged(times, filled, size),
                    enlarged(weights, filled, size),
                )
            status, n = gather(
                words, later, a, b, right[i, window], as_of[i], coarse, how, slot, member, weight,
                known, part, limits, i, codes[filled:], times[filled:], weights[filled:],
            )  # fmt: skip
            if status != OK:
                return status, i, r + j, scalars, offsets, codes, times, weights
            filled += n
            offsets[j, i + 1] = filled
    return OK, 0, 0, scalars, offsets, codes[:filled], times[:filled], weights[:filled]
