from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Groups, Output
from dualpath.aggregates.meaning import Found, each_text, rounded, total
from dualpath.cells import Grouped, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.kinds import NUMBERS
from dualpath.words import decode


@dataclass(frozen=True)
class SumBy(Aggregate):
    """The exact sum of a column for each text of `by`, as a map; events that lack either are skipped.

    >>> from dualpath.preview import value
    >>> sold = [("shoes", 2), ("hats", 1), ("shoes", 3), (None, 5)]
    >>> value(SumBy("quantity", by="category"), [{"category": c, "quantity": q} for c, q in sold])
    {'hats': 1, 'shoes': 5}
    """

    by: str = ""
    kinds = NUMBERS

    def check(self, type_of: Callable[[str], Type]) -> Type:
        if not self.by or type_of(self.by).kind != "text":
            raise DeclarationError(f"SumBy needs a text to sum by, not '{self.by}'; name one in by.")
        return super().check(type_of)

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Grouped(self.by, self.where, of=self.of),)

    def output(self, of: Type) -> Output:
        return Output(Type("text"), empty={}, items=of if of.kind == "integer" else Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, found.codes, decode(found.weights, of))

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> dict[str, int | float]:
        return each_text(found, self.by, lambda mine: rounded(total(mine), of))
