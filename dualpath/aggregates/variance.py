import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import REALS, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type
from dualpath.numbers import quotient, totals, whole


@dataclass(frozen=True)
class Variance(Aggregate):
    """The sample variance, exact until one rounding: `VAR_SAMP(x)`; null for fewer than two values.

    With n values of sum s and sum of squares q it is (n q - s^2) / (n (n - 1)), in whole numbers of any size.

    >>> from dualpath.aggregates.base import Groups
    >>> found = Groups(np.array([0, 3]), np.array([1, 2, 4]), np.array([1, 1, 1]))
    >>> Variance("n").finalize([found], Type("integer"), np.array([0])).data.item()
    2.3333333333333335
    """

    kinds = REALS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("groups", where=self.where, by=self.of),)

    def output(self, of: Type) -> Output:
        return Output(Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        found = parts[0]
        # Whole numbers of any size: squares of scaled money leave 64 bits.
        value, unit = whole(found.codes, of)
        weight = found.weights.astype(object)
        counts, *sums = (totals(c, found.offsets) for c in (weight, weight * value, weight * value**2))
        rows = zip(counts, *sums, strict=True)
        data = [self.root(quotient(n * q - s * s, n * (n - 1) * unit**2)) if n > 1 else 0.0 for n, s, q in rows]
        return Scalars(np.array(data, dtype=np.float64), np.array([n > 1 for n in counts], dtype=bool))

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
