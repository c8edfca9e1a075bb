"""A test that may be looked at any time: an asymptotic confidence sequence for the difference of two variants' means.

Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences",
Annals of Statistics 2024, theorem 2.2; the scores are those of its section 3, augmented inverse probability weights.
"""

from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
TUNED_FOR = 1_000
"""Units at which the interval is the narrowest."""
FEWEST = 100
"""Units of each variant before it says anything: it holds in the limit of many."""


@dataclass(frozen=True)
class Interval:
    """The difference of means, and an interval that holds it at all times at once with probability 95 %."""

    difference: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether it excludes 0."""
        return not self.low <= 0 <= self.high


def scores(treated: np.ndarray, outcomes: np.ndarray, share: float) -> np.ndarray:
    """A score for each unit, in the order in which they came: independent given the past, with mean the difference.

    `treated` bool[..., n], `outcomes` float64[..., n] in [0, 1], `share` the probability of being treated. Each is
    centred by the means of the units before it, which makes them less wide and no more wrong.
    """

    def before(which: np.ndarray) -> np.ndarray:
        counts = np.cumsum(which, axis=-1) - which
        sums = np.cumsum(which * outcomes, axis=-1) - which * outcomes
        return np.asarray((sums + 0.5) / (counts + 1))

    one, other = before(treated), before(~treated)
    moved = treated * (outcomes - one) / share - ~treated * (outcomes - other) / (1 - share)
    return np.asarray(one - other + moved)


def radii(found: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """Half the interval's width after each score, float64[..., n]."""
    n = np.arange(1, found.shape[-1] + 1)
    means = np.cumsum(found, axis=-1) / n
    variance = np.maximum(np.cumsum(found**2, axis=-1) / n - means**2, 0)
    squared = (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / TUNED_FOR
    spread = n * squared + 1
    return np.asarray(np.sqrt(variance * 2 * spread / (n**2 * squared) * np.log(np.sqrt(spread) / alpha)))


def interval(treated: np.ndarray, outcomes: np.ndarray, share: float) -> Interval | None:
    """The interval after all units, bool[n] and float64[n]; None before there are enough.

    >>> treated = np.arange(2000) % 2 == 0
    >>> found = interval(treated, np.where(treated, np.arange(2000) % 4 == 0, False).astype(float), 0.5)
    >>> round(found.difference, 2), found.decided
    (0.5, True)
    """
    if min(treated.sum(), (~treated).sum()) < FEWEST:
        return None
    found = scores(treated, outcomes, share)
    difference, radius = float(found.mean()), float(radii(found)[-1])
    return Interval(difference, difference - radius, difference + radius)
