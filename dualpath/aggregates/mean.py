from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath import cells
from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.meaning import Found, real, total
from dualpath.cells import Grouped, Reduction
from dualpath.expression import Type
from dualpath.kinds import REALS
from dualpath.numbers import divide, quotient, totals
from dualpath.words import whole


@dataclass(frozen=True)
class Mean(Aggregate):
    """The exact sum over the exact count, rounded once: `AVG(x)`. Nulls are skipped; of nothing it is null.

    >>> from dualpath.preview import value
    >>> from decimal import Decimal
    >>> amounts = [Decimal("1.50"), Decimal("0.50"), None, Decimal("3.00")]
    >>> value(Mean("amount"), [{"amount": amount} for amount in amounts])
    1.6666666666666667
    """

    kinds = REALS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        if of.kind == "double":
            return (Grouped(self.of, self.where),)
        return (cells.Sum(self.of, self.where), cells.Count(self.of, self.where))

    def output(self, of: Type) -> Output:
        return Output(Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        if of.kind != "double":
            total, count = parts[0].data, parts[1].data
            return Scalars(divide(total, np.maximum(count, 1), of.scale), count > 0)
        value, unit = whole(parts[0].codes, of)
        weight = parts[0].weights.astype(object)
        rows = zip(totals(value * weight, parts[0].offsets), totals(weight, parts[0].offsets), strict=True)
        data = np.array([quotient(s, n * unit) if n else 0.0 for s, n in rows], dtype=np.float64)
        return Scalars(data, np.diff(parts[0].offsets) > 0)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> float | None:
        return real(total(found) / len(found)) if found else None
