from dataclasses import dataclass
from typing import Any

from dualpath import cells
from dualpath.aggregates.base import OneValue
from dualpath.aggregates.meaning import Found, seen
from dualpath.expression import Type
from dualpath.kinds import ORDERED


@dataclass(frozen=True)
class Max(OneValue):
    """The greatest value of a column: `MAX(x)`. Nulls are skipped; of nothing it is null.

    >>> from dualpath.preview import value
    >>> value(Max("score"), [{"score": 1.5}, {"score": -2.0}, {"score": None}])
    1.5
    """

    kinds = ORDERED
    cell = cells.Max

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> Any:
        return seen(max((value for _, _, value, _ in found), default=None))
