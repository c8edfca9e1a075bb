"""What an experiment says once: whether units were shared out as declared, and how far the variants are apart."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

SUSPECT = 0.001
"""With a lower p-value the units were not shared out as declared, and no other figure can be trusted."""
NORMAL = 1.959963984540054
"""Standard errors on both sides that hold 95 %."""


def sample_ratio(units: Mapping[str, int], weights: Mapping[str, int]) -> float:
    """The p-value that variants have as many units as their weights say: a chi-square test.

    >>> sample_ratio({"a": 500, "b": 500}, {"a": 1, "b": 1})
    1.0
    >>> sample_ratio({"a": 600, "b": 400}, {"a": 1, "b": 1}) < SUSPECT
    True
    """
    seen = np.array([units.get(variant, 0) for variant in weights], dtype=float)
    if not seen.sum():
        return 1.0
    wanted = np.array(list(weights.values()), dtype=float)
    return float(stats.chisquare(seen, wanted / wanted.sum() * seen.sum()).pvalue)


@dataclass(frozen=True)
class Difference:
    """Of two means: with its standard error, and by how much of the variance a covariate has explained."""

    difference: float
    error: float
    explained: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """What holds the difference with 95 % for one look; for many looks see `dualpath.serving.sequential`."""
        return self.difference - NORMAL * self.error, self.difference + NORMAL * self.error


def difference(treated: np.ndarray, outcomes: np.ndarray) -> Difference:
    """Welch's difference of means, bool[n] and float64[n] with two units on each side at least."""
    one, other = outcomes[treated], outcomes[~treated]
    error = np.sqrt(one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other))
    return Difference(float(one.mean() - other.mean()), float(error))


def cuped(treated: np.ndarray, outcomes: np.ndarray, covariate: np.ndarray) -> Difference:
    """The same of outcomes from which what `covariate`, float64[n], explains is taken out.

    Deng, Xu, Kohavi, Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment
    Data", 2013. The covariate must be of the time before a unit came in; units without one take the mean. A covariate
    that is the same for all explains nothing.

    >>> before = np.array([0.0, 1, 0, 1, 0, 1, 0, 1])
    >>> found = cuped(np.arange(8) < 4, before + (np.arange(8) < 4), before)
    >>> round(found.difference, 6), round(found.explained, 6)
    (1.0, 1.0)
    """
    known = np.isfinite(covariate)
    centred = np.where(known, covariate - (covariate[known].mean() if known.any() else 0.0), 0.0)
    # Each side's own mean is taken off, so that the difference itself explains nothing.
    own = np.where(treated, outcomes[treated].mean(), outcomes[~treated].mean())
    within = centred - np.where(treated, centred[treated].mean(), centred[~treated].mean())
    spread = float((within**2).sum())
    slope = float((within * (outcomes - own)).sum()) / spread if spread > 0 else 0.0
    plain, adjusted = difference(treated, outcomes), difference(treated, outcomes - slope * centred)
    explained = 1 - adjusted.error**2 / plain.error**2 if plain.error else 0.0
    return Difference(adjusted.difference, adjusted.error, explained)
