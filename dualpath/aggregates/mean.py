from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import REALS, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type
from dualpath.numbers import divide, quotient, totals, whole


@dataclass(frozen=True)
class Mean(Aggregate):
    """The exact sum over the exact count, rounded once: `AVG(x)`. Nulls are skipped; of nothing it is null.

    >>> total, count = Scalars(np.array([500, 0])), Scalars(np.array([3, 0]))
    >>> mean = Mean("amount").finalize([total, count], Type("decimal", 2), np.array([0]))
    >>> mean.data[0].item(), mean.valid.tolist()
    (1.6666666666666667, [True, False])
    """

    kinds = REALS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        if of.kind == "double":
            return (Reduction("groups", where=self.where, by=self.of),)
        return (Reduction("sum", self.of, self.where), Reduction("count", self.of, self.where))

    def output(self, of: Type) -> Output:
        return Output(Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        if of.kind != "double":
            total, count = parts[0].data, parts[1].data
            return Scalars(divide(total, np.maximum(count, 1), of.scale), count > 0)
        value, unit = whole(parts[0].codes, of)
        weight = parts[0].weights.astype(object)
        rows = zip(totals(value * weight, parts[0].offsets), totals(weight, parts[0].offsets), strict=True)
        data = np.array([quotient(s, n * unit) if n else 0.0 for s, n in rows], dtype=np.float64)
        return Scalars(data, np.diff(parts[0].offsets) > 0)
