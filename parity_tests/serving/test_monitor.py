"""Decay of a model is seen when it is real, and nothing is said when it is not."""

import numpy as np
import pytest

from dualpath.serving.decision import Decision
from dualpath.serving.learner import Waiting
from dualpath.serving.monitor import RECENT, Monitor

NAMES = ("bias", "interest")


def play(monitor: Monitor, count: int, *, seed: int, odds: float, interest: float, uniform: bool = False) -> None:
    """Settled decisions that predict 0.2, and earn by their odds."""
    random = np.random.default_rng(seed)
    for number in range(count):
        context = np.array([[1024, int(random.beta(2, 2) * 512 + 512 * interest)]])
        score = 0.0 if uniform else 0.2
        made = Decision(f"d{number}", number, "q", "ann", "m", ("a",), "bandit", "p", (1,), 1, (score,), (0,), context)
        waiting = Waiting.of(made)
        waiting.rewarded = bool(random.random() < odds)
        monitor.settled(waiting)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_said_while_all_is_as_it_was(seed: int) -> None:
    monitor = Monitor(NAMES)
    play(monitor, 4 * RECENT, seed=seed, odds=0.2, interest=0.3)
    found = monitor.report()
    assert found["alarm"] is None and abs(found["z"]) < 4.5
    assert found["psi"]["interest"] < 0.05 and found["psi"]["bias"] == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_rewards_that_fall_below_the_predictions_raise_the_alarm(seed: int) -> None:
    monitor = Monitor(NAMES)
    play(monitor, 3 * RECENT, seed=seed, odds=0.2, interest=0.3)
    play(monitor, RECENT, seed=seed + 100, odds=0.1, interest=0.3)
    found = monitor.report()
    assert found["z"] < -5 and "does not hold any more" in found["alarm"]
    assert found["observed"] < 0.15 < found["predicted"]


def test_earning_more_than_predicted_is_no_decay() -> None:
    monitor = Monitor(NAMES)
    play(monitor, RECENT, seed=1, odds=0.4, interest=0.3)
    assert monitor.report()["z"] > 5 and monitor.report()["alarm"] is None


def test_contexts_that_move_have_a_psi() -> None:
    monitor = Monitor(NAMES)
    play(monitor, 3 * RECENT, seed=1, odds=0.2, interest=0.1)
    play(monitor, RECENT, seed=2, odds=0.2, interest=0.9)
    assert monitor.report()["psi"]["interest"] > 0.25


def test_a_uniform_policy_predicts_nothing_and_cannot_be_wrong() -> None:
    monitor = Monitor(NAMES)
    play(monitor, RECENT, seed=1, odds=0.0, interest=0.3, uniform=True)
    assert monitor.report()["alarm"] is None and monitor.report()["predicted"] is None


def test_too_few_decisions_say_nothing() -> None:
    monitor = Monitor(NAMES)
    assert monitor.report() == {"predicted": None, "observed": None, "z": None, "alarm": None, "psi": {}, "ess": None}
