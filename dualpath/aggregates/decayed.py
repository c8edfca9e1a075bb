from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import NUMBERS, Aggregate, Groups, Output, Reduction, Scalars
from dualpath.decay import decayed
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.windows import SECOND


@dataclass(frozen=True)
class DecayedCount(Aggregate):
    """Events weighed by age: each counts 2^(-age / half-life), `half_life` in seconds; of nothing it is 0.

    With `by`, a map from each text there to its own score: interest in a category, say; of nothing it is empty.
    Events of one instant are counted first, exactly; the instants are then added from the oldest on, so the
    order in which events arrive cannot matter.

    >>> from dualpath.aggregates.base import Groups
    >>> found = Groups(np.array([0, 2]), np.array([0, 0]), np.array([1, 3]), np.array([0, 60_000_000]))
    >>> DecayedCount(half_life=60).finalize([found], Type("null"), np.array([60_000_000])).data.tolist()
    [3.5]
    """

    half_life: float = 60.0
    by: str | None = None
    needs = "times"

    def check_options(self) -> None:
        if not self.half_life * SECOND >= 1:
            raise DeclarationError(f"{type(self).__name__}: half_life={self.half_life} s; give a positive one.")

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("timed", where=self.where, by=self.by),)

    def check(self, type_of: Callable[[str], Type]) -> Type:
        if self.by is not None and type_of(self.by).kind != "text":
            raise DeclarationError(f"{type(self).__name__}: '{self.by}' is not a text to score by; name one in by.")
        return super().check(type_of)

    def output(self, of: Type) -> Output:
        if self.by is None:
            return Output(Type("double"), empty=0.0)
        return Output(Type("text"), empty={}, items=Type("double"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Any:
        found = parts[0]
        rows = np.repeat(np.arange(len(as_of)), np.diff(found.offsets))
        unit, half_life = 10.0**of.scale, round(self.half_life * SECOND)
        ages = as_of[rows] - found.times
        if self.by is None:
            return Scalars(decayed(rows, ages, found.weights, half_life, unit, len(as_of)))
        head = np.r_[True, (rows[1:] != rows[:-1]) | (found.codes[1:] != found.codes[:-1])][: len(rows)]
        scores = decayed(np.cumsum(head) - 1, ages, found.weights, half_life, unit, int(head.sum()))
        return Groups(np.searchsorted(rows[head], np.arange(len(as_of) + 1)), found.codes[head], scores)


@dataclass(frozen=True)
class DecayedSum(DecayedCount):
    """A column's values weighed by age, as `DecayedCount` weighs events. Nulls are skipped.

    >>> from dualpath.aggregates.base import Groups
    >>> found = Groups(np.array([0, 2]), np.array([0, 0]), np.array([1000, 250]), np.array([0, 60_000_000]))
    >>> DecayedSum("amount", half_life=60).finalize([found], Type("decimal", 2), np.array([60_000_000])).data.tolist()
    [7.5]
    """

    kinds = NUMBERS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("timed", self.of, self.where, by=self.by, weight="sum"),)
