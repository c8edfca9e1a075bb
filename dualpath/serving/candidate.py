"""What a candidate policy would have earned on the decisions of the log.

Decisions count that had features, whose attribution window and grace have passed, and that were given to their reader
as the policy chose. The probabilities of the log are exact; those of the candidate are of the same contexts.
"""

from collections.abc import Sequence

import numpy as np

from dualpath.errors import InputError
from dualpath.repo import Repo
from dualpath.serving import replay
from dualpath.serving.context import SCALE
from dualpath.serving.decision import Decision
from dualpath.serving.evaluation import Evaluation, evaluate
from dualpath.serving.learner import Outcome
from dualpath.serving.logged_decisions import LoggedDecisions
from dualpath.serving.policy import Policy
from dualpath.serving.ranking import Ranking
from dualpath.serving.reward_model import cross_fitted

FEWEST = 50
"""With fewer decisions nothing is estimated."""


def evaluated(repo: Repo, ranking: Ranking, made: Sequence[Decision], candidate: Policy, now: int) -> Evaluation:
    """Estimate by IPS, SNIPS, DM and DR; `now` is microseconds UTC.

    A candidate that has learned from the same decisions is flattered: give one that was taught before, or none.
    Raises `InputError` for a candidate of other coordinates, and if there are fewer than `FEWEST` decisions.
    """
    if candidate.names != ranking.context.names:
        raise InputError(
            f"the candidate is for the coordinates {', '.join(candidate.names)}, and the ranking declares "
            f"{', '.join(ranking.context.names)}; give one for these."
        )
    outcome = Outcome.declared(repo, ranking)
    each_once = {d.decision_id: d for d in made if d.teaches}
    closed = [d for d in each_once.values() if outcome.known_at(d.decided_at) <= now]
    if len(closed) < FEWEST:
        raise InputError(
            f"{len(closed)} decisions of the log have features and a closed attribution window; {FEWEST} are needed."
        )
    contexts = [d.context for d in closed if d.context is not None]
    choices = [candidate.choose(c, d.decision_id) for c, d in zip(contexts, closed, strict=True)]
    logged = LoggedDecisions(
        [d.chosen for d in closed],
        replay.rewards(repo, ranking, closed),
        [np.array(d.weights) / d.total for d in closed],
        [np.array(c.weights) / c.total for c in choices],
    )
    rows = [context / SCALE for context in contexts]
    return evaluate(logged, cross_fitted(logged, rows, [d.decision_id for d in closed]))
