"""How often experiments decide wrongly when they are looked at often, how soon they see a real difference, what a
covariate saves, and how many units are assigned in a second."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from benchmarks.measure import Figure, Sheet, take_turns
from dualpath.serving.analysis import SUSPECT, cuped
from dualpath.serving.experiment import Experiment
from dualpath.serving.sequential import FEWEST, PRIOR, enough, radii, scores

RATE, EVERY = 0.2, 100
"""The reward of the control, and how many units come between two looks."""
AT_ONCE = 250
"""Experiments that are drawn together, so that memory stays small."""
ASSIGNED = 20_000
CORRELATIONS = ((0.3, 0.0), (0.5, 0.0), (0.7, 0.0), (0.9, 0.0), (0.7, 0.4))
"""Of the outcome with the covariate, and the share of units without one."""


def run() -> Iterator[Figure | Sheet]:
    """Error rates without a difference, power with one, what a covariate saves, and the time of an assignment."""
    for runs, units in ((2_000, 3_000), (1_000, 10_000)):
        rates = error_rates(runs=runs, units=units)
        title = f"{runs:,} experiments without a difference, {units:,} units, a look every {EVERY}: how many decide"
        yield Sheet(title, {name: f"{rate:.1%}" for name, rate in rates.items()}, {"units": units, **rates})
    yield _rare()
    ratios = ratio_errors(runs=2_000, units=3_000)
    yield Sheet(
        f"2,000 experiments without a mismatch, a look after each of 3,000 units: sample ratio with p < {SUSPECT}",
        {name: f"{rate:.2%}" for name, rate in ratios.items()},
        ratios,
    )
    for lift in (0.04, 0.06, 0.1):
        found, stopped = power(runs=1_000, units=3_000, lift=lift)
        yield Sheet(
            f"1,000 experiments of 3,000 units with {RATE:.2f} against {RATE + lift:.2f}",
            {"decided": f"{found:.1%}", "median units until then": f"{stopped:,.0f}"},
            {"lift": lift, "decided": found, "median_units": stopped},
        )
    saved = [(correlation, missing, explained(correlation, missing)) for correlation, missing in CORRELATIONS]
    yield Sheet(
        "20,000 units with CUPED: variance explained",
        {f"correlation {c:.1f}" + (f", {m:.0%} without covariate" if m else ""): f"{e:.0%}" for c, m, e in saved},
        {"explained": [{"correlation": c, "missing": m, "explained": e} for c, m, e in saved]},
    )
    halves, readers = Experiment(name="halves", variants={"a": 1, "b": 1}), [f"r{n:06}" for n in range(ASSIGNED)]
    figure = take_turns(f"{ASSIGNED:,} assignments", {"dualpath": lambda _: [*map(halves.assign, readers)]}, range(6))
    per_second = ASSIGNED / figure.quantiles("dualpath")[0]
    yield Sheet("assignments a second, on one core", {"dualpath": f"{per_second:,.0f}"}, {"per_second": per_second})


def error_rates(*, runs: int, units: int) -> dict[str, float]:
    """How many of the experiments without a difference decide at some look."""
    looks, wrong = slice(2 * EVERY - 1, None, EVERY), {"always valid": 0, "t-test": 0}
    for treated, outcomes in _drawn(runs, units, seed=1):
        wrong["always valid"] += _decided(treated, outcomes)[:, looks].any(axis=1).sum()
        wrong["t-test"] += (_p_values(treated, outcomes)[:, looks] < 0.05).any(axis=1).sum()
    return {name: float(found / runs) for name, found in wrong.items()}


def rare_errors(*, runs: int, units: int, share: float, rate: float) -> dict[str, float]:
    """How many of the experiments without a difference decide after some unit, how many would without waiting for
    rewards, and how many have had enough of them in the end."""
    found = {"decided": 0, "without_waiting": 0, "had_enough": 0}
    for treated, outcomes in _drawn(runs, units, seed=4, share=share, rate=rate):
        excludes, told = _excludes(treated, outcomes, share), enough(treated, outcomes)
        fewest = np.minimum(np.cumsum(treated, axis=1), np.cumsum(~treated, axis=1))
        found["decided"] += (excludes & told).any(axis=1).sum()
        found["without_waiting"] += (excludes & (fewest >= FEWEST)).any(axis=1).sum()
        found["had_enough"] += told[:, -1].sum()
    return {name: float(count / runs) for name, count in found.items()}


def ratio_errors(*, runs: int, units: int) -> dict[str, float]:
    """How many experiments whose units are shared out as declared look suspect at some time, by two tests."""
    found, n = {}, np.arange(1, units + 1)
    for share in (0.5, 0.1):
        seen = np.cumsum(np.random.default_rng(5).random((runs, units)) < share, axis=1)
        squares = (seen - n * share) ** 2 / (n * share * (1 - share))
        wrong = (squares > stats.chi2.isf(SUSPECT, 1))[:, EVERY:]
        found[f"always valid, {share:.0%} treated"] = float((ratio_p(seen, n, share) < SUSPECT).any(axis=1).mean())
        found[f"chi-square from {EVERY} units on, {share:.0%} treated"] = float(wrong.any(axis=1).mean())
    return found


def ratio_p(seen: np.ndarray, units: np.ndarray, share: float) -> np.ndarray:
    """What `sequential.sample_ratio` says of so many treated among so many units, for all at once."""
    declared = stats.binom.logpmf(seen, units, share)
    return np.asarray(np.exp(declared - stats.betabinom.logpmf(seen, units, PRIOR * share, PRIOR * (1 - share))))


def power(*, runs: int, units: int, lift: float) -> tuple[float, float]:
    """How many of the experiments with a difference decide, and the median number of units of those that do."""
    stopped = []
    for treated, outcomes in _drawn(runs, units, seed=2, lift=lift):
        decided = _decided(treated, outcomes)[:, EVERY - 1 :: EVERY]
        stopped += ((decided.argmax(axis=1) + 1) * EVERY)[decided.any(axis=1)].tolist()
    return len(stopped) / runs, float(np.median(stopped))


def explained(correlation: float, missing: float) -> float:
    """The part of the variance that a covariate explains, which some units do not have."""
    random = np.random.default_rng(3)
    before, rest = random.normal(size=(2, 20_000))
    outcomes, treated = correlation * before + (1 - correlation**2) ** 0.5 * rest, random.random(20_000) < 0.5
    return cuped(treated, outcomes, np.where(random.random(20_000) < missing, np.nan, before)).explained


def _rare() -> Sheet:
    cells, data = {}, []
    for share, rate in ((0.5, 0.2), (0.5, 0.01), (0.2, 0.03), (0.1, 0.03), (0.1, 0.01)):
        found = rare_errors(runs=500, units=20_000, share=share, rate=rate)
        cells[f"{share:.0%} treated, {rate:.0%} rewarded"] = (
            f"{found['decided']:.1%}, of {found['had_enough']:.0%} with enough rewards; "
            f"without waiting for them {found['without_waiting']:.1%}"
        )
        data.append({"share": share, "rate": rate, **found})
    title = "500 experiments without a difference, a look after each of 20,000 units: how many decide"
    return Sheet(title, cells, {"rare": data})


def _drawn(
    runs: int, units: int, *, seed: int, share: float = 0.5, rate: float = RATE, lift: float = 0.0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Who is treated and what each unit earns, bool and float64[at most AT_ONCE, units], for so many runs in all."""
    random = np.random.default_rng(seed)
    for begun in range(0, runs, AT_ONCE):
        size = (min(AT_ONCE, runs - begun), units)
        treated = random.random(size) < share
        yield treated, (random.random(size) < rate + lift * treated).astype(float)


def _decided(treated: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Whether each experiment of two halves decides after each unit, bool[runs, units]."""
    return _excludes(treated, outcomes, 0.5) & enough(treated, outcomes)


def _excludes(treated: np.ndarray, outcomes: np.ndarray, share: float) -> np.ndarray:
    """Whether the interval excludes 0 after each unit, however few there are."""
    found = scores(treated, outcomes, share)
    means = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    return np.asarray(np.abs(means) > radii(found))


def _p_values(treated: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Of the t-test of outcomes 0 and 1 after each unit, with as many degrees of freedom as units but two."""
    counts = [np.maximum(np.cumsum(side, axis=1), 2) for side in (treated, ~treated)]
    sums = [np.cumsum(side * outcomes, axis=1) for side in (treated, ~treated)]
    means = [total / count for total, count in zip(sums, counts, strict=True)]
    variance = sum(mean * (1 - mean) / (count - 1) for mean, count in zip(means, counts, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):  # no reward yet
        distance = np.abs(means[0] - means[1]) / np.sqrt(variance)
    return np.asarray(2 * stats.t.sf(distance, np.maximum(np.arange(treated.shape[1]) - 1, 1)))
