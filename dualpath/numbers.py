"""Exact arithmetic on the way from integer words to the numbers a model sees."""

import math

import numpy as np

from dualpath.expression import Type

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


def decode(words: np.ndarray, kind: Type) -> np.ndarray:
    """The values behind encoded words, int64[m]: decimals and doubles as float64, booleans as bool.

    Integers, timestamps (microseconds UTC) and the 64-bit codes of texts stay as they are.

    >>> decode(np.array([1999]), Type("decimal", 2)).tolist()
    [19.99]
    """
    if kind.kind == "decimal":
        return divide(words, 1, kind.scale)
    if kind.kind == "double":
        return unorder(words)
    return words.astype(bool) if kind.kind == "boolean" else words


DENOMINATOR = 2**1126
"""Times this, every double is a whole number: the least is 2^-1074, and 52 digits follow its leading one."""


def whole(words: np.ndarray, kind: Type) -> tuple[np.ndarray, int]:
    """Encoded numbers as Python integers (object[m]) over one common denominator.

    >>> whole(np.array([1999]), Type("decimal", 2))
    (array([1999], dtype=object), 100)
    >>> halves, unit = whole(order(np.array([0.5, -1.5])), Type("double"))
    >>> [quotient(n, unit) for n in halves]
    [0.5, -1.5]
    """
    if kind.kind != "double":
        return words.astype(object), 10**kind.scale
    fraction, exponent = np.frexp(unorder(words))
    digits = (fraction * EXACT).astype(np.int64).astype(object)
    return digits << (exponent.astype(np.int64) + 1073).astype(object), DENOMINATOR


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


def order(values: np.ndarray) -> np.ndarray:
    """Doubles as int64 words that sort as the numbers do; -0.0 becomes 0.0. `unorder` is the inverse.

    A positive double's bits already sort as integers; a negative one's sort backwards, so all but its sign
    are flipped (the total order of IEEE 754, section 5.10).

    >>> order(np.array([-1.5, 0.0, 2.25])).argsort().tolist(), unorder(order(np.array([-1.5]))).item()
    ([0, 1, 2], -1.5)
    """
    bits = (np.asarray(values, dtype=np.float64) + 0.0).view(np.int64)
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def unorder(words: np.ndarray) -> np.ndarray:
    """The doubles behind `order`'s words; float64[m]."""
    return np.where(words < 0, words ^ np.int64(2**63 - 1), words).view(np.float64)
