"""What an experiment says once: whether units were shared out as declared, and how far the variants are apart.

For what is looked at more than once see `dualpath.serving.sequential`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dualpath.errors import InputError

SUSPECT = 0.001
"""With a lower p-value the units were not shared out as declared, and no other figure can be trusted."""
EXPECTED = 5
"""Units that each variant must be due before the chi-square test says anything: Cochran's rule, 1954."""


def counts(units: Mapping[str, int], weights: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The units of each variant, and the share that its weight gives it, both float64[variants].

    Raises `InputError` for units of a variant that has no weight.
    """
    if strange := sorted(set(units) - set(weights)):
        raise InputError(f"units of '{strange[0]}': the experiment has no such variant; it has {', '.join(weights)}.")
    shares = np.array(list(weights.values()), dtype=float)
    return np.array([units.get(variant, 0) for variant in weights], dtype=float), shares / shares.sum()


def sample_ratio(units: Mapping[str, int], weights: Mapping[str, int]) -> float:
    """The p-value, for one look, that variants have as many units as their weights say: a chi-square test.

    It is 1 while a variant is due fewer than `EXPECTED` units. Raises `InputError` for units of a variant that has no
    weight.

    >>> sample_ratio({"a": 500, "b": 500}, {"a": 1, "b": 1})
    1.0
    >>> sample_ratio({"a": 600, "b": 400}, {"a": 1, "b": 1}) < SUSPECT
    True
    """
    seen, shares = counts(units, weights)
    due = shares * seen.sum()
    return float(stats.chisquare(seen, due).pvalue) if due.min() >= EXPECTED else 1.0


@dataclass(frozen=True)
class Difference:
    """Of two means: with its standard error, the degrees of freedom of that, and how much of the variance a covariate
    has explained."""

    difference: float
    error: float
    degrees: float
    explained: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """What holds the difference with 95 % for one look, by Student's t."""
        half = float(stats.t.ppf(0.975, self.degrees)) * self.error
        return self.difference - half, self.difference + half


def difference(treated: np.ndarray, outcomes: np.ndarray) -> Difference:
    """Welch's difference of means, bool[n] and float64[n]; of conversion rates if outcomes are 0 and 1.

    Welch, "The generalization of 'Student's' problem when several different population variances are involved", 1947.
    Raises `InputError` for fewer than two units on a side, and for an outcome that is no finite number.

    >>> found = difference(np.array([True, True, True, False, False, False]), np.array([3.0, 4, 5, 1, 2, 3]))
    >>> found.difference, [round(end, 2) for end in found.interval]
    (2.0, [-0.27, 4.27])
    """
    _check(treated, outcomes)
    sides = outcomes[treated], outcomes[~treated]
    squares = np.array([side.var(ddof=1) / len(side) for side in sides])
    fewer_by_one = np.array([len(side) - 1 for side in sides])
    whole = float(squares.sum())
    # Outcomes that are all alike leave 0 / 0; their interval has no width, whatever the degrees are.
    degrees = whole**2 / float((squares**2 / fewer_by_one).sum()) if whole else float(fewer_by_one.sum())
    return Difference(float(sides[0].mean() - sides[1].mean()), whole**0.5, degrees)


def cuped(treated: np.ndarray, outcomes: np.ndarray, covariate: np.ndarray) -> Difference:
    """The same of outcomes from which what `covariate`, float64[n], explains is taken out.

    Deng, Xu, Kohavi, Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment
    Data", 2013. The covariate must be of the time before a unit came in. Units without one, NaN, take the mean: they
    stay in the comparison, and nothing is taken out of their outcomes. A covariate that is the same for all explains
    nothing. Raises `InputError` as `difference` does, and for an infinite covariate.

    >>> before = np.array([0.0, 1, 0, 1, 0, 1, 0, 1])
    >>> found = cuped(np.arange(8) < 4, before + (np.arange(8) < 4), before)
    >>> round(found.difference, 6), round(found.explained, 6)
    (1.0, 1.0)
    """
    plain = difference(treated, outcomes)
    if covariate.shape != outcomes.shape or np.isinf(covariate).any():
        raise InputError("the covariate must be one finite number a unit, or NaN where there is none; correct it.")
    known = ~np.isnan(covariate)
    centred = np.where(known, covariate - (covariate[known].mean() if known.any() else 0.0), 0.0)
    # Each side's own mean is taken off, so that the difference itself explains nothing.
    own = np.where(treated, outcomes[treated].mean(), outcomes[~treated].mean())
    within = centred - np.where(treated, centred[treated].mean(), centred[~treated].mean())
    spread = float((within**2).sum())
    slope = float((within * (outcomes - own)).sum()) / spread if spread > 0 else 0.0
    adjusted = difference(treated, outcomes - slope * centred)
    explained = 1 - adjusted.error**2 / plain.error**2 if plain.error else 0.0
    return Difference(adjusted.difference, adjusted.error, adjusted.degrees, explained)


def _check(treated: np.ndarray, outcomes: np.ndarray) -> None:
    if treated.shape != outcomes.shape or min(treated.sum(), (~treated).sum()) < 2:
        raise InputError("a difference needs one outcome a unit and two units of each variant; wait for more.")
    if not np.isfinite(outcomes).all():
        row = int(np.argmin(np.isfinite(outcomes)))
        raise InputError(f"outcome {row} is {outcomes[row]}; leave out units without an outcome.")
