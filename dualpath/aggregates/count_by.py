from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Groups, Output
from dualpath.aggregates.meaning import Found, each_text
from dualpath.cells import Grouped, Reduction
from dualpath.expression import Type


@dataclass(frozen=True)
class CountBy(Aggregate):
    """How many events of each text, as a map: `GROUP BY x`. Nulls are skipped; of nothing it is empty.

    >>> from dualpath.preview import value
    >>> value(CountBy("category"), [{"category": "shoes"}, {"category": "hats"}, {"category": "shoes"}])
    {'hats': 1, 'shoes': 2}
    """

    kinds = ("text",)

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Grouped(self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(of, empty={}, items=Type("integer"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        return Groups(parts[0].offsets, parts[0].codes, parts[0].weights)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> dict[str, int]:
        return each_text(found, str(self.of), len)
