from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import NUMBERS, Aggregate, Groups, Output, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.numbers import decode


@dataclass(frozen=True)
class SumBy(Aggregate):
    """The exact sum of a column for each text of `by`, as a map; events that lack either are skipped.

    >>> found = Groups(np.array([0, 1]), np.array([3]), np.array([1250]))
    >>> SumBy("amount", by="category").finalize([found], Type("decimal", 2), np.array([0])).weights.tolist()
    [12.5]
    """

    by: str = ""
    kinds = NUMBERS

    def check(self, type_of: Callable[[str], Type]) -> Type:
        if not self.by or type_of(self.by).kind != "text":
            raise DeclarationError(f"SumBy needs a text to sum by, not '{self.by}'; name one in by.")
        return super().check(type_of)

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("groups", self.of, self.where, by=self.by, weight="sum"),)

    def output(self, of: Type) -> Output:
        return Output(Type("text"), empty={}, items=of if of.kind == "integer" else Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, found.codes, decode(found.weights, of))
