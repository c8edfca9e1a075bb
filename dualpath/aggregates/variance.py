import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.meaning import Found, real, total
from dualpath.cells import Grouped, Reduction
from dualpath.expression import Type
from dualpath.kinds import REALS
from dualpath.numbers import quotient, totals
from dualpath.words import whole


@dataclass(frozen=True)
class Variance(Aggregate):
    """The sample variance, exact until one rounding: `VAR_SAMP(x)`; null for fewer than two values.

    With n values of sum s and sum of squares q it is (n q - s^2) / (n (n - 1)), in whole numbers of any size.

    >>> from dualpath.preview import value
    >>> value(Variance("n"), [{"n": 1}, {"n": 2}, {"n": 4}])
    2.3333333333333335
    """

    kinds = REALS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Grouped(self.of, self.where),)

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

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> float | None:
        n, s, q = len(found), total(found), sum(Fraction(value) ** 2 for _, _, value, _ in found)
        return real((n * q - s * s) / (n * (n - 1))) if n > 1 else None


@dataclass(frozen=True)
class StdDev(Variance):
    """The square root of `Variance`: `STDDEV_SAMP(x)`.

    >>> from dualpath.preview import value
    >>> value(StdDev("n"), [{"n": 1}, {"n": 3}])
    1.4142135623730951
    """

    def root(self, variance: float) -> float:
        return math.sqrt(variance)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> float | None:
        variance = super().meaning(found, of, as_of, resolution)
        return None if variance is None else math.sqrt(variance)
