"""Exact arithmetic that rounds once, from whole numbers to the doubles a model sees."""

import math

import numpy as np

EXACT = 2**53
"""Every integer up to here is a double, so one division of two of them is correctly rounded (IEEE 754)."""


def divide(total: np.ndarray, count: np.ndarray | int, scale: int = 0) -> np.ndarray:
    """`total / (count * 10**scale)`, correctly rounded; int64[m] by int64[m] (count > 0) to float64[m].

    >>> divide(np.array([1, 10]), np.array([3, 4]), scale=0).tolist()
    [0.3333333333333333, 2.5]
    >>> divide(np.array([2**62 + 1]), 3).item() == (2**62 + 1) / 3
    True
    """
    if total.size == 1:
        # Python divides integers with one rounding, whatever their size; for one row that is also quicker.
        return np.array([int(total[0]) / (int(np.ravel(count)[0]) * 10**scale)])
    result = total / (count * 10.0**scale)
    inexact = (total > EXACT) | (total < -EXACT) | (count > EXACT // 10**scale)
    if inexact.any():
        by = np.broadcast_to(count, total.shape)
        for i in np.flatnonzero(inexact):
            result[i] = int(total[i]) / (int(by[i]) * 10**scale)
    return result


def quotient(top: int, bottom: int) -> float:
    """`top / bottom`, correctly rounded, whatever their size; beyond the largest double it is infinite.

    >>> quotient(1, 3), quotient(-(10**400), 1)
    (0.3333333333333333, -inf)
    """
    try:
        return top / bottom + 0.0
    except OverflowError:
        return math.inf if (top > 0) == (bottom > 0) else -math.inf


def totals(column: np.ndarray, offsets: np.ndarray) -> list[int]:
    """Sums of Python integers (object[n]); row i has `[offsets[i], offsets[i + 1])`.

    >>> totals(np.array([2**70, 1, 5], dtype=object), np.array([0, 2, 3]))
    [1180591620717411303425, 5]
    """
    running = np.r_[np.array([0], dtype=object), np.cumsum(column, dtype=object)]
    return (running[offsets[1:]] - running[offsets[:-1]]).tolist()
