from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import ANY, Aggregate, Groups, Output, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.numbers import decode


@dataclass(frozen=True)
class TopK(Aggregate):
    """The `k` most frequent values, most frequent first, ties ascending: `GROUP BY x ORDER BY COUNT(*) DESC, x`.

    Nulls are skipped; of nothing it is `[]`.

    >>> found = Groups(np.array([0, 2]), np.array([3, 5]), np.array([1, 4]))
    >>> TopK("quantity", k=1).output(Type("integer")).limit
    1
    """

    k: int = 3
    kinds = ANY

    def check_options(self) -> None:
        if self.k < 1:
            raise DeclarationError(f"TopK: k={self.k} keeps nothing; give at least 1.")

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("groups", where=self.where, by=self.of),)

    def output(self, of: Type) -> Output:
        kind = Type("double") if of.kind == "decimal" else of
        return Output(kind, many=True, empty=(), order="weight", limit=self.k)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, decode(found.codes, of), found.weights)
