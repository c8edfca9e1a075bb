from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Groups, Output, Scalars
from dualpath.aggregates.meaning import Found, each_text
from dualpath.cells import Reduction, Timed
from dualpath.decay import CONSTANTS, decayed, weight
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.kinds import NUMBERS
from dualpath.windows import SECOND


@dataclass(frozen=True)
class DecayedCount(Aggregate):
    """Events weighed by age: each counts 2^(-age / half-life), `half_life` in seconds; of nothing it is 0.

    With `by`, a map from each text there to its own score: interest in a category, say; of nothing it is empty.
    Events of one instant are counted first, exactly; the instants are then added from the oldest on. So the
    order in which events arrive does not matter.

    >>> from dualpath.preview import value
    >>> minute = [{"event_time": f"2026-03-04T12:{m}"} for m in ("00", "01", "01")]
    >>> value(DecayedCount(half_life=60), minute, as_of="2026-03-04T12:01")
    2.5
    """

    half_life: float = 60.0
    by: str | None = None
    needs = "times"

    def check_options(self) -> None:
        if not self.half_life * SECOND >= 1:
            raise DeclarationError(f"{type(self).__name__}: half_life={self.half_life} s; give a positive one.")

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Timed(self.by, self.where),)

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

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> Any:
        def score(mine: list[Found]) -> float:
            instants: dict[int, Fraction] = {}
            for time, _, value, _ in mine:
                at = time // resolution * resolution
                instants[at] = instants.get(at, Fraction(0)) + (1 if value is True else Fraction(value) * 10**of.scale)
            answer = 0.0
            for at in sorted(instants):
                age, half_life = as_of - at, round(self.half_life * 1_000_000)
                answer += int(instants[at]) / 10.0**of.scale * weight(age, half_life, CONSTANTS)
            return answer

        return each_text(found, self.by, score) if self.by else score(found)


@dataclass(frozen=True)
class DecayedSum(DecayedCount):
    """A column's values weighed by age, as `DecayedCount` weighs events. Nulls are skipped.

    >>> from dualpath.preview import value
    >>> spent = [{"event_time": "2026-03-04T12:00", "coins": 10}, {"event_time": "2026-03-04T12:01", "coins": 3}]
    >>> value(DecayedSum("coins", half_life=60), spent, as_of="2026-03-04T12:01")
    8.0
    """

    kinds = NUMBERS

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Timed(self.by, self.where, of=self.of),)
