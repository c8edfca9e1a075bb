"""On logs whose truth is known, the estimators are unbiased, and their intervals hold it as often as they say."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from dualpath.serving.evaluation import evaluate
from dualpath.serving.logged_decisions import LoggedDecisions
from dualpath.serving.reward_model import cross_fitted
from parity_tests.serving.simulated_logs import of, replications, world

IPS, SNIPS, DM, DR = range(4)
TIMES, DECISIONS = 500, 200
WORLD = world()
MODELS: dict[str, Callable[[LoggedDecisions, np.ndarray], Any]] = {
    "ridge": lambda decisions, s: cross_fitted(decisions, of(WORLD.contexts, s), [str(i) for i in range(len(s))]),
    "wrong": lambda _, s: [1 - rewarded for rewarded in of(WORLD.rewarded, s)],
}


class Found:
    """Values and whether each interval holds the truth, [replications, estimators]."""

    def __init__(self, model: str) -> None:
        evaluations = [
            evaluate(decisions, MODELS[model](decisions, situation)).estimates
            for decisions, situation in replications(WORLD, DECISIONS, TIMES, seed=7)
        ]
        gain = WORLD.truth - WORLD.logged
        self.values = np.array([[each.value for each in row] for row in evaluations])
        self.covered = np.array([[_holds(each.interval, WORLD.truth) for each in row] for row in evaluations])
        self.gain_covered = np.array([[_holds(each.gain_interval, gain) for each in row] for row in evaluations])
        self.mean_error = np.mean([[each.standard_error for each in row] for row in evaluations], axis=0)
        self.deviation = self.values.std(axis=0, ddof=1)
        self.bias = _standard_errors_off(self.values)


found = cache(Found)


def _holds(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value <= interval[1]


def _standard_errors_off(values: np.ndarray) -> np.ndarray:
    """How many of its standard errors the mean of replications is from the truth, [estimators]."""
    return (values.mean(axis=0) - WORLD.truth) / (values.std(axis=0, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("model", MODELS)
def test_ips_snips_and_dr_are_unbiased_whatever_the_model(model: str) -> None:
    assert (np.abs(found(model).bias[[IPS, SNIPS, DR]]) < 4).all()


@pytest.mark.parametrize("model", MODELS)
def test_intervals_of_ips_snips_and_dr_hold_the_truth_about_95_times_of_100(model: str) -> None:
    for covered in (found(model).covered, found(model).gain_covered):
        share = covered[:, [IPS, SNIPS, DR]].mean(axis=0)
        assert ((share > 0.93) & (share < 0.97)).all()


@pytest.mark.parametrize("model", MODELS)
def test_standard_errors_of_ips_snips_and_dr_are_how_far_the_values_scatter(model: str) -> None:
    ratio = (found(model).mean_error / found(model).deviation)[[IPS, SNIPS, DR]]
    assert ((ratio > 0.9) & (ratio < 1.1)).all()


def test_dr_scatters_less_than_ips_with_a_good_model() -> None:
    deviation = found("ridge").deviation
    assert deviation[DR] < 0.85 * deviation[IPS]


def test_dm_is_as_wrong_as_its_model_and_its_interval_does_not_say_so() -> None:
    assert abs(found("wrong").bias[DM]) > 100
    assert not found("wrong").covered[:, DM].any()


def test_dr_forgives_wrong_propensities_if_the_model_is_right() -> None:
    written = [np.full(len(p), 1 / len(p)) for p in WORLD.logging]
    random, values = np.random.default_rng(8), []
    for _ in range(TIMES):
        situation, chosen, rewards = WORLD.draw(DECISIONS, random)
        logged = LoggedDecisions(chosen, rewards, of(written, situation), of(WORLD.target, situation))
        values.append([each.value for each in evaluate(logged, of(WORLD.rewarded, situation)).estimates])
    bias = _standard_errors_off(np.array(values))
    assert (np.abs(bias[[IPS, SNIPS]]) > 10).all()
    assert abs(bias[DR]) < 4
