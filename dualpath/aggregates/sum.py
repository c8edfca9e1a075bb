from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import REALS, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type
from dualpath.numbers import decode, quotient, totals, whole


@dataclass(frozen=True)
class Sum(Aggregate):
    """The exact sum of a column, rounded once: `COALESCE(SUM(x) FILTER (WHERE ...), 0)`. Nulls are skipped.

    A decimal is summed as a scaled integer. Doubles are kept apart by value and summed as whole numbers of the
    least double, so the order of events cannot matter; a sum beyond the largest double is infinite.

    >>> Sum("amount").finalize([Scalars(np.array([1999, 0]))], Type("decimal", 2), np.array([0])).data.tolist()
    [19.99, 0.0]
    >>> from dualpath.aggregates.base import Groups
    >>> from dualpath.numbers import order
    >>> found = Groups(np.array([0, 3]), order(np.array([1e100, 1.0, -1e100])), np.array([1, 2, 1]))
    >>> Sum("score").finalize([found], Type("double"), np.array([0])).data.tolist()
    [2.0]
    """

    kinds = REALS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        if of.kind == "double":
            return (Reduction("groups", where=self.where, by=self.of),)
        return (Reduction("sum", self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(of, empty=0) if of == Type("integer") else Output(Type("double"), empty=0.0)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        if of.kind != "double":
            return Scalars(decode(parts[0].data, of))
        value, unit = whole(parts[0].codes, of)
        sums = totals(value * parts[0].weights.astype(object), parts[0].offsets)
        return Scalars(np.array([quotient(s, unit) for s in sums], dtype=np.float64))
