from dataclasses import dataclass

from dualpath.aggregates.base import ANY, Chosen


@dataclass(frozen=True)
class Last(Chosen):
    """The value of a column at the latest event that has one; ties on time go by the event id's code.

    Nulls are skipped; of nothing it is null. The code is the 64-bit xxHash of the event id, so the choice
    among events of the same microsecond is arbitrary but the same everywhere.

    >>> import numpy as np
    >>> from dualpath.aggregates.base import Scalars
    >>> from dualpath.expression import Type
    >>> found = Scalars(np.array([7]), np.array([True]))
    >>> Last("quantity").finalize([found], Type("integer"), np.array([0])).data.tolist()
    [7]
    """

    kinds = ANY
    op = "last"
