from dataclasses import dataclass

from dualpath.aggregates.base import ORDERED, Chosen


@dataclass(frozen=True)
class Min(Chosen):
    """The least value of a column: `MIN(x)`. Nulls are skipped; of nothing it is null.

    >>> import numpy as np
    >>> from dualpath.aggregates.base import Scalars
    >>> from dualpath.expression import Type
    >>> found = Scalars(np.array([1999]), np.array([True]))
    >>> Min("amount").finalize([found], Type("decimal", 2), np.array([0])).data.tolist()
    [19.99]
    """

    kinds = ORDERED
    op = "min"
