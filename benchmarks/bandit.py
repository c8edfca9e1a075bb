"""How much a policy misses against the best choice, what a decision costs, and a LinUCB of NumPy's beside it.

Each of `STEPS` decisions has `CANDIDATES` candidates of `WIDTH` coordinates: a constant, and a random direction. The
odds of a reward are linear in them. Regret is the sum of the odds that the choices have missed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.measure import Figure, Sheet, take_turns
from dualpath.serving.context import SCALE
from dualpath.serving.policy import Policy, Settings, State

STEPS, CANDIDATES, WIDTH = 4_000, 20, 8
SEEDS = range(6)
NAMES = ("bias", *(f"direction_{n}" for n in range(1, WIDTH)))
ALGORITHMS = ("linucb", "thompson", "uniform")
PEER = "LinUCB of NumPy"


def regret(algorithm: str, seed: int, exploration: float | None = None) -> float:
    """The regret of one run, which learns after each decision."""
    random = np.random.default_rng(seed)
    taste = random.normal(size=WIDTH - 1)
    odds_of = np.concatenate([[0.5], 0.5 * taste / np.linalg.norm(taste)])
    plain = {"algorithm": algorithm} | ({} if exploration is None else {"exploration": exploration})
    settings, state, missed = Settings.model_validate(plain), State.empty(WIDTH), 0.0
    for step in range(STEPS):
        context = contexts(random)
        odds = context / SCALE @ odds_of
        chosen = Policy(settings, NAMES, state).choose(context, f"{seed} {step}").chosen
        missed += float(odds.max() - odds[chosen])
        state = state.with_decisions(context[[chosen]])
        if random.random() < odds[chosen]:
            state = state.with_rewards(context[[chosen]])
    return missed


def contexts(random: np.random.Generator) -> np.ndarray:
    """Candidates: a constant and a direction of length 1, as integers."""
    directions = random.normal(size=(CANDIDATES, WIDTH - 1))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.round(np.column_stack([np.ones(CANDIDATES), directions]) * SCALE).astype(np.int64)


def mean_regret(algorithm: str, exploration: float | None = None) -> float:
    """The mean regret of the runs with all seeds."""
    return float(np.mean([regret(algorithm, seed, exploration) for seed in SEEDS]))


def run() -> Iterator[Figure | Sheet]:
    """Regret by algorithm, and the time of a decision."""
    found = {algorithm: mean_regret(algorithm) for algorithm in ALGORITHMS}
    yield Sheet(
        f"regret after {STEPS:,} decisions among {CANDIDATES} candidates of {WIDTH} coordinates, {len(SEEDS)} seeds",
        {
            name: f"{missed:,.0f}" + ("" if name == "uniform" else f", {missed / found['uniform']:.1%} of uniform")
            for name, missed in found.items()
        },
        {"regret": found},
    )
    random = np.random.default_rng(7)
    state = State.empty(WIDTH).with_decisions(np.concatenate([contexts(random) for _ in range(200)]))
    state = state.with_rewards(contexts(random))
    policies = {name: Policy(Settings.model_validate({"algorithm": name}), NAMES, state) for name in ALGORITHMS[:2]}
    asked = [np.concatenate([contexts(random) for _ in range(3)])[:50] for _ in range(2_000)]

    def compare(_: np.ndarray, answers: Mapping[str, Any]) -> None:
        assert int(np.argmax(answers["LinUCB"].weights)) == answers[PEER]

    yield take_turns(
        "a decision among 50 candidates",
        {
            "LinUCB": lambda context: policies["linucb"].choose(context, "a decision"),
            "Thompson, 256 draws": lambda context: policies["thompson"].choose(context, "a decision"),
            PEER: lambda context: numpy_linucb(state, context),
        },
        asked,
        compare,
        warm_up=50,
    )


def numpy_linucb(state: State, context: np.ndarray) -> int:
    """The arm of LinUCB as it is written in most places: it solves each time, has no probabilities and no exploration
    but its own, and gives other bits on other machines."""
    rows = context / SCALE
    squares = state.squares / SCALE**2 + np.eye(state.width)
    mean, moved = np.linalg.solve(squares, state.earned / SCALE), np.linalg.solve(squares, rows.T)
    return int(np.argmax(rows @ mean + 0.3 * np.sqrt((rows.T * moved).sum(axis=0))))
