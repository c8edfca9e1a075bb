from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Groups, Output, Reduction
from dualpath.expression import Type


@dataclass(frozen=True)
class CountBy(Aggregate):
    """How many events of each text, as a map: `GROUP BY x`. Nulls are skipped; of nothing it is empty.

    >>> found = Groups(np.array([0, 2]), np.array([3, 5]), np.array([1, 4]))
    >>> CountBy("category").finalize([found], Type("text"), np.array([0])).weights.tolist()
    [1, 4]
    """

    kinds = ("text",)

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("groups", where=self.where, by=self.of),)

    def output(self, of: Type) -> Output:
        return Output(of, empty={}, items=Type("integer"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        return Groups(parts[0].offsets, parts[0].codes, parts[0].weights)
