from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import NUMBERS, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type
from dualpath.numbers import divide


@dataclass(frozen=True)
class Mean(Aggregate):
    """The exact sum over the exact count, rounded once: `AVG(x)`. Nulls are skipped; of nothing it is null.

    >>> total, count = Scalars(np.array([500, 0])), Scalars(np.array([3, 0]))
    >>> mean = Mean("amount").finalize([total, count], Type("decimal", 2), np.array([0]))
    >>> mean.data[0].item(), mean.valid.tolist()
    (1.6666666666666667, [True, False])
    """

    kinds = NUMBERS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("sum", self.of, self.where), Reduction("count", self.of, self.where))

    def output(self, of: Type) -> Output:
        return Output(Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        total, count = parts[0].data, parts[1].data
        return Scalars(divide(total, np.maximum(count, 1), of.scale), count > 0)
