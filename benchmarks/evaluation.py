"""How close estimators come to what a policy really earns, how often their intervals hold it, and real logs."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Sheet
from dualpath.serving.evaluation import evaluate
from dualpath.serving.reward_model import cross_fitted
from parity_tests.serving.open_bandit import CAMPAIGNS, what_thompson_sampling_would_earn
from parity_tests.serving.simulated_logs import of, replications, world

DECISIONS, TIMES = 1_000, 300


def run() -> Iterator[Sheet]:
    """Bias, spread and coverage of each estimator; then the Open Bandit sample, if it is there."""
    for rate in (0.5, 0.02):
        made, values, held = world(rate), dict[str, list[float]](), dict[str, list[bool]]()
        for number, (decisions, situation) in enumerate(replications(made, DECISIONS, TIMES, seed=4)):
            ids = [f"{number} {place}" for place in range(DECISIONS)]
            found = evaluate(decisions, cross_fitted(decisions, of(made.contexts, situation), ids))
            for each in found.estimates:
                values.setdefault(each.estimator, []).append(each.value)
                held.setdefault(each.estimator, []).append(each.interval[0] < made.truth < each.interval[1])
        yield Sheet(
            f"{TIMES} logs of {DECISIONS:,} decisions; the target earns {made.truth:.4f}, the logged {made.logged:.4f}",
            {
                name: f"mean {np.mean(found):.4f}, spread {np.std(found):.4f}, interval holds {np.mean(held[name]):.0%}"
                for name, found in values.items()
            },
            {"truth": made.truth, "means": {name: float(np.mean(found)) for name, found in values.items()}},
        )
    if "DUALPATH_DATA" in os.environ:
        for campaign in CAMPAIGNS:
            found = what_thompson_sampling_would_earn(Path(os.environ["DUALPATH_DATA"]), campaign)
            cells = {}
            for each in (found.logged, *found.estimates):
                low, high = each.interval
                cells[each.estimator] = f"{each.value:.4f}, {low:.4f} to {high:.4f}"
            yield Sheet(f"Open Bandit sample, {campaign}: {found.verdict}", cells, found.to_dict())
