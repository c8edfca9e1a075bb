"""How right off-policy estimates are: on simulated logs whose truth is known, and what they say on real ones.

Every replication is a log drawn anew. The model of the first sheet is right, a ridge regression on the contexts from
which rewards are drawn; that of the second says the opposite of the truth. The third shows how often an interval holds
the truth when few rewards count. With `DUALPATH_DATA`, the Open Bandit Dataset's sample is evaluated, too.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group

from benchmarks.measure import Sheet
from dualpath.serving.evaluation import Evaluation, evaluate
from dualpath.serving.logged_decisions import LoggedDecisions
from dualpath.serving.reward_model import cross_fitted
from parity_tests.serving.open_bandit import CAMPAIGNS, what_thompson_sampling_would_earn
from parity_tests.serving.simulated_logs import of, replications, world

TIMES, DECISIONS = 500, 1_000
FEW_DECISIONS = (200, 500, 1_000, 2_000)
RATE, SHARPNESS = 0.05, 20.0
"""Of the third sheet: how rare rewards are, and how far the target policy is from the logging policy."""


@dataclass(frozen=True)
class Campaign:
    """The evaluation of a real log."""

    work: str
    evaluation: Evaluation

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {"work": self.work, **self.evaluation.to_dict()}

    def __rich__(self) -> Group:
        return Group(self.work, self.evaluation)


def run() -> Iterator[Sheet | Campaign]:
    """The error of each estimator, how often intervals hold the truth, and the Open Bandit sample."""
    made = world()
    ids = [f"{number}" for number in range(DECISIONS)]
    yield _errors("a right model", lambda logged, s: cross_fitted(logged, of(made.contexts, s), ids))
    yield _errors("a wrong model", lambda _, s: [1 - rewarded for rewarded in of(made.rewarded, s)])
    yield _coverage()
    if "DUALPATH_DATA" in os.environ:
        for campaign in CAMPAIGNS:
            found = what_thompson_sampling_would_earn(Path(os.environ["DUALPATH_DATA"]), campaign)
            yield Campaign(f"Open Bandit, {campaign}: Thompson sampling on a uniform policy's log", found)


def _errors(model: str, predictions: Callable[[LoggedDecisions, np.ndarray], Any]) -> Sheet:
    """Bias, scatter and coverage of every estimator."""
    made, found = world(), []
    for logged, situation in replications(made, DECISIONS, TIMES, seed=7):
        found.append(evaluate(logged, predictions(logged, situation)).estimates)
    cells, data = {"truth": f"{made.truth:.4f}"}, {}
    for each in zip(*found, strict=True):
        values = np.array([one.value for one in each])
        covered = np.mean([one.interval[0] <= made.truth <= one.interval[1] for one in each])
        figures = {
            "bias": float(values.mean() - made.truth),
            "deviation": float(values.std(ddof=1)),
            "standard_error": float(np.mean([one.standard_error for one in each])),
            "coverage": float(covered),
            "gain_deviation": float(np.std([one.gain for one in each], ddof=1)),
        }
        name = each[0].estimator
        data[name] = figures
        cells[f"{name}: bias, deviation, standard error"] = " ".join(
            f"{figures[figure]:.4f}" for figure in ("bias", "deviation", "standard_error")
        )
        cells[f"{name}: intervals that hold the truth"] = f"{covered:.1%}"
        cells[f"{name}: deviation of the gain"] = f"{figures['gain_deviation']:.4f}"
    work = f"{TIMES} logs of {DECISIONS:,} decisions; DM and DR with {model}"
    return Sheet(work, cells, {"truth": made.truth, "estimators": data})


def _coverage() -> Sheet:
    """How often an interval holds the truth, by how many rewards count."""
    made, cells, data = world(RATE, SHARPNESS), {}, []
    for n in FEW_DECISIONS:
        found = [evaluate(logged) for logged, _ in replications(made, n, TIMES, seed=3)]
        intervals = [each.estimates[0].interval for each in found]
        rewards = float(np.median([each.effective_rewards for each in found]))
        covered = float(np.mean([low <= made.truth <= high for low, high in intervals]))
        too_low = float(np.mean([high < made.truth for _, high in intervals]))
        cells[f"{rewards:.1f} rewards count: hold the truth, lie below it"] = f"{covered:.1%} {too_low:.1%}"
        data.append({"decisions": n, "effective_rewards": rewards, "coverage": covered, "too_low": too_low})
    return Sheet(f"95 % intervals of IPS in {TIMES} logs where few rewards count", cells, {"by_rewards": data})
