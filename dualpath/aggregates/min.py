from dataclasses import dataclass
from typing import Any

from dualpath import cells
from dualpath.aggregates.base import OneValue
from dualpath.aggregates.meaning import Found, seen
from dualpath.expression import Type
from dualpath.kinds import ORDERED


@dataclass(frozen=True)
class Min(OneValue):
    """The least value of a column: `MIN(x)`. Nulls are skipped; of nothing it is null.

    >>> from dualpath.preview import value
    >>> value(Min("score"), [{"score": 1.5}, {"score": -2.0}, {"score": None}])
    -2.0
    """

    kinds = ORDERED
    cell = cells.Min

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> Any:
        return seen(min((value for _, _, value, _ in found), default=None))
