from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Output, Reduction, Scalars
from dualpath.expression import Type


@dataclass(frozen=True)
class TimeSince(Aggregate):
    """Microseconds from the last event to `as_of`; null if there is none.

    >>> last = Scalars(np.array([40]), np.array([True]))
    >>> TimeSince(where="action = 'purchase'").finalize([last], Type("null"), np.array([100])).data.tolist()
    [60]
    """

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("max", "event_time", self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("integer"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        last = parts[0]
        return Scalars(np.where(last.valid, as_of - last.data, 0), last.valid)
