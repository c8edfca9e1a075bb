"""The reward model is ridge regression, and no decision is predicted by a model that has learned from it."""

from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from dualpath.errors import InputError
from dualpath.serving.evaluation import evaluate
from dualpath.serving.logged_decisions import LoggedDecisions
from dualpath.serving.reward_model import cross_fitted

N, RIDGE = 60, 3.0
IDS = [f"decision {number}" for number in range(N)]
SECOND = np.array([sha256(each.encode()).digest()[0] % 2 == 1 for each in IDS])


def drawn() -> tuple[LoggedDecisions, list[np.ndarray]]:
    """Decisions among one to four candidates, and their contexts of three coordinates, of which one never varies."""
    random = np.random.default_rng(6)
    sizes = random.integers(1, 5, N)
    contexts = [np.column_stack([random.normal(size=(size, 2)), np.full(size, 0.1)]) for size in sizes]
    uniform = [np.full(size, 1 / size) for size in sizes]
    return LoggedDecisions(random.integers(0, sizes), random.integers(0, 2, N), uniform, uniform), contexts


def test_predictions_are_those_of_least_squares_with_a_further_row_for_each_coordinate() -> None:
    decisions, contexts = drawn()
    found = cross_fitted(decisions, contexts, IDS, RIDGE)
    rows = np.concatenate(contexts)[decisions.at]
    for half in (SECOND, ~SECOND):
        learned, rewards = rows[~half], decisions.rewards[~half]
        # The intercept has no such row, so it is not drawn to 0.
        columns = np.r_[
            np.column_stack([np.ones(len(learned)), learned]), np.column_stack([np.zeros(3), RIDGE**0.5 * np.eye(3)])
        ]
        model, *_ = np.linalg.lstsq(columns, np.r_[rewards, np.zeros(3)], rcond=None)
        for i in np.flatnonzero(half):
            np.testing.assert_allclose(found[i], model[0] + contexts[i] @ model[1:], rtol=1e-9)


def test_a_reward_changes_no_prediction_of_its_own_half() -> None:
    decisions, contexts = drawn()
    before = cross_fitted(decisions, contexts, IDS)
    decisions.rewards[0] = 1 - decisions.rewards[0]
    after = cross_fitted(decisions, contexts, IDS)
    changed = np.array([not np.array_equal(a, b) for a, b in zip(before, after, strict=True)])
    assert (changed == (SECOND[0] != SECOND)).all()


def test_evaluate_takes_the_predictions_as_they_are() -> None:
    decisions, contexts = drawn()
    assert len(evaluate(decisions, cross_fitted(decisions, contexts, IDS)).estimates) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contexts": [[0.0, 1.0]] * 4}, "a row of coordinates for every candidate"),
        ({"contexts": [[[0.0], [1.0]]] * 3}, "contexts has other rows"),
        ({"contexts": [[[0.0], [1.0]]] * 3 + [[[0.0, 1.0], [1.0, 1.0]]]}, "contexts has other rows"),
        ({"contexts": [[[0.0], [1.0]]] * 3 + [[[0.0], [float("nan")]]]}, "decision 3: one of contexts is not a number"),
        ({"ids": ["d1", "d2", "d3"]}, "there are 3 ids of 4 decisions"),
        ({"ids": ["d1", "d1", "d1", "d1"]}, "too few for two halves"),
        ({"ridge": 0.0}, "ridge is 0.0"),
        ({"ridge": float("nan")}, "ridge is nan"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    decisions = LoggedDecisions([0, 1, 0, 1], [0, 1, 0, 1], [[0.5, 0.5]] * 4, [[0.5, 0.5]] * 4)
    given: dict[str, Any] = {"contexts": [[[0.0], [1.0]]] * 4, "ids": ["d1", "d2", "d3", "d8"], "ridge": 1.0}
    with pytest.raises(InputError, match=said):
        cross_fitted(decisions, **given | change)
