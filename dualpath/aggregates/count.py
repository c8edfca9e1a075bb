from dataclasses import dataclass

from dualpath import cells
from dualpath.aggregates.base import Aggregate, Output
from dualpath.aggregates.meaning import Found
from dualpath.cells import Reduction
from dualpath.expression import Type


@dataclass(frozen=True)
class Count(Aggregate):
    """How many events: `COUNT(*) FILTER (WHERE ...)`. An empty window counts 0.

    >>> from dualpath.preview import value
    >>> value(Count(where="action = 'click'"), [{"action": "click"}, {"action": "view"}, {"action": "click"}])
    2
    """

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (cells.Count(where=self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("integer"), empty=0)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> int:
        return len(found)
