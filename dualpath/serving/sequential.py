"""Tests that may be looked at any time: of the difference of two variants' means, and of the sample ratio.

The difference has an asymptotic confidence sequence: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform
central limit theory and asymptotic confidence sequences", Annals of Statistics 2024, theorem 2.2; the scores are those
of its section 3, augmented inverse probability weights. The sample ratio has the test of Lindon and Malek,
"Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022, which holds at any number of units.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from dualpath.errors import InputError
from dualpath.serving.analysis import counts

ALPHA = 0.05
TUNED_FOR = 1_000
"""Units at which the interval is the narrowest."""
FEWEST = 100
"""Units of each variant before it says anything: it holds in the limit of many."""
FEWEST_OF_A_KIND = 20
"""The least sum of outcomes of each variant, and of what they lack to 1, before it says anything. Without, rare rewards
and a small share make it wrong in more than one of ten experiments: `python -m benchmarks experiments`."""
PRIOR = 100
"""Units whose weight the declared shares have against a mismatch, at first."""


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
        units = np.cumsum(which, axis=-1) - which
        sums = np.cumsum(which * outcomes, axis=-1) - which * outcomes
        return np.asarray((sums + 0.5) / (units + 1))

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


def enough(treated: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Whether the interval says anything after each unit, bool[..., n]: `FEWEST` and `FEWEST_OF_A_KIND` are reached."""
    told = np.ones(treated.shape, dtype=bool)
    for side in (treated, ~treated):
        units, sums = np.cumsum(side, axis=-1), np.cumsum(side * outcomes, axis=-1)
        told &= (units >= FEWEST) & (np.minimum(sums, units - sums) >= FEWEST_OF_A_KIND)
    return told


def interval(treated: np.ndarray, outcomes: np.ndarray, share: float) -> Interval | None:
    """The interval after all units, bool[n] and float64[n] in [0, 1]; None before there are `enough`.

    `share` is the probability of being treated. Raises `InputError` for an outcome outside of [0, 1].

    >>> treated = np.arange(2000) % 2 == 0
    >>> outcomes = np.where(treated, np.arange(2000) % 4 == 0, np.arange(2000) % 10 == 1).astype(float)
    >>> found = interval(treated, outcomes, 0.5)
    >>> round(found.difference, 1), found.decided
    (0.3, True)
    """
    if not ((outcomes >= 0) & (outcomes <= 1)).all():
        raise InputError("an outcome is not between 0 and 1; divide it by the most that it can be.")
    if not len(treated) or not enough(treated, outcomes)[-1]:
        return None
    found = scores(treated, outcomes, share)
    difference, radius = float(found.mean()), float(radii(found)[-1])
    return Interval(difference, difference - radius, difference + radius)


def sample_ratio(units: Mapping[str, int], weights: Mapping[str, int]) -> float:
    """The p-value, for any number of looks, that variants have as many units as their weights say.

    It is the likelihood of the units with the declared shares, over their mean likelihood with shares from a Dirichlet
    distribution around these; at most 1. Raises `InputError` for units of a variant that has no weight.

    >>> sample_ratio({"a": 500, "b": 500}, {"a": 1, "b": 1})
    1.0
    >>> sample_ratio({"a": 600, "b": 400}, {"a": 1, "b": 1}) < 0.001
    True
    """
    seen, shares = counts(units, weights)
    prior = PRIOR * shares
    declared = float((seen * np.log(shares)).sum())
    other = float((gammaln(prior + seen) - gammaln(prior)).sum() + gammaln(PRIOR) - gammaln(PRIOR + seen.sum()))
    return float(np.exp(min(0.0, declared - other)))
