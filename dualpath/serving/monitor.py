"""Watches what the loop learns: rewards against the policy's own prediction, contexts against those it was trained on.

A decision counts here once it has *settled*, some time after it was made, because until then its click may still come.
Decay is real if the newest settled decisions earn less than their policies predicted by more than chance explains.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath.parity.distribution import distance
from dualpath.serving.decision import Decision

RECENT = 1_000
"""The newest settled decisions, which are compared with those before."""
TRAINED = 20_000
"""Decisions that contexts are compared with."""
ALARM = -5.0
"""Standard errors by which rewards lie below the predictions before it is decay; by chance once in 3 million."""


@dataclass(frozen=True)
class Seen:
    """A settled decision: the context of what was chosen, its propensity, and what was predicted and earned."""

    row: np.ndarray
    places: int
    propensity: float
    predicted: float
    learned: bool
    rewarded: bool


class Monitor:
    """The state of the loop in numbers. `names` are the coordinates of a context."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.seen: deque[Seen] = deque(maxlen=TRAINED + RECENT)

    def settled(self, decision: Decision, rewarded: bool) -> None:
        """Take in a decision that will not change any more."""
        if decision.context is None:
            return
        predicted = decision.scores[decision.chosen]
        # A uniform policy predicts nothing, so it has nothing to be wrong about.
        learned = any(decision.scores)
        row = decision.context[decision.chosen]
        self.seen.append(Seen(row, len(decision.candidates), decision.propensity, predicted, learned, rewarded))

    def report(self) -> dict[str, Any]:
        """The numbers; null where there are too few decisions to say."""
        recent = [*self.seen][-RECENT:]
        return {**self._reward_gap(recent), "psi": self._psi(), "ess": _sample_size(recent)}

    def _reward_gap(self, recent: Sequence[Seen]) -> dict[str, Any]:
        told = [each for each in recent if each.learned]
        if len(told) < 100:
            return {"predicted": None, "observed": None, "z": None, "alarm": None}
        predicted = np.array([each.predicted for each in told]).clip(0, 1)
        observed = np.array([each.rewarded for each in told], dtype=float)
        error = np.sqrt(max((predicted * (1 - predicted)).sum(), observed.var() * len(told), 1.0))
        z = float((observed.sum() - predicted.sum()) / error)
        alarm = None
        if z < ALARM:
            alarm = (
                f"The last {len(told):,} decisions earned {observed.mean():.3f} each, and their policies predicted "
                f"{predicted.mean():.3f}: what was learned does not hold any more."
            )
        return {"predicted": float(predicted.mean()), "observed": float(observed.mean()), "z": z, "alarm": alarm}

    def _psi(self) -> dict[str, float]:
        rows = np.array([each.row for each in self.seen])
        if len(rows) < 2 * RECENT:
            return {}
        trained, served = rows[:-RECENT], rows[-RECENT:]
        found = {}
        for place, name in enumerate(self.names):
            apart = distance(pa.array(trained[:, place]), pa.array(served[:, place]))
            if apart is not None:
                found[name] = round(max(apart.psi - apart.by_chance, 0.0), 4)
        return found


def _sample_size(recent: Sequence[Seen]) -> float | None:
    """Kish's effective sample size of the newest decisions, weighed so that a uniform policy could have made them."""
    if not recent:
        return None
    weights = np.array([1 / each.places / each.propensity for each in recent])
    return float(weights.sum() ** 2 / (weights**2).sum())
