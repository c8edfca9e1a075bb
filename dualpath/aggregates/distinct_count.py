from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import ANY, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type


@dataclass(frozen=True)
class DistinctCount(Aggregate):
    """How many different values: `COUNT(DISTINCT x)`, exact. Nulls are skipped; of nothing it is 0.

    >>> from dualpath.aggregates.base import Groups
    >>> found = Groups(np.array([0, 2, 2]), np.array([3, 5]), np.array([1, 4]))
    >>> DistinctCount("product").finalize([found], Type("text"), np.array([0, 0])).data.tolist()
    [2, 0]
    """

    kinds = ANY

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("groups", where=self.where, by=self.of),)

    def output(self, of: Type) -> Output:
        return Output(Type("integer"), empty=0)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        return Scalars(np.diff(parts[0].offsets))
