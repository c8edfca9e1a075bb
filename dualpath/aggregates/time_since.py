from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath import cells
from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.meaning import Found
from dualpath.cells import Reduction
from dualpath.expression import Type


@dataclass(frozen=True)
class TimeSince(Aggregate):
    """Microseconds from the last event to `as_of`; null if there is none.

    >>> from dualpath.preview import value
    >>> events = [{"event_time": "2026-03-04T11:59:58", "action": "purchase"}]
    >>> value(TimeSince(where="action = 'purchase'"), events, as_of="2026-03-04T12:00:00")
    2000000
    """

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (cells.Max("event_time", self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("integer"))

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        last = parts[0]
        return Scalars(np.where(last.valid, as_of - last.data, 0), last.valid)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> int | None:
        return as_of - max(found)[0] if found else None
