"""The estimators give what a public library gave for the same log.

The figures are those of the estimators in Open Bandit Pipeline 0.5.7 (`obp.ope.estimators`, of the package `obp`), run
on `LOG` with NumPy 1.26.4. PyTorch was not installed: its stand-in had an empty class, because these estimators name
tensors in types only.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from dualpath.serving.evaluation import Estimate, evaluate
from dualpath.serving.logged_decisions import LoggedDecisions

DECISIONS, CANDIDATES = 200, 4
FIGURES = {
    "IPS": 0.4847228655802182,
    "SNIPS": 0.5432399442290878,
    "DM": 0.498666916738041,
    "DR": 0.5449371065866991,
}
"""InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting, DirectMethod and DoublyRobust."""
INTERVALS = {
    "IPS": (0.38753623793767256, 0.5955666761640334),
    "DM": (0.4776073460467152, 0.5193547782297401),
    "DR": (0.48139285214954913, 0.6085038348130212),
}
"""`estimate_interval` with 10,000 bootstrap samples and `random_state=1`; that of SNIPS resamples its terms, not what
they are divided by, and so is another interval."""


@dataclass
class Generator:
    """The linear congruential generator of the C standard's example, whose high bits are returned."""

    state: int

    def below(self, limit: int) -> int:
        self.state = (1103515245 * self.state + 12345) % 2**31
        return (self.state >> 16) % limit


def log() -> dict[str, np.ndarray]:
    """Both policies' shares, predictions in hundredths, what was chosen, and rewards; integers all."""
    draw = Generator(2026)
    found: dict[str, list[list[int]]] = {"logging": [], "target": [], "predicted": []}
    chosen, rewards = [], []
    for _ in range(DECISIONS):
        for rows, limit in zip(found.values(), (9, 9, 99), strict=True):
            rows.append([1 + draw.below(limit) for _ in range(CANDIDATES)])
        spot, position = draw.below(sum(found["logging"][-1])), 0
        while spot >= found["logging"][-1][position]:
            spot, position = spot - found["logging"][-1][position], position + 1
        chosen.append(position)
        rewards.append(int(draw.below(100) < found["predicted"][-1][position]))
    return {name: np.array(rows) for name, rows in found.items()} | {
        "chosen": np.array(chosen),
        "rewards": np.array(rewards),
    }


LOG = log()


def shares(of: np.ndarray) -> np.ndarray:
    """Probabilities, [n, K], from integers."""
    return of / of.sum(axis=1, keepdims=True)


def test_the_log_is_the_one_whose_figures_are_stored() -> None:
    assert (LOG["chosen"].sum(), LOG["rewards"].sum()) == (310, 102)
    assert (LOG["logging"] * LOG["predicted"] - LOG["target"]).sum() == 194_207


@pytest.fixture(scope="module")
def found() -> dict[str, Estimate]:
    logged = LoggedDecisions(LOG["chosen"], LOG["rewards"], shares(LOG["logging"]), shares(LOG["target"]))
    return {each.estimator: each for each in evaluate(logged, LOG["predicted"] / 100).estimates}


@pytest.mark.parametrize("name", FIGURES)
def test_an_estimator_gives_the_figure_of_open_bandit_pipeline(name: str, found: dict[str, Estimate]) -> None:
    assert found[name].value == pytest.approx(FIGURES[name], rel=1e-12)


@pytest.mark.parametrize("name", INTERVALS)
def test_an_interval_is_that_of_ten_thousand_resamples(name: str, found: dict[str, Estimate]) -> None:
    width = INTERVALS[name][1] - INTERVALS[name][0]
    assert found[name].interval == pytest.approx(INTERVALS[name], abs=0.05 * width)
