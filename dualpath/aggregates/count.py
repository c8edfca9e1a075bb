from dataclasses import dataclass

from dualpath.aggregates.base import Aggregate, Output, Reduction
from dualpath.expression import Type


@dataclass(frozen=True)
class Count(Aggregate):
    """How many events: `COUNT(*) FILTER (WHERE ...)`. An empty window counts 0.

    >>> import numpy as np
    >>> from dualpath.aggregates.base import Scalars
    >>> Count(where="action = 'click'").finalize([Scalars(np.array([3, 0]))], Type("null"), np.array([0])).data.tolist()
    [3, 0]
    """

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Reduction("count", where=self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("integer"), empty=0)
