"""Exponential decay, with the same bits on every machine.

Libraries' `exp` and `exp2` differ in their last bits. Here 2^(-age / h) is made of multiplications alone, which
IEEE 754 fixes: the whole half-lives in age are an exact power of two, and each binary digit of the rest, which
is found in integers, contributes a constant 2^(-2^-i).
"""

from decimal import Decimal, localcontext

import numpy as np
from numba import njit

DIGITS = 53


def _constants() -> np.ndarray:
    """2^(-2^-i) for i from 1, each correctly rounded."""
    with localcontext() as context:
        context.prec = 40
        root, found = Decimal(2), []
        for _ in range(DIGITS):
            root = root.sqrt()
            found.append(float(1 / root))
    return np.array(found)


CONSTANTS = _constants()


@njit(cache=True, nogil=True)
def weight(age, half_life, constants):
    """2^(-age / half_life); both int64 microseconds, age not negative, half_life below 2^62."""
    value = np.ldexp(1.0, -min(age // half_life, 1100))
    rest = age % half_life
    for constant in constants:
        rest *= 2
        if rest >= half_life:
            rest -= half_life
            value *= constant
        if rest == 0:
            break
    return value


@njit(cache=True, nogil=True)
def decayed(rows, ages, weights, half_life, unit, size):
    """Sums of `weights / unit`, each weighed by its age, in the order given: float64[size].

    rows, ages, weights: int64[n]; a row's entries must come oldest first.
    """
    totals = np.zeros(size)
    for k in range(len(rows)):
        totals[rows[k]] += weights[k] / unit * weight(ages[k], half_life, CONSTANTS)
    return totals
