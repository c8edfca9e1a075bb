from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.meaning import Found
from dualpath.cells import Grouped, Reduction
from dualpath.expression import Type
from dualpath.kinds import ANY


@dataclass(frozen=True)
class DistinctCount(Aggregate):
    """How many different values: `COUNT(DISTINCT x)`, exact. Nulls are skipped; of nothing it is 0.

    >>> from dualpath.preview import value
    >>> value(DistinctCount("product"), [{"product": "hat"}, {"product": "shoe"}, {"product": "hat"}])
    2
    """

    kinds = ANY

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Grouped(self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("integer"), empty=0)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        return Scalars(np.diff(parts[0].offsets))

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> int:
        return len({value for _, _, value, _ in found})
