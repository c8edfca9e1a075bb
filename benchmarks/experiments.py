"""How often experiments decide wrongly when they are looked at often, and how soon they see a real difference."""

from collections.abc import Iterator

import numpy as np

from benchmarks.measure import Sheet
from dualpath.serving.analysis import NORMAL, cuped, difference
from dualpath.serving.sequential import radii, scores

RATE, EVERY = 0.2, 100
"""The reward of the control, and how many units come between two looks."""


def run() -> Iterator[Sheet]:
    """Error rates without a difference, power with one, and what a covariate saves."""
    rates = error_rates(runs=2_000, units=3_000)
    yield Sheet(
        "2,000 experiments without a difference, 3,000 units, a look every 100: how many decide",
        {name: f"{rate:.1%}" for name, rate in rates.items()},
        rates,
    )
    for lift in (0.04, 0.06, 0.1):
        found, stopped = power(runs=1_000, units=3_000, lift=lift)
        yield Sheet(
            f"1,000 experiments of 3,000 units with {RATE:.2f} against {RATE + lift:.2f}",
            {"decided": f"{found:.1%}", "median units until then": f"{stopped:,.0f}"},
            {"lift": lift, "decided": found, "median_units": stopped},
        )
    random = np.random.default_rng(3)
    before, treated = random.poisson(3, 20_000).astype(float), random.random(20_000) < 0.5
    outcomes = random.binomial(10, np.minimum(0.05 * before + 0.02 * treated, 1)) / 10
    plain, adjusted = difference(treated, outcomes), cuped(treated, outcomes, before)
    yield Sheet(
        "20,000 units whose clicks of the day before are known",
        {
            "standard error": f"{plain.error:.5f}",
            "with CUPED": f"{adjusted.error:.5f}",
            "variance explained": f"{adjusted.explained:.0%}",
        },
        {"plain": plain.error, "cuped": adjusted.error, "explained": adjusted.explained},
    )


def error_rates(*, runs: int, units: int) -> dict[str, float]:
    """How many of the experiments without a difference decide at some look."""
    treated, outcomes = _drawn(runs, units, 0.0, seed=1)
    looks = np.arange(2 * EVERY, units + 1, EVERY)
    tested = np.stack([np.abs(_z(treated[:, :n], outcomes[:, :n])) > NORMAL for n in looks])
    return {
        "always valid": float(_decided(treated, outcomes).any(axis=1).mean()),
        "t-test": float(tested.any(0).mean()),
    }


def power(*, runs: int, units: int, lift: float) -> tuple[float, float]:
    """How many of the experiments with a difference decide, and the median number of units of those that do."""
    decided = _decided(*_drawn(runs, units, lift, seed=2))
    found = decided.any(axis=1)
    return float(found.mean()), float(np.median((decided.argmax(axis=1)[found] + 2) * EVERY))


def _drawn(runs: int, units: int, lift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    treated = random.random((runs, units)) < 0.5
    return treated, (random.random((runs, units)) < RATE + lift * treated).astype(float)


def _decided(treated: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Whether each experiment decides at each look, bool[runs, looks]."""
    found = scores(treated, outcomes, 0.5)
    means = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    return np.asarray((np.abs(means) > radii(found))[:, 2 * EVERY - 1 :: EVERY])


def _z(treated: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """The plain test's difference in standard errors, of each run."""
    counts = treated.sum(axis=1), (~treated).sum(axis=1)
    means = (treated * outcomes).sum(axis=1) / counts[0], (~treated * outcomes).sum(axis=1) / counts[1]
    variance = sum(mean * (1 - mean) / (count - 1) for mean, count in zip(means, counts, strict=True))
    return np.asarray((means[0] - means[1]) / np.sqrt(variance))
