"""Logged decisions whose truth is known: what each policy earns is a finite sum, not an estimate."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dualpath.serving.logged_decisions import LoggedDecisions

SITUATIONS, COORDINATES = 40, 3
SLOPES = np.array([0.2, -0.15, 0.1])
"""A candidate's score is 0.5 and these times its coordinates; rewards go by it, so a linear model is right."""


@dataclass(frozen=True)
class World:
    """Situations that are equally likely, each with two to six candidates.

    For each situation there are K contexts [K, 3], K probabilities of a reward, and K of each policy's choices.
    """

    contexts: list[np.ndarray]
    rewarded: list[np.ndarray]
    logging: list[np.ndarray]
    target: list[np.ndarray]

    @property
    def truth(self) -> float:
        """What the target policy earns a decision."""
        return self._earned(self.target)

    @property
    def logged(self) -> float:
        """What the logging policy earns a decision."""
        return self._earned(self.logging)

    def _earned(self, policy: list[np.ndarray]) -> float:
        return float(np.mean([p @ r for p, r in zip(policy, self.rewarded, strict=True)]))

    def draw(self, n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The situations of n decisions, the positions that the logging policy chose, and the rewards."""
        padded = np.zeros((SITUATIONS, 6))
        for row, p in zip(padded, self.logging, strict=True):
            row[: len(p)] = p
        situation = random.integers(0, SITUATIONS, n)
        chosen = (padded.cumsum(axis=1)[situation] < random.random((n, 1))).sum(axis=1)
        chosen = np.minimum(chosen, np.array([len(p) for p in self.logging])[situation] - 1)
        likely = np.array([self.rewarded[s][c] for s, c in zip(situation, chosen, strict=True)])
        return situation, chosen, (random.random(n) < likely).astype(np.float64)


def world(rate: float = 0.5, sharpness: float = 8.0) -> World:
    """A world whose logging policy has a slight idea of what is good, and whose target policy has a better one.

    rate: how likely the reward of an average candidate is, at most 0.5
    sharpness: of the target policy, a softmax of the scores
    """
    random = np.random.default_rng(1)
    sizes = random.integers(2, 7, SITUATIONS)
    contexts = [random.integers(-8, 9, (size, COORDINATES)) / 8 for size in sizes]
    scores = [0.5 + x @ SLOPES for x in contexts]
    rewarded = [2 * rate * each for each in scores]
    return World(contexts, rewarded, [_softmax(2 * s) for s in scores], [_softmax(sharpness * s) for s in scores])


def replications(made: World, n: int, times: int, seed: int) -> Iterator[tuple[LoggedDecisions, np.ndarray]]:
    """Logs of n decisions each, drawn anew, with the situations of the decisions."""
    random = np.random.default_rng(seed)
    for _ in range(times):
        situation, chosen, rewards = made.draw(n, random)
        yield LoggedDecisions(chosen, rewards, of(made.logging, situation), of(made.target, situation)), situation


def of(rows: list[np.ndarray], situation: np.ndarray) -> list[np.ndarray]:
    """Each decision's row, from those of the situations."""
    return [rows[s] for s in situation]


def _softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()
