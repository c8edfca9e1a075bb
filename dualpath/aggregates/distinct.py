from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Groups, Output
from dualpath.aggregates.meaning import Found, seen
from dualpath.cells import Grouped, Reduction
from dualpath.expression import Type
from dualpath.kinds import ANY
from dualpath.words import decode


@dataclass(frozen=True)
class Distinct(Aggregate):
    """The different values of a column, ascending: `ARRAY_AGG(DISTINCT x ORDER BY x)`. Of nothing: `[]`.

    Texts are ordered by their UTF-8 bytes. Nulls are skipped.

    >>> from dualpath.preview import value
    >>> value(Distinct("quantity"), [{"quantity": 5}, {"quantity": 3}, {"quantity": 5}])
    [3, 5]
    """

    kinds = ANY

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Grouped(self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("double") if of.kind == "decimal" else of, many=True, empty=())

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, decode(found.codes, of), found.weights)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> list[Any]:
        return [seen(value) for value in sorted({value for _, _, value, _ in found})]
