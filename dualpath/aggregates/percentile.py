import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.meaning import Found, seen
from dualpath.cells import Grouped, Reduction
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.kinds import REALS
from dualpath.words import decode


@dataclass(frozen=True)
class Percentile(Aggregate):
    """The least value with at least the fraction `p` of all values at or below it: `PERCENTILE_DISC(p)`.

    `p` is taken as the decimal it is written as, so that no rounding decides between neighbours. Nulls are
    skipped; of nothing it is null.

    >>> from dualpath.preview import value
    >>> [value(Percentile("n", p=p), [{"n": n} for n in (1, 9, 1, 2)]) for p in (0.5, 0.75, 1)]
    [1, 2, 9]
    """

    p: float = 0.5
    kinds = (*REALS, "timestamp")

    def check_options(self) -> None:
        if not 0 < self.p <= 1:
            raise DeclarationError(f"Percentile: p={self.p} is not a fraction; give one above 0 and at most 1.")

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Grouped(self.of, self.where),)

    def output(self, of: Type) -> Output:
        return Output(Type("double") if of.kind == "decimal" else of)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        offsets, codes, weights = parts[0].offsets, parts[0].codes, parts[0].weights
        running = np.r_[0, np.cumsum(weights)]
        before = running[offsets[:-1]]
        size = running[offsets[1:]] - before
        fraction = Fraction(str(self.p))
        rank = -(-size * fraction.numerator // fraction.denominator)
        at = np.searchsorted(running[1:], before + np.maximum(rank, 1))
        found = codes[np.minimum(at, len(codes) - 1)] if len(codes) else np.zeros(len(size), dtype=np.int64)
        return Scalars(decode(np.where(size > 0, found, 0), of), size > 0)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> Any:
        values = sorted(value for _, _, value, _ in found)
        rank = math.ceil(Fraction(str(self.p)) * len(values))  # counted from 1
        return seen(values[rank - 1]) if values else None
