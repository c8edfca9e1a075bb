"""How much a policy misses against the best choice, what a decision costs, and a LinUCB of NumPy's beside it.

Each of `STEPS` decisions has `CANDIDATES` candidates of `WIDTH` coordinates: a constant, and a random direction. The
odds of a reward are linear in them. Regret is the sum of the odds that the choices have missed.
"""


import numpy as np

from dualpath.serving.context import SCALE
from dualpath.serving.policy import Policy, Settings, State

STEPS, CANDIDATES, WIDTH = 4_000, 20, 8
SEEDS = range(6)
NAMES = ("bias", *(f"direction_{n}" for n in range(1, WIDTH)))
ALGORITHMS = ("linucb", "thompson", "uniform")


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
