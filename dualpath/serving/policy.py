"""A policy: what was learned, as integer sums, and how it chooses.

Contexts are integers and rewards are 0 or 1, so everything that is learned is a sum of integers: of X'X over decisions
and of X'r over rewards. Addition of integers has no order and no rounding. Any order of the same events, and any
grouping of them, gives the same bits. A policy's name is the hash of all that its choices depend on.

LinUCB is that of Li et al., "A Contextual-Bandit Approach to Personalized News Article Recommendation" (2010);
Thompson sampling that of Agrawal and Goyal, "Thompson Sampling for Contextual Bandits with Linear Payoffs" (2013).
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from dualpath.errors import InputError
from dualpath.serving import linear
from dualpath.serving.choice import DRAWS, Choice, draw, mixed, ranked
from dualpath.serving.context import SCALE

MOST_DECISIONS = 2**62 // SCALE**2
"""With more, a sum of X'X could leave 64 bits."""
BYTES = 24
"""Bytes that one normal number is made of: twelve whole numbers of 16 bits."""


@dataclass(frozen=True, eq=False)
class State:
    """What d coordinates have taught: `decisions`, `rewards`, `squares` int64[d, d] = X'X, `earned` int64[d] = X'r."""

    decisions: int
    rewards: int
    squares: np.ndarray
    earned: np.ndarray

    @classmethod
    def empty(cls, width: int) -> "State":
        """Of no decision.

        >>> State.empty(2).with_decisions(np.array([[1, 2], [3, 4]])).squares.tolist()
        [[10, 14], [14, 20]]
        """
        return cls(0, 0, np.zeros((width, width), dtype=np.int64), np.zeros(width, dtype=np.int64))

    @property
    def width(self) -> int:
        """d, the length of a context's row."""
        return len(self.earned)

    def with_decisions(self, rows: np.ndarray) -> "State":
        """And decisions whose chosen candidates had these contexts, int64[n, d]."""
        rows = self._checked(rows)
        if self.decisions + len(rows) > MOST_DECISIONS:
            raise InputError(f"more than {MOST_DECISIONS:,} decisions do not fit into the sums; begin a new policy.")
        return replace(self, decisions=self.decisions + len(rows), squares=self.squares + rows.T @ rows)

    def with_rewards(self, rows: np.ndarray) -> "State":
        """And a reward of 1 for decisions whose chosen candidates had these contexts, int64[n, d]."""
        rows = self._checked(rows)
        return replace(self, rewards=self.rewards + len(rows), earned=self.earned + rows.sum(axis=0))

    def __add__(self, other: "State") -> "State":
        """What both have learned from different decisions."""
        if self.width != other.width:
            raise InputError(f"a state of {self.width} coordinates cannot be added to one of {other.width}.")
        return State(
            self.decisions + other.decisions,
            self.rewards + other.rewards,
            self.squares + other.squares,
            self.earned + other.earned,
        )

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        return checked(rows, self.width)

    def key(self) -> str:
        """What tells states apart: two that have learned the same have the same one."""
        return json.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal state."""
        return {
            "decisions": self.decisions,
            "rewards": self.rewards,
            "squares": self.squares.tolist(),
            "earned": self.earned.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: Any) -> "State":
        """Raises `InputError` for anything that is no state."""
        try:
            squares, earned = (np.array(plain[name], dtype=np.int64) for name in ("squares", "earned"))
            found = cls(int(plain["decisions"]), int(plain["rewards"]), squares, earned)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"this is no state of a policy ({error!r}); let the learner write it anew.") from None
        if earned.ndim != 1 or squares.shape != (len(earned), len(earned)):
            raise InputError(
                f"a state with X'X of shape {squares.shape} and X'r of {earned.shape} does not fit together."
            )
        return found


def checked(rows: np.ndarray, width: int) -> np.ndarray:
    """Contexts, if they are int64[n, width] within `SCALE`; raises `InputError` otherwise."""
    if rows.ndim != 2 or rows.shape[1] != width or not np.issubdtype(rows.dtype, np.integer):
        raise InputError(
            f"a context of shape {rows.shape} and type {rows.dtype} is not integers of {width} coordinates."
        )
    if rows.size and max(-int(rows.min()), int(rows.max())) > SCALE:
        raise InputError(f"a context has {int(np.abs(rows).max())}, and no coordinate may pass {SCALE}.")
    return rows.astype(np.int64, copy=False)


class Settings(BaseModel):
    """How a policy chooses.

    `exploration` is how many standard deviations LinUCB adds, or how wide Thompson sampling draws. `ridge` is the
    weight of the prior, by which nothing is expected of anything.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    algorithm: Literal["linucb", "thompson", "uniform"]
    exploration: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.3
    ridge: Annotated[PositiveFloat, Field(le=1e6)] = 1.0


@dataclass(frozen=True, eq=False)
class Policy:
    """Settings and a state, for contexts whose coordinates have `names`.

    >>> policy = Policy(Settings(algorithm="linucb"), ("bias", "interest"), State.empty(2))
    >>> choice = policy.choose(np.array([[1024, 0], [1024, 512]]), "decision 1")
    >>> choice.order, sum(choice.weights) == choice.total
    ((1, 0), True)
    """

    settings: Settings
    names: tuple[str, ...]
    state: State

    def __post_init__(self) -> None:
        if len(self.names) != self.state.width:
            raise InputError(
                f"the state has {self.state.width} coordinates, and the context {len(self.names)} "
                f"({', '.join(self.names)}); learn anew."
            )

    @cached_property
    def json(self) -> str:
        """Everything that choices depend on, in one spelling. A uniform policy depends on no state."""
        state = None if self.settings.algorithm == "uniform" else self.state.to_dict()
        plain = {"settings": self.settings.model_dump(), "names": list(self.names), "state": state}
        return json.dumps(plain, separators=(",", ":"), sort_keys=True)

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of `json`: the policy's name."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """The policy whose `json` this is; raises `InputError` for anything else."""
        try:
            plain = json.loads(text)
            settings, names = Settings.model_validate(plain["settings"]), tuple(plain["names"])
            state = State.empty(len(names)) if plain["state"] is None else State.from_dict(plain["state"])
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise InputError(f"this is no policy ({error}); let the learner write it anew.") from None
        found = cls(settings, names, state)
        _ = found._fitted
        return found

    @cached_property
    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        """The factor of X'X + ridge, and the mean of the parameters."""
        squares = self.state.squares / SCALE**2 + self.settings.ridge * np.eye(self.state.width)
        lower = linear.cholesky(squares)
        if not np.isfinite(lower).all():
            raise InputError("the state's squares are no sum of squares; let the learner write it anew.")
        return lower, linear.backward(lower, linear.forward(lower, self.state.earned / SCALE))

    def scores(self, context: np.ndarray) -> np.ndarray:
        """The reward that it expects of each candidate, float64[K]; a uniform policy expects nothing."""
        rows = checked(context, self.state.width) / SCALE
        if self.settings.algorithm == "uniform":
            return np.zeros(len(rows))
        return linear.products(rows, self._fitted[1])

    def choose(self, context: np.ndarray, seed: str) -> Choice:
        """Choose among candidates with these contexts, int64[K, d]; the same `seed` chooses the same."""
        scores = self.scores(context)
        if not len(scores):
            raise InputError("there is no candidate to choose; pass at least one.")
        if self.settings.algorithm == "uniform":
            weights, total = (1,) * len(scores), len(scores)
        else:
            weights, total = mixed(self._wins(context / SCALE, scores, seed))
        return Choice(ranked(draw(weights, total, seed), scores), weights, total, tuple(scores.tolist()))

    def best(self, context: np.ndarray) -> Choice:
        """Choose the best without exploring."""
        scores = self.scores(context)
        order = ranked(int(np.argmax(scores)), scores)
        weights = tuple(int(place == order[0]) for place in range(len(scores)))
        return Choice(order, weights, 1, tuple(scores.tolist()))

    def _wins(self, rows: np.ndarray, scores: np.ndarray, seed: str) -> list[int]:
        lower, mean = self._fitted
        width = self.settings.exploration
        if self.settings.algorithm == "linucb":
            bounds = scores + width * linear.widths(lower, rows)
            best = int(np.argmax(bounds))
            return [DRAWS if place == best else 0 for place in range(len(rows))]
        return linear.wins(lower, mean, rows, normals(seed, DRAWS, self.state.width), width).tolist()


def normals(seed: str, rows: int, columns: int) -> np.ndarray:
    """Nearly normal numbers, float64[rows, columns], mean 0 and variance 1, that depend on the `seed` alone.

    Each is a sum of twelve uniform ones (Irwin and Hall), 16 bits each of SHAKE-256: exact up to one division.

    >>> drawn = normals("any", 1000, 10)
    >>> bool(abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05)
    True
    """
    drawn = hashlib.shake_256(f"normals {seed}".encode()).digest(rows * columns * BYTES)
    parts = np.frombuffer(drawn, dtype="<u2").reshape(rows, columns, BYTES // 2)
    return (2 * parts.sum(axis=2, dtype=np.int64) - BYTES // 2 * 65_535) / 131_072
