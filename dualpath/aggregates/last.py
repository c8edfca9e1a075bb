from dataclasses import dataclass
from typing import Any

from dualpath.aggregates.base import ANY, Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type
from dualpath.numbers import decode


@dataclass(frozen=True)
class Last(Aggregate):
    """The value of a column at the latest event that has one; ties on time go by the event id's code.

    Nulls are skipped; of nothing it is null. The code is the 64-bit xxHash of the event id, so the choice
    among events of the same microsecond is arbitrary but the same everywhere.

    >>> import numpy as np
    >>> Last("quantity").finalize([Scalars(np.array([7]), np.array([True]))], Type("integer")).data.tolist()
    [7]
    """

    kinds = ANY

    def reductions(self) -> tuple[Reduction, ...]:
        return (Reduction("last", self.of, self.where),)

    def output(self, of: Type | None) -> Output:
        return Output(Type("double") if of.kind == "decimal" else of)

    def finalize(self, parts: list[Any], of: Type | None) -> Scalars:
        return Scalars(decode(parts[0].data, of), parts[0].valid)
