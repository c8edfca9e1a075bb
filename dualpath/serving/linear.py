"""The arithmetic of linear policies: sums, products, quotients and square roots in a fixed order.

There is no BLAS, no libm and no fused operation, so every machine gets the same bits from the same integers. A loop
over draws is the innermost one where it can be: the processor then takes several at a time, each in its own order.
"""

import numpy as np
from numba import njit

WORDS = 3
"""Of 64 bits, that one normal number is made of: twelve whole numbers of 16 bits."""

# A quotient by zero is infinite or NaN, which the caller looks for, and raises nothing.
compiled = njit(cache=True, nogil=True, error_model="numpy")


@compiled
def cholesky(matrix: np.ndarray) -> np.ndarray:
    """The lower triangular L of a positive definite `matrix` = L L', float64[d, d]."""
    d = len(matrix)
    lower = np.zeros((d, d))
    for i in range(d):
        for j in range(i + 1):
            rest = matrix[i, j]
            for k in range(j):
                rest -= lower[i, k] * lower[j, k]
            lower[i, j] = np.sqrt(rest) if i == j else rest / lower[j, j]
    return lower


@compiled
def forward(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The y of L y = `right`, float64[d]."""
    found = np.empty(len(right))
    for i in range(len(right)):
        rest = right[i]
        for k in range(i):
            rest -= lower[i, k] * found[k]
        found[i] = rest / lower[i, i]
    return found


@compiled
def backward(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The y of L' y = `right`, float64[d]."""
    d = len(right)
    found = np.empty(d)
    for i in range(d - 1, -1, -1):
        rest = right[i]
        for k in range(i + 1, d):
            rest -= lower[k, i] * found[k]
        found[i] = rest / lower[i, i]
    return found


@compiled
def products(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The product of each row, float64[K, d], with a vector."""
    found = np.empty(len(rows))
    for i in range(len(rows)):
        total = 0.0
        for j in range(len(vector)):
            total += rows[i, j] * vector[j]
        found[i] = total
    return found


@compiled
def widths(lower: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """sqrt(x' (L L')^-1 x) of each row x: how little is known in its direction."""
    found = np.empty(len(rows))
    for i in range(len(rows)):
        part = forward(lower, rows[i])
        total = 0.0
        for j in range(len(part)):
            total += part[j] * part[j]
        found[i] = np.sqrt(total)
    return found


@compiled
def normals(words: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Nearly normal numbers, float64[rows, columns], of random `words`, uint64[rows * columns * WORDS].

    Each is the sum of twelve uniform ones of 16 bits (Irwin and Hall) less its mean: exact up to one division, mean 0
    and variance 1 - 2^-32.
    """
    found = np.empty((rows, columns))
    part, shift = np.uint64(0xFFFF), np.uint64(16)
    at = 0
    for i in range(rows):
        for n in range(columns):
            total = np.uint64(0)
            for _ in range(WORDS):
                word = words[at]
                for _ in range(4):
                    total += word & part
                    word >>= shift
                at += 1
            found[i, n] = (np.int64(total) - 6 * 65_535) / 65_536
    return found


@compiled
def wins(lower: np.ndarray, mean: np.ndarray, rows: np.ndarray, drawn: np.ndarray, width: float) -> np.ndarray:
    """How often each row is the best under parameters mean + width * L'^-1 z, for z each column of `drawn`; int64[K].

    rows: float64[K, d]; drawn: float64[d, draws]. Of equal ones the first wins.
    """
    d, draws = drawn.shape
    moved = drawn.copy()
    for i in range(d - 1, -1, -1):
        for k in range(i + 1, d):
            factor = lower[k, i]
            for n in range(draws):
                moved[i, n] -= factor * moved[k, n]
        for n in range(draws):
            moved[i, n] /= lower[i, i]
    for i in range(d):
        for n in range(draws):
            moved[i, n] = mean[i] + width * moved[i, n]
    best, at = np.full(draws, -np.inf), np.zeros(draws, dtype=np.int64)
    for i in range(len(rows)):
        total = np.zeros(draws)
        for j in range(d):
            factor = rows[i, j]
            for n in range(draws):
                total[n] += factor * moved[j, n]
        for n in range(draws):
            if total[n] > best[n]:
                best[n], at[n] = total[n], i
    found = np.zeros(len(rows), dtype=np.int64)
    for n in range(draws):
        found[at[n]] += 1
    return found
