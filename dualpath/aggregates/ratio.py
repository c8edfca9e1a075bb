from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.count import Count
from dualpath.aggregates.meaning import Found, counting, total
from dualpath.aggregates.sum import Sum
from dualpath.cells import Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.numbers import divide

ALL = Count()


@dataclass(frozen=True)
class Ratio(Aggregate):
    """One `Count` or `Sum` over another, exact until one rounding; null where the second is 0.

    >>> from dualpath.preview import value
    >>> value(Ratio(top=Count(where="action = 'click'")), [{"action": "click"}, {"action": "view"}, {"action": "view"}])
    0.3333333333333333
    """

    top: Aggregate = ALL
    bottom: Aggregate = ALL

    def check(self, type_of: Callable[[str], Type]) -> Type:
        """The difference of the two scales, as a decimal's."""
        if self.of is not None or self.where is not None:
            raise DeclarationError("Ratio takes two aggregates; put columns and conditions into them.")
        scales = []
        for part in (self.top, self.bottom):
            if not isinstance(part, Count | Sum):
                raise DeclarationError(f"Ratio takes Count and Sum, not {type(part).__name__}.")
            found = part.check(type_of)
            if found.kind == "double":
                raise DeclarationError(f"Ratio does not work on double '{part.of}'; it takes integers and decimals.")
            scales.append(found.scale)
        return Type("decimal", scales[0] - scales[1])

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return self.top.reductions(of) + self.bottom.reductions(of)

    def output(self, of: Type) -> Output:
        return Output(Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        top, bottom = parts[0].data, parts[1].data
        by = np.where(bottom == 0, 1, np.abs(bottom))
        signed = np.where(bottom < 0, -top, top)
        if of.scale >= 0:
            return Scalars(divide(signed, by, of.scale), bottom != 0)
        exact = [int(t) * 10**-of.scale / int(b) for t, b in zip(signed, by, strict=True)]
        return Scalars(np.array(exact, dtype=np.float64), bottom != 0)

    def __str__(self) -> str:
        return f"ratio of {self.top} to {self.bottom}"

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> float | None:
        sides = []
        for part in (self.top, self.bottom):
            mine = counting([event for *_, event in found], part.of, part.where)
            sides.append(total(mine) if part.of else Fraction(len(mine)))
        return float(sides[0] / sides[1]) if sides[1] else None
