"""Logged decisions beside what another policy would have done with the same candidates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualpath.errors import InputError

LEAST = 1e-9
"""The least propensity of a chosen candidate; a weight above its inverse would be all that counts."""
LARGEST = 1e12
"""The largest reward, prediction or coordinate, either way, so that no sum of squares overflows."""
NO_NUMBER = f"not a number, or outside of ±{LARGEST:g}"
ROUNDED = 1e-6
"""How far the probabilities of a decision may be from adding up to 1, because logs round them."""


class LoggedDecisions:
    """n decisions of a *logging policy*, and the probabilities of a *target policy* for the same candidates.

    chosen: int[n], the position of the chosen candidate among those of its decision
    rewards: float[n]
    propensities, target: n rows with a number for each candidate, an array or lists of different length; the
        probabilities with which the logging and the target policy choose it

    The rows are kept flat, float64[m]: decision i has `[starts[i], starts[i + 1])`, and `at` is int64[n], the places of
    the chosen candidates. Raises `InputError` if a shape does not fit, if a number is not finite or out of range, if
    probabilities of a decision do not add up to 1, or if something was chosen with a logged propensity of zero.

    >>> logged = LoggedDecisions([1, 0], [1, 0], [[0.75, 0.25], [0.5, 0.25, 0.25]], [[0.5, 0.5], [0.25, 0.5, 0.25]])
    >>> logged.weights
    array([2. , 0.5])
    """

    def __init__(self, chosen: Any, rewards: Any, propensities: Any, target: Any) -> None:
        self.rewards = _numbers(rewards, "rewards")
        at = _numbers(chosen, "chosen")
        if self.rewards.ndim != 1 or len(self.rewards) < 2 or self.rewards.shape != at.shape:
            raise InputError(
                f"chosen has the shape {at.shape}, rewards has {self.rewards.shape}; give one of each for every "
                "decision, and two decisions at least."
            )
        rows = _rows(propensities, "propensities")
        sizes = np.array([len(row) for row in rows])
        if len(rows) != len(at) or not sizes.all():
            raise InputError("propensities needs a row for every decision, with a number for every candidate.")
        self.starts = np.r_[0, np.cumsum(sizes)]
        self.propensities = self._probabilities(propensities, "propensities")
        self.target = self._probabilities(target, "target")
        self._refuse("the reward", _beyond(self.rewards), NO_NUMBER)
        self._refuse("the chosen position", (at != np.floor(at)) | (at < 0) | (at >= sizes), "not that of a candidate")
        self.at = self.starts[:-1] + at.astype(np.int64)
        self._refuse("the propensity of the chosen candidate", self.propensities[self.at] < LEAST, "zero or next to it")

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def weights(self) -> np.ndarray:
        """How many times likelier the target policy is to choose what was chosen, float64[n]."""
        return self.target[self.at] / self.propensities[self.at]

    @property
    def unsupported(self) -> float:
        """The share of the target policy's choices that the logging policy never makes."""
        return float(self.expected(self.propensities == 0).mean())

    def expected(self, values: np.ndarray) -> np.ndarray:
        """What the target policy gets on average in each decision, float64[n], of a value for each candidate, [m]."""
        return np.add.reduceat(self.target * values, self.starts[:-1])

    def flat(self, rows: Any, name: str) -> np.ndarray:
        """A number, or a row of numbers, for each candidate, flat: float64[m] or float64[m, d].

        rows: one for each decision, an array or lists. Raises `InputError` if they are not those of the candidates.
        """
        found = _rows(rows, name)
        if [len(row) for row in found] != np.diff(self.starts).tolist() or len({row.shape[1:] for row in found}) > 1:
            raise InputError(f"{name} has other rows than propensities; give one for every candidate of a decision.")
        flat = np.concatenate(found)
        self._refuse(f"one of {name}", self._any(_beyond(flat)), NO_NUMBER)
        return flat

    def _probabilities(self, rows: Any, name: str) -> np.ndarray:
        flat = self.flat(rows, name)
        if flat.ndim != 1:
            raise InputError(f"{name} has more than one number for a candidate; give its probability.")
        self._refuse(f"one of {name}", self._any((flat < 0) | (flat > 1)), "not a probability")
        totals = np.add.reduceat(flat, self.starts[:-1])
        self._refuse(f"the sum of {name}", np.abs(totals - 1) > ROUNDED, "not 1")
        return flat

    def _any(self, of: np.ndarray) -> np.ndarray:
        """Which decisions have a candidate of which something is true, bool[n], of bool[m] or bool[m, d]."""
        return np.asarray(np.logical_or.reduceat(of, self.starts[:-1]).reshape(len(self), -1).any(axis=1))

    def _refuse(self, name: str, wrong: np.ndarray, what: str) -> None:
        """Raise `InputError` for the first decision that is wrong; bool[n]."""
        if wrong.any():
            raise InputError(f"decision {int(wrong.argmax())}: {name} is {what}; correct it.")


def _rows(rows: Any, name: str) -> Sequence[np.ndarray]:
    try:
        found = [_numbers(row, name) for row in rows]
    except TypeError:
        found = []
    if not found or any(row.ndim == 0 for row in found):
        raise InputError(f"{name} has no rows; give one for every decision.")
    return found


def _beyond(values: np.ndarray) -> np.ndarray:
    return ~(np.abs(values) <= LARGEST)  # which NaN is, too


def _numbers(values: Any, name: str) -> np.ndarray:
    """float64; texts and nulls are refused, not converted."""
    try:
        found = np.asarray(values)
    except ValueError:
        found = np.asarray(None)
    if found.dtype.kind not in "biuf":
        raise InputError(f"{name} has something other than numbers; give rows of numbers of one length each.")
    return found.astype(np.float64, copy=False)
