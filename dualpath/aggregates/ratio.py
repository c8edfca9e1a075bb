from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Output, Reduction, Scalars
from dualpath.aggregates.count import Count
from dualpath.aggregates.sum import Sum
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.numbers import divide

ALL = Count()


@dataclass(frozen=True)
class Ratio(Aggregate):
    """One `Count` or `Sum` over another, exact until one rounding; null where the second is 0.

    >>> rate = Ratio(top=Count(where="action = 'click'"), bottom=Count())
    >>> parts = [Scalars(np.array([1, 0])), Scalars(np.array([3, 0]))]
    >>> found = rate.finalize(parts, Type("decimal", 0), np.array([0, 0]))
    >>> found.data[0].item(), found.valid.tolist()
    (0.3333333333333333, [True, False])
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
