from dataclasses import dataclass
from typing import Any

from dualpath import cells
from dualpath.aggregates.base import OneValue
from dualpath.aggregates.meaning import Found, seen
from dualpath.expression import Type
from dualpath.kinds import ANY


@dataclass(frozen=True)
class First(OneValue):
    """The value of a column at the earliest event that has one; ties on time go by the event id's code.

    Nulls are skipped; of nothing it is null. The code is the 64-bit xxHash of the event id, so the choice
    among events of the same microsecond is arbitrary but the same everywhere.

    >>> from dualpath.preview import value
    >>> value(First("quantity"), [{"quantity": None}, {"quantity": 7}, {"quantity": 5}])
    7
    """

    kinds = ANY
    cell = cells.First

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> Any:
        return seen(min(found)[2]) if found else None
