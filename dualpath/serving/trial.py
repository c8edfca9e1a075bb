"""The readings of an experiment whose units are readers. Each counts once, with its first decisions.

Readers are shared out at random, not decisions, so readers are what a test may count. A reader enters with the share of
its first decisions that earned a reward, once it makes one more, and stays as it is from then on. So the readers are
independent of each other, and one may look at any time.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dualpath.serving.analysis import SUSPECT
from dualpath.serving.decision import Decision
from dualpath.serving.experiment import Experiment
from dualpath.serving.learner import Waiting
from dualpath.serving.sequential import FEWEST, FEWEST_OF_A_KIND, interval, sample_ratio


@dataclass
class Reader:
    """A reader of the experiment: the first decisions and those of them that were rewarded."""

    variant: str
    decisions: list[str] = field(default_factory=list)
    rewarded: set[str] = field(default_factory=set)
    entered: bool = False


class Trial:
    """Follows decisions and rewards; the first two variants are compared."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.readers: dict[str, Reader] = {}
        self.outcomes: list[tuple[str, float]] = []
        self.decisions: Counter[str] = Counter()
        self.rewards: Counter[str] = Counter()

    def decided(self, decision: Decision) -> None:
        """Take in a decision: the exposure of its reader to a variant."""
        variant = self.experiment.assign(decision.user_id)
        if variant is None or variant != decision.variant or decision.degraded:
            return
        self.decisions[variant] += 1
        reader = self.readers.setdefault(decision.user_id, Reader(variant))
        if len(reader.decisions) < self.experiment.first_decisions:
            reader.decisions.append(decision.decision_id)
        elif not reader.entered:
            reader.entered = True
            self.outcomes.append((variant, len(reader.rewarded) / len(reader.decisions)))

    def rewarded(self, decision: Waiting) -> None:
        """Take in a reward."""
        reader = self.readers.get(decision.user_id)
        if reader is None or reader.variant != decision.variant:
            return
        self.rewards[decision.variant] += 1
        if decision.decision_id in reader.decisions:
            reader.rewarded.add(decision.decision_id)

    def report(self) -> dict[str, Any]:
        """The readings now. `interval` is null until each variant has enough readers."""
        one, other = self.experiment.compared
        weights = self.experiment.variants
        compared = [(variant == one, share) for variant, share in self.outcomes if variant in (one, other)]
        treated = np.array([is_one for is_one, _ in compared], dtype=bool)
        found = interval(treated, np.array([share for _, share in compared]), self.experiment.share)
        units = Counter(reader.variant for reader in self.readers.values())
        ratio = sample_ratio(units, weights)
        if ratio < SUSPECT:
            sentence = "Readers were not shared out as declared; trust no figure until the reason is found."
        elif found is None:
            sentence = f"Too early to say: each variant needs {FEWEST} readers with more than "
            sentence += f"{self.experiment.first_decisions} feeds, and the clicks of {FEWEST_OF_A_KIND}."
        elif found.decided:
            better, worse = (one, other) if found.difference > 0 else (other, one)
            sentence = f"{better} earns more than {worse}: {abs(found.difference):.3f} clicks a feed."
        else:
            sentence = f"No difference between {one} and {other} is shown yet."
        return {
            "name": self.experiment.name,
            "variants": {
                variant: {
                    "readers": units[variant],
                    "decisions": self.decisions[variant],
                    "clicks": self.rewards[variant],
                }
                for variant in weights
            },
            "difference": found and found.difference,
            "interval": found and [found.low, found.high],
            "decided": found is not None and found.decided,
            "sentence": sentence,
            "sample_ratio_p": ratio,
        }
