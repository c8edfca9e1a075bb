"""An experiment read from the event log: what each reader's first decisions earned, and what was known before them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dualpath.errors import InputError
from dualpath.repo import Repo
from dualpath.serving import analysis, replay
from dualpath.serving.decision import Decision
from dualpath.serving.ranking import Ranking
from dualpath.serving.reading import READER, training
from dualpath.serving.sequential import Interval, interval


@dataclass(frozen=True)
class Readers:
    """The readers of an experiment who made more than its first decisions, in the order in which they came.

    `treated` bool[n] says who has the first variant; `outcomes` float64[n] are the shares of the first decisions that
    were rewarded; `entered_at` int64[n] is the first decision's instant, microseconds UTC; `units` counts all readers
    of each variant, also those who made fewer.
    """

    names: tuple[str, ...]
    treated: np.ndarray
    outcomes: np.ndarray
    entered_at: np.ndarray
    units: dict[str, int]


@dataclass(frozen=True)
class Findings:
    """What the experiment says: for one look with and without the covariate, and for any number of looks."""

    sample_ratio_p: float
    plain: analysis.Difference | None
    adjusted: analysis.Difference | None
    at_any_time: Interval | None


def readers(repo: Repo, ranking: Ranking, made: Sequence[Decision]) -> Readers:
    """Each reader of the experiment, with rewards by a training set; the first two variants are compared."""
    experiment, first = ranking.experiment, ranking.experiment.first_decisions
    ordered = sorted((d for d in made if not d.degraded), key=lambda d: (d.decided_at, d.decision_id))
    of_reader: dict[str, list[Decision]] = defaultdict(list)
    for each in {d.decision_id: d for d in ordered}.values():
        if experiment.assign(each.user_id) == each.variant:
            of_reader[each.user_id].append(each)
    one, other = experiment.compared
    whole = {name: own for name, own in of_reader.items() if len(own) > first and own[0].variant in (one, other)}
    counted = [each for own in whole.values() for each in own[:first]]
    shares = replay.rewards(repo, ranking, counted).reshape(-1, first).mean(axis=1) if counted else np.empty(0)
    units = {variant: sum(own[0].variant == variant for own in of_reader.values()) for variant in experiment.variants}
    return Readers(
        names=tuple(whole),
        treated=np.array([own[0].variant == one for own in whole.values()], dtype=bool),
        outcomes=shares,
        entered_at=np.array([own[0].decided_at for own in whole.values()], dtype=np.int64),
        units=units,
    )


def covariate(repo: Repo, name: str, found: Readers) -> np.ndarray:
    """A feature of each reader at the instant of the first decision, float64[n]: of the time before, so no decision of
    the experiment has changed it. NaN where it is null. Raises `InputError` for a feature that is no number."""
    column = training(repo, {READER: found.names}, found.entered_at.tolist(), [name])[name]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise InputError(f"the covariate '{name}' holds {column.type}; name a feature that is a number.")
    return np.array([np.nan if value is None else float(value) for value in column.to_pylist()])


def findings(repo: Repo, ranking: Ranking, found: Readers) -> Findings:
    """What the readers say; None where there are too few of them."""
    experiment = ranking.experiment
    ratio = analysis.sample_ratio(found.units, experiment.variants)
    if min(found.treated.sum(), (~found.treated).sum()) < 2:
        return Findings(ratio, None, None, None)
    adjusted = None
    if experiment.covariate:
        adjusted = analysis.cuped(found.treated, found.outcomes, covariate(repo, experiment.covariate, found))
    plain = analysis.difference(found.treated, found.outcomes)
    return Findings(ratio, plain, adjusted, interval(found.treated, found.outcomes, experiment.share))
