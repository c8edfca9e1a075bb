from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import NUMBERS, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type
from dualpath.numbers import decode


@dataclass(frozen=True)
class Sum(Aggregate):
    """The exact sum of a column: `COALESCE(SUM(x) FILTER (WHERE ...), 0)`. Nulls are skipped.

    A decimal is summed as a scaled integer and divided once, so the order of events cannot matter.

    >>> Sum("amount").finalize([Scalars(np.array([1999, 0]))], Type("decimal", 2), np.array([0])).data.tolist()
    [19.99, 0.0]
    """

    kinds = NUMBERS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("sum", self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(of, empty=0) if of == Type("integer") else Output(Type("double"), empty=0.0)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        return Scalars(decode(parts[0].data, of))
