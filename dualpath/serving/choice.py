"""Choosing by exact probabilities: integer weights over a total, and a draw that a decision's id determines."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 256
"""Parameter vectors that are drawn to count wins."""
MIXED = 32
"""One decision in so many is uniform, so no candidate's probability is 0."""
BITS = 256


@dataclass(frozen=True)
class Choice:
    """What a policy chose among K candidates.

    `order` are places, the chosen one first, then by falling `scores`. The probability of place i for position one is
    `weights[i] / total`. `scores` are the rewards that the policy expects.
    """

    order: tuple[int, ...]
    weights: tuple[int, ...]
    total: int
    scores: tuple[float, ...]

    @property
    def chosen(self) -> int:
        """The place of the chosen one."""
        return self.order[0]


def mixed(wins: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Weights of candidates that won so many of `DRAWS` draws, mixed with the uniform choice, and their total.

    >>> weights, total = mixed([256, 0])
    >>> weights, total, sum(weights) == total
    ((16128, 256), 16384, True)
    """
    places = len(wins)
    return tuple((MIXED - 1) * int(n) * places + DRAWS for n in wins), MIXED * DRAWS * places


def draw(weights: Sequence[int], total: int, seed: str) -> int:
    """A place, with probability `weights[place] / total`, that depends on the `seed` alone.

    The SHA-256 of the seed is a number of 256 bits; those in the last, incomplete run of `total` are drawn again.

    >>> draw([1, 0], 1, "any"), draw([0, 1], 1, "any")
    (0, 1)
    """
    most = (1 << BITS) // total * total
    for attempt in range(1 << 16):
        number = int.from_bytes(hashlib.sha256(f"choice {attempt} {seed}".encode()).digest(), "big")
        if number < most:
            break
    rest = number % total
    for place, weight in enumerate(weights):
        rest -= weight
        if rest < 0:
            return place
    raise ValueError(f"the weights {list(weights)} do not sum to {total}")


def ranked(chosen: int, scores: np.ndarray) -> tuple[int, ...]:
    """The chosen place, then the others by falling score; of equal ones the first.

    >>> ranked(2, np.array([0.1, 0.5, 0.2, 0.5]))
    (2, 1, 3, 0)
    """
    order = np.argsort(-scores, kind="stable").tolist()
    return (chosen, *(place for place in order if place != chosen))
