"""The arithmetic of linear policies: sums, products, quotients and square roots in a fixed order.

There is no BLAS, no libm and no fused operation, so every machine gets the same bits from the same integers.
"""

import numpy as np
from numba import njit


@njit(cache=True)
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


@njit(cache=True)
def forward(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The y of L y = `right`, float64[d]."""
    found = np.empty(len(right))
    for i in range(len(right)):
        rest = right[i]
        for k in range(i):
            rest -= lower[i, k] * found[k]
        found[i] = rest / lower[i, i]
    return found


@njit(cache=True)
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


@njit(cache=True)
def products(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The product of each row, float64[K, d], with a vector."""
    found = np.empty(len(rows))
    for i in range(len(rows)):
        total = 0.0
        for j in range(len(vector)):
            total += rows[i, j] * vector[j]
        found[i] = total
    return found


@njit(cache=True)
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


@njit(cache=True)
def wins(lower: np.ndarray, mean: np.ndarray, rows: np.ndarray, normals: np.ndarray, width: float) -> np.ndarray:
    """How often each row is the best under parameters mean + width * L'^-1 z, for z each row of `normals`; int64[K].

    Of equal ones the first wins.
    """
    found = np.zeros(len(rows), dtype=np.int64)
    for n in range(len(normals)):
        moved = backward(lower, normals[n])
        for j in range(len(mean)):
            moved[j] = mean[j] + width * moved[j]
        best, at = -np.inf, 0
        for i in range(len(rows)):
            total = 0.0
            for j in range(len(mean)):
                total += rows[i, j] * moved[j]
            if total > best:
                best, at = total, i
        found[at] += 1
    return found
