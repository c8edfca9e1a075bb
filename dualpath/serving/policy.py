"""A policy: what was learned, as integer sums, and how it chooses.

Contexts are integers and rewards are 0 or 1, so everything that is learned is a sum of integers: of X'X over decisions
and of X'r over rewards. Addition of integers has no order and no rounding. Any order of the same events, and any
grouping of them, gives the same bits. A policy's name is the hash of all that its choices depend on.

LinUCB is that of Li et al., "A Contextual-Bandit Approach to Personalized News Article Recommendation" (2010), with one
parameter vector for all candidates; Thompson sampling that of Agrawal and Goyal, "Thompson Sampling for Contextual
Bandits with Linear Payoffs" (2013). docs/bandit.md has the formulas.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dualpath.errors import InputError
from dualpath.serving import linear
from dualpath.serving.choice import DRAWS, MIXED, Choice, draw, mixed, ranked
from dualpath.serving.context import SCALE

MOST_DECISIONS = 2**62 // SCALE**2
"""With more, a sum of X'X could leave 64 bits."""
MOST_CANDIDATES = 100
"""That one decision is among."""
NAMES = TypeAdapter(tuple[str, ...])


@dataclass(frozen=True, eq=False)
class State:
    """What d coordinates have taught: `decisions`, `rewards`, `squares` int64[d, d] = X'X, `earned` int64[d] = X'r.

    It never changes: it keeps copies of the arrays, which are read-only. Raises `InputError` for sums that no contexts
    give, and for so many decisions that sums could leave 64 bits.
    """

    decisions: int
    rewards: int
    squares: np.ndarray
    earned: np.ndarray

    def __post_init__(self) -> None:
        for name in ("squares", "earned"):
            owned = getattr(self, name).copy()
            owned.setflags(write=False)
            object.__setattr__(self, name, owned)
        squares, earned = self.squares, self.earned
        if earned.ndim != 1 or squares.shape != (len(earned), len(earned)):
            raise InputError(
                f"a state with X'X of shape {squares.shape} and X'r of {earned.shape} does not fit together."
            )
        # Within this bound no sum can have wrapped around, because each decision adds at most SCALE^2.
        if max(self.decisions, self.rewards) > MOST_DECISIONS:
            raise InputError(f"more than {MOST_DECISIONS:,} decisions do not fit into the sums; begin a new policy.")
        if (
            largest(squares) > self.decisions * SCALE**2
            or largest(earned) > self.rewards * SCALE
            or min(self.decisions, self.rewards, squares.diagonal().min(initial=0)) < 0
            or not np.array_equal(squares, squares.T)
        ):
            raise InputError(
                f"{self.decisions} decisions and {self.rewards} rewards give no such sums; let the learner write the "
                "state anew."
            )

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
        rows = checked(rows, self.width)
        return replace(self, decisions=self.decisions + len(rows), squares=self.squares + rows.T @ rows)

    def with_rewards(self, rows: np.ndarray) -> "State":
        """And a reward of 1 for decisions whose chosen candidates had these contexts, int64[n, d]."""
        rows = checked(rows, self.width)
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
            # NumPy and int() take 2.7, true and "12" for whole numbers; spelled again, these differ.
            same = json.dumps(found.to_dict(), sort_keys=True) == json.dumps(plain, sort_keys=True)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f"this is no state of a policy ({error!r}); let the learner write it anew.") from None
        if not same:
            raise InputError("this is no state of a policy, which is whole numbers; let the learner write it anew.")
        return found


def checked(rows: np.ndarray, width: int) -> np.ndarray:
    """Contexts, if they are int64[n, width] within `SCALE`; raises `InputError` otherwise."""
    if rows.ndim != 2 or rows.shape[1] != width or not np.issubdtype(rows.dtype, np.integer):
        raise InputError(
            f"a context of shape {rows.shape} and type {rows.dtype} is not integers of {width} coordinates."
        )
    if (most := largest(rows)) > SCALE:
        raise InputError(f"a context has a coordinate of size {most}, and none may pass {SCALE}.")
    return rows.astype(np.int64, copy=False)


def largest(numbers: np.ndarray) -> int:
    """The largest absolute value of integers, 0 of none.

    >>> largest(np.array([-(2**63), 5])) == 2**63
    True
    """
    return max(-int(numbers.min(initial=0)), int(numbers.max(initial=0)))


class Settings(BaseModel):
    """How a policy chooses.

    `exploration` is how many standard deviations LinUCB adds, or how wide Thompson sampling draws. `ridge` is the
    weight of the prior, by which nothing is expected of anything; with a smaller one, a billion decisions on
    coordinates that always agree would leave nothing but rounding.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    algorithm: Literal["linucb", "thompson", "uniform"]
    exploration: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.3
    ridge: Annotated[float, Field(ge=0.001, le=1e6, allow_inf_nan=False)] = 1.0


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
        if self.state.rewards > self.state.decisions:
            raise InputError(
                f"the state has {self.state.rewards} rewards of {self.state.decisions} decisions, and each earns 0 or "
                "1; learn anew."
            )

    @cached_property
    def json(self) -> str:
        """Everything that choices depend on, in one spelling; a uniform policy depends on no state."""
        state = None if self.settings.algorithm == "uniform" else self.state.to_dict()
        plain = {
            "settings": self.settings.model_dump(),
            "names": list(self.names),
            "state": state,
            "scale": SCALE,
            "draws": DRAWS,
            "mixed": MIXED,
        }
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
            settings, names = Settings.model_validate(plain["settings"]), NAMES.validate_python(plain["names"])
            state = State.empty(len(names)) if plain["state"] is None else State.from_dict(plain["state"])
            found = cls(settings, names, state)
        except (KeyError, TypeError, ValueError, ValidationError, RecursionError) as error:
            raise InputError(f"this is no policy ({error}); let the learner write it anew.") from None
        if found.json != text:
            raise InputError("this is no policy as this version writes it; let the learner write it anew.")
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
        scores = self._candidates(context)
        if self.settings.algorithm == "uniform":
            weights, total = (1,) * len(scores), len(scores)
        else:
            weights, total = mixed(self._wins(context / SCALE, scores, seed))
        return Choice(ranked(draw(weights, total, seed), scores), weights, total, tuple(scores.tolist()))

    def best(self, context: np.ndarray) -> Choice:
        """Choose the best without exploring."""
        scores = self._candidates(context)
        order = ranked(int(np.argmax(scores)), scores)
        weights = tuple(int(place == order[0]) for place in range(len(scores)))
        return Choice(order, weights, 1, tuple(scores.tolist()))

    def _candidates(self, context: np.ndarray) -> np.ndarray:
        scores = self.scores(context)
        if not 1 <= len(scores) <= MOST_CANDIDATES:
            raise InputError(f"{len(scores)} candidates cannot be chosen from; pass 1 to {MOST_CANDIDATES}.")
        return scores

    def _wins(self, rows: np.ndarray, scores: np.ndarray, seed: str) -> list[int]:
        lower, mean = self._fitted
        width = self.settings.exploration
        if self.settings.algorithm == "linucb":
            bounds = scores + width * linear.widths(lower, rows)
            best = int(np.argmax(bounds))
            return [DRAWS if place == best else 0 for place in range(len(rows))]
        return linear.wins(lower, mean, rows, normals(seed, self.state.width, DRAWS), width).tolist()


def normals(seed: str, rows: int, columns: int) -> np.ndarray:
    """Nearly normal numbers, float64[rows, columns], mean 0 and variance 1, that depend on the `seed` alone.

    They are made of the words of PCG64, which NumPy keeps the same in every version (NEP 19), unlike its own normals.
    Policies that choose with the same seed draw the same numbers, so they differ by what they have learned alone.

    >>> drawn = normals("any", 10, 1000)
    >>> bool(abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05)
    True
    """
    source = np.random.PCG64(int.from_bytes(hashlib.sha256(f"normals {seed}".encode()).digest(), "big"))
    return linear.normals(source.random_raw(rows * columns * linear.WORDS), rows, columns)
