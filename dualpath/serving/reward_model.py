"""A reward model that never predicts a decision it has learned from: ridge regression, fitted on two halves.

A decision's half is a bit of its id's hash, so it is the same in every run and whatever else is logged. The model of
each half predicts the other one (cross-fitting): Chernozhukov and others, Double/debiased machine learning for
treatment and structural parameters, The Econometrics Journal 21, 2018.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from dualpath.errors import InputError
from dualpath.serving.logged_decisions import LoggedDecisions


def cross_fitted(decisions: LoggedDecisions, contexts: Any, ids: Sequence[str], ridge: float = 1.0) -> list[np.ndarray]:
    """The reward to expect of every candidate: n rows with a number for each, as `evaluate` takes them.

    contexts: n rows with d coordinates for each candidate, of a size of about 1: a policy's, divided by its scale
    ids: n texts, those of the decisions
    ridge: how strongly a coefficient is drawn to 0, as much as by so many decisions with a coordinate of 1; above 0

    Raises `InputError` if these do not fit, or if a half has no decision.

    >>> logged = LoggedDecisions([0, 1, 0, 1], [0, 1, 0, 1], [[0.5, 0.5]] * 4, [[0.0, 1.0]] * 4)
    >>> rows = cross_fitted(logged, [[[0], [1]]] * 4, ["d1", "d2", "d3", "d8"])
    >>> [row.round(2).tolist() for row in rows]
    [[0.33, 0.67], [0.33, 0.67], [0.33, 0.67], [0.33, 0.67]]
    """
    rows = decisions.flat(contexts, "contexts")
    if rows.ndim != 2:
        raise InputError("contexts needs a row of coordinates for every candidate.")
    if len(ids) != len(decisions):
        raise InputError(f"there are {len(ids)} ids of {len(decisions)} decisions; give one for each.")
    if not 0 < ridge < np.inf:
        raise InputError(f"ridge is {ridge}; give a number above 0.")
    second = np.array([bool(sha256(each.encode()).digest()[0] & 1) for each in ids])
    if second.all() or not second.any():
        raise InputError(f"{len(decisions)} decisions are too few for two halves by their ids; log more of them.")
    found = np.empty(len(rows))
    of_second = np.repeat(second, np.diff(decisions.starts))
    for half, of_half in ((second, of_second), (~second, ~of_second)):
        found[of_half] = _predicted(rows[of_half], rows[decisions.at[~half]], decisions.rewards[~half], ridge)
    return np.split(found, decisions.starts[1:-1])


def _predicted(asked: np.ndarray, learned: np.ndarray, rewards: np.ndarray, ridge: float) -> np.ndarray:
    """The predictions of a ridge regression with an intercept, float64[m], for rows [m, d], from rows [n, d]."""
    middle, mean = learned.mean(axis=0), rewards.mean()
    columns = learned - middle
    normal = columns.T @ columns + ridge * np.eye(columns.shape[1])
    return mean + (asked - middle) @ np.linalg.solve(normal, columns.T @ (rewards - mean))
