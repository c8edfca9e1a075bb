from dataclasses import dataclass
from typing import Any

from dualpath.aggregates.base import ORDERED, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type
from dualpath.numbers import decode


@dataclass(frozen=True)
class Min(Aggregate):
    """The least value of a column: `MIN(x)`. Nulls are skipped; of nothing it is null.

    >>> import numpy as np
    >>> found = Scalars(np.array([1999]), np.array([True]))
    >>> Min("amount").finalize([found], Type("decimal", 2)).data.tolist()
    [19.99]
    """

    kinds = ORDERED

    def reductions(self) -> tuple[Reduction, ...]:
        return (Reduction("min", self.of, self.where),)

    def output(self, of: Type | None) -> Output:
        return Output(Type("double") if of.kind == "decimal" else of)

    def finalize(self, parts: list[Any], of: Type | None) -> Scalars:
        return Scalars(decode(parts[0].data, of), parts[0].valid)
