from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import ANY, Aggregate, Groups, Output, Reduction
from dualpath.expression import Type
from dualpath.numbers import decode


@dataclass(frozen=True)
class Distinct(Aggregate):
    """The different values of a column, ascending: `ARRAY_AGG(DISTINCT x ORDER BY x)`. Of nothing: `[]`.

    Texts are ordered by their UTF-8 bytes. Nulls are skipped.

    >>> found = Groups(np.array([0, 2]), np.array([3, 5]), np.array([1, 4]))
    >>> Distinct("quantity").finalize([found], Type("integer"), np.array([0])).codes.tolist()
    [3, 5]
    """

    kinds = ANY

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("groups", where=self.where, by=self.of),)

    def output(self, of: Type) -> Output:
        return Output(Type("double") if of.kind == "decimal" else of, many=True, empty=())

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, decode(found.codes, of), found.weights)
