"""Watches what the loop learns: rewards against the policy's own prediction, contexts against those it was trained on.

A decision counts here once it has *settled*, some time after it was made, because until then its click may still come.
Decay is real if the newest settled decisions earn less than their policies predicted by more than chance explains.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dualpath.parity.distribution import distance
from dualpath.serving.learner import Waiting

RECENT = 1_000
"""The newest settled decisions, which are compared with those before."""
TRAINED = 20_000
"""Decisions that contexts are compared with."""
ALARM = -5.0
"""Standard errors by which rewards lie below the predictions before it is decay; by chance once in 3 million."""


class Monitor:
    """The state of the loop in numbers. `names` are the coordinates of a context."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.seen: deque[Waiting] = deque(maxlen=TRAINED + RECENT)

    def settled(self, decision: Waiting) -> None:
        """Take in a decision that will not change any more."""
        self.seen.append(decision)

    def report(self) -> dict[str, Any]:
        """The numbers; null where there are too few decisions to say."""
        recent = [*self.seen][-RECENT:]
        return {**self._reward_gap(recent), "psi": self._psi(), "ess": _sample_size(recent)}

    def _reward_gap(self, recent: Sequence[Waiting]) -> dict[str, Any]:
        # A policy that predicts nothing, as the uniform one, has nothing to be wrong about.
        told = [(each.predicted, each.rewarded) for each in recent if each.predicted is not None]
        if len(told) < 100:
            return {"predicted": None, "observed": None, "z": None, "alarm": None}
        predicted = np.array([expected for expected, _ in told]).clip(0, 1)
        observed = np.array([was_rewarded for _, was_rewarded in told], dtype=float)
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


def _sample_size(recent: Sequence[Waiting]) -> float | None:
    """Kish's effective sample size of the newest decisions, weighed so that a uniform policy could have made them."""
    if not recent:
        return None
    weights = np.array([1 / each.places / each.propensity for each in recent])
    return float(weights.sum() ** 2 / (weights**2).sum())
