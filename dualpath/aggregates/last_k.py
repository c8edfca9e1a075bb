from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Groups, Output
from dualpath.aggregates.meaning import Found, seen
from dualpath.cells import Newest, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.kinds import ANY
from dualpath.words import decode


@dataclass(frozen=True)
class LastK(Aggregate):
    """The values at the `k` latest events that have one, latest first; ties on time go by the event id's code.

    Nulls are skipped; of nothing it is `[]`.

    >>> from dualpath.preview import value
    >>> value(LastK("quantity", k=2), [{"quantity": 5}, {"quantity": 6}, {"quantity": 7}])
    [7, 6]
    """

    k: int = 5
    kinds = ANY
    needs = "events"

    def check_options(self) -> None:
        if self.k < 1:
            raise DeclarationError(f"LastK: k={self.k} keeps nothing; give at least 1.")

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Newest(self.of, self.where),)

    def output(self, of: Type) -> Output:
        kind = Type("double") if of.kind == "decimal" else of
        return Output(kind, many=True, empty=(), order="given", limit=self.k)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Groups:
        found = parts[0]
        return Groups(found.offsets, decode(found.codes, of), found.weights)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> list[Any]:
        return [seen(value) for _, _, value, _ in sorted(found, reverse=True)[: self.k]]
