from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Groups, Output
from dualpath.aggregates.meaning import Found, seen
from dualpath.cells import Grouped, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.kinds import ANY
from dualpath.words import decode


@dataclass(frozen=True)
class TopK(Aggregate):
    """The `k` most frequent values, most frequent first, ties ascending: `GROUP BY x ORDER BY COUNT(*) DESC, x`.

    Nulls are skipped; of nothing it is `[]`.

    >>> from dualpath.preview import value
    >>> value(TopK("product", k=2), [{"product": product} for product in ("hat", "shoe", "cap", "shoe")])
    ['shoe', 'cap']
    """

    k: int = 3
    kinds = ANY

    def check_options(self) -> None:
        if self.k < 1:
            raise DeclarationError(f"TopK: k={self.k} keeps nothing; give at least 1.")

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Grouped(self.of, self.where),)

    def output(self, of: Type) -> Output:
        kind = Type("double") if of.kind == "decimal" else of
        return Output(kind, many=True, empty=(), order="weight", limit=self.k)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, decode(found.codes, of), found.weights)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> list[Any]:
        counts = Counter(value for _, _, value, _ in found)
        return [seen(value) for value in sorted(counts, key=lambda v: (-counts[v], v))[: self.k]]
