import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.aggregates.base import Aggregate, Output, Scalars
from dualpath.aggregates.meaning import Found
from dualpath.cells import Reduction, Sketch
from dualpath.errors import DeclarationError
from dualpath.expression import Type
from dualpath.words import code, hashed


@dataclass(frozen=True)
class ApproxDistinctCount(Aggregate):
    """About how many different values, from the k least of their 64-bit hashes, which is all that state keeps.

    `error` is the relative standard error, about 1 / sqrt(k - 2); fewer than k different values are counted
    exactly. If the k-th least hash, as a fraction of all there can be, is u, the estimate is (k - 1) / u (k
    minimum values: Bar-Yossef et al. 2002; unbiased, Beyer et al. 2007). The least k of a set do not depend on
    the order of events, so neither does the estimate. Nulls are skipped; of nothing it is 0.

    >>> ApproxDistinctCount("product", error=0.05).k
    402
    >>> from dualpath.preview import value
    >>> value(ApproxDistinctCount("product"), [{"product": "hat"}, {"product": "shoe"}, {"product": "hat"}])
    2
    """

    error: float = 0.05
    kinds = ("text", "identifier", "integer", "decimal", "timestamp")

    def check_options(self) -> None:
        if not 0.005 <= self.error < 1:
            raise DeclarationError(
                f"ApproxDistinctCount: an error of {self.error} is out of reach; give one from 0.005 up to 1, "
                "or use DistinctCount, which is exact."
            )

    @property
    def k(self) -> int:
        """How many hashes are kept."""
        return math.ceil(1 / self.error**2) + 2

    def reductions(self, of: Type) -> tuple[Reduction, ...]:
        return (Sketch(self.of, self.where, self.k),)

    def output(self, of: Type) -> Output:
        return Output(Type("integer"), empty=0)

    def finalize(self, parts: list[Any], of: Type, as_of: np.ndarray) -> Scalars:
        offsets, hashes = parts[0].offsets, parts[0].codes
        count = np.diff(offsets)
        full = count >= self.k
        # Hashes are sorted as signed; this is how many of all 2^64 there are up to the k-th.
        kth = hashes[offsets[:-1][full] + self.k - 1].astype(np.float64) + 2.0**63
        count[full] = np.rint((self.k - 1) * 2.0**64 / np.maximum(kth, 2.0**32)).astype(np.int64)
        return Scalars(count)

    def meaning(self, found: list[Found], of: Type, as_of: int, resolution: int) -> int:
        words = {value if isinstance(value, str) else int(value * 10**of.scale) for _, _, value, _ in found}
        hashes = sorted(code(word) if isinstance(word, str) else hashed(word) for word in words)
        if len(hashes) < self.k:
            return len(hashes)
        return round((self.k - 1) * 2.0**64 / (hashes[self.k - 1] + 2.0**63))
