from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath import cells
from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.meaning import Found, rounded, total
from dualpath.cells import Grouped, Reduction
from dualpath.expression import Type
from dualpath.kinds import REALS
from dualpath.numbers import quotient, totals
from dualpath.words import decode, whole


@dataclass(frozen=True)
class Sum(Aggregate):
    """The exact sum of a column, rounded once: `COALESCE(SUM(x) FILTER (WHERE ...), 0)`. Nulls are skipped.

    A decimal is summed as a scaled integer. Doubles are kept apart by value and summed as whole numbers of the
    least double, so the order of events does not matter. A sum beyond the largest double is infinite.

    >>> from dualpath.preview import value
    >>> from decimal import Decimal
    >>> value(Sum("amount"), [{"amount": Decimal("19.90")}, {"amount": None}, {"amount": Decimal("0.09")}])
    19.99
    >>> value(Sum("score"), [{"score": 1e100}, {"score": 1.0}, {"score": -1e100}])
    1.0
    """

    kinds = REALS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        if of.kind == "double":
            return (Grouped(self.of, self.where),)
        return (cells.Sum(self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(of, empty=0) if of == Type("integer") else Output(Type("double"), empty=0.0)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        if of.kind != "double":
            return Scalars(decode(parts[0].data, of))
        value, unit = whole(parts[0].codes, of)
        sums = totals(value * parts[0].weights.astype(object), parts[0].offsets)
        return Scalars(np.array([quotient(s, unit) for s in sums], dtype=np.float64))

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> int | float:
        return rounded(total(found), of)
