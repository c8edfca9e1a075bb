import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import NUMBERS, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type


@dataclass(frozen=True)
class Variance(Aggregate):
    """The sample variance, exact until one rounding: `VAR_SAMP(x)`; null for fewer than two values.

    With n values of sum s and sum of squares q it is (n q - s^2) / (n (n - 1)), in whole numbers of any size.

    >>> from dualpath.aggregates.base import Groups
    >>> found = Groups(np.array([0, 3]), np.array([1, 2, 4]), np.array([1, 1, 1]))
    >>> Variance("n").finalize([found], Type("integer"), np.array([0])).data.item()
    2.3333333333333335
    """

    kinds = NUMBERS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("groups", where=self.where, by=self.of),)

    def output(self, of: Type) -> Output:
        return Output(Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        found = parts[0]
        # Whole numbers of any size: squares of scaled money leave 64 bits.
        value, weight = found.codes.astype(object), found.weights.astype(object)
        rows = zip(
            *(_totals(column, found.offsets) for column in (weight, weight * value, weight * value**2)), strict=True
        )
        scale = 100**of.scale
        data = [self.root((n * q - s * s) / (n * (n - 1) * scale)) if n > 1 else 0.0 for n, s, q in rows]
        valid = np.array([n > 1 for n in _totals(weight, found.offsets)], dtype=bool)
        return Scalars(np.array(data, dtype=np.float64), valid)

    def root(self, variance: float) -> float:
        """What is made of the variance."""
        return variance


@dataclass(frozen=True)
class StdDev(Variance):
    """The square root of `Variance`: `STDDEV_SAMP(x)`.

    >>> from dualpath.aggregates.base import Groups
    >>> found = Groups(np.array([0, 2]), np.array([1, 3]), np.array([1, 1]))
    >>> StdDev("n").finalize([found], Type("integer"), np.array([0])).data.item()
    1.4142135623730951
    """

    def root(self, variance: float) -> float:
        return math.sqrt(variance)


def _totals(column: np.ndarray, offsets: np.ndarray) -> list[int]:
    """Sums of Python integers, a row each."""
    running = np.r_[np.array([0], dtype=object), np.cumsum(column, dtype=object)]
    return (running[offsets[1:]] - running[offsets[:-1]]).tolist()
