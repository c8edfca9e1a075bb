"""Makes decisions again from the event log: the same context, the same probabilities, the same article.

And the sums that policies are made of, with the rewards that a training set says instead of those that the learner has
seen: the same bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from dualpath.log.tail import Tail
from dualpath.parity.events import Log
from dualpath.repo import Repo
from dualpath.serving import policies
from dualpath.serving.decision import COLUMNS, Decision, parsed
from dualpath.serving.learner import KEY, Outcome
from dualpath.serving.policy import Policy, State
from dualpath.serving.ranking import Ranking
from dualpath.serving.reading import Features, instants, training
from dualpath.view import KNOWN_AT

AT_ONCE = 2_000
"""Decisions whose features are asked for in one training set."""


@dataclass
class Replayed:
    """How many decisions were made again. `differing` names those that came out otherwise, and in what."""

    decisions: int = 0
    candidates: int = 0
    without_features: int = 0
    differing: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.decisions > 0 and not self.differing


def decisions(repo: Repo, source: str) -> list[Decision]:
    """The decisions of the event log, in its order; events of their source that are none are left out."""
    found, _ = parsed(Tail(repo.storage(source), repo.sources[source]).read(COLUMNS))
    return found


def find(repo: Repo, source: str, name: str) -> Decision | None:
    """The decision of an id, if the event log has it."""
    log = Log(repo.storage(source), repo.sources[source])
    for rows in log.batches(COLUMNS, log.reading.column(KEY) == name):
        if found := parsed(pa.Table.from_batches([rows]))[0]:
            return found[0]
    return None


def replay(repo: Repo, ranking: Ranking, made: Sequence[Decision]) -> Replayed:
    """Make decisions again. Raises `StateError` for a policy whose file is gone, and as `get_historical_features`."""
    features, found = Features(repo, ranking.context.features), Replayed()
    known = {policy.hash: policy for policy in policies.untaught(ranking).values()}
    informed = [each for each in made if each.context is not None]
    found.without_features = len(made) - len(informed)
    for some in _batches(informed):
        for decision, asked in zip(some, features.trained(some), strict=True):
            if decision.policy not in known:
                known[decision.policy] = policies.load(repo, decision.policy)
            found.decisions += 1
            found.candidates += len(decision.candidates)
            differs = difference(decision, ranking.context.matrix(asked), known[decision.policy])
            if differs:
                found.differing[decision.decision_id] = differs
    return found


def difference(decision: Decision, context: np.ndarray, policy: Policy) -> str:
    """In what a decision differs from one made of this context by its policy; empty if in no bit."""
    if decision.context is None or not np.array_equal(decision.context, context):
        return "context"
    again = policy.best(context) if decision.degraded else policy.choose(context, decision.decision_id)
    pairs = {
        "weights": ((decision.weights, decision.total), (again.weights, again.total)),
        "scores": (np.array(decision.scores).tobytes(), np.array(again.scores).tobytes()),
        "ranking": (decision.ranking, again.order),
    }
    return next((name for name, (one, other) in pairs.items() if one != other), "")


def rebuilt(repo: Repo, ranking: Ranking, made: Sequence[Decision]) -> State:
    """What decisions have taught, by the rewards of a training set; each decision counts once, in any order."""
    learned = [d for d in {d.decision_id: d for d in made}.values() if d.teaches]
    state = State.empty(len(ranking.context.names))
    if learned:
        rows = np.stack([d.row for d in learned])
        state = state.with_decisions(rows).with_rewards(rows[rewards(repo, ranking, learned)])
    return state


def rewards(repo: Repo, ranking: Ranking, made: Sequence[Decision]) -> np.ndarray:
    """Whether each decision earned its reward, bool[n], by a training set."""
    outcome, found = Outcome.declared(repo, ranking), list[bool]()
    name = f"{outcome.view.name}:{outcome.feature}"
    for some in _batches(made):
        columns = {
            KEY: [d.decision_id for d in some],
            KNOWN_AT: instants([outcome.known_at(d.decided_at) for d in some]),
        }
        earned = training(repo, columns, [outcome.asked_at(d.decided_at) for d in some], [name])
        found += [bool(value) for value in earned[name].to_pylist()]
    return np.array(found, dtype=bool)


def _batches(made: Sequence[Decision]) -> Iterator[list[Decision]]:
    for start in range(0, len(made), AT_ONCE):
        yield [*made[start : start + AT_ONCE]]
