from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import ANY, Aggregate, Groups, Output, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.numbers import decode


@dataclass(frozen=True)
class LastK(Aggregate):
    """The values at the `k` latest events that have one, latest first; ties on time go by the event id's code.

    Nulls are skipped; of nothing it is `[]`.

    >>> found = Groups(np.array([0, 3]), np.array([7, 5, 7]), np.array([1, 1, 1]))
    >>> LastK("quantity", k=2).finalize([found], Type("integer"), np.array([0])).codes.tolist()
    [7, 5, 7]
    """

    k: int = 5
    kinds = ANY
    needs = "events"

    def check_options(self) -> None:
        if self.k < 1:
            raise DeclarationError(f"LastK: k={self.k} keeps nothing; give at least 1.")

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("newest", self.of, self.where),)

    def output(self, of: Type) -> Output:
        kind = Type("double") if of.kind == "decimal" else of
        return Output(kind, many=True, empty=(), order="given", limit=self.k)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, decode(found.codes, of), found.weights)
