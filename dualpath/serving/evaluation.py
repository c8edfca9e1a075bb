"""What another policy would have earned on logged decisions: four estimators, each with its interval.

With the weight `w = target / propensity` of the chosen candidate, the reward `r`, and a model's predictions `q`:

| estimator | the mean over decisions of | what it needs |
|---|---|---|
| IPS | `w r` | right propensities |
| SNIPS | `w r`, divided by the mean of `w` | right propensities |
| DM | the predictions `q`, as often as the target policy chooses each candidate | a right model |
| DR | DM's number, plus `w (r - q of the chosen one)` | right propensities; the better the model, the narrower |

IPS (inverse propensity scoring): Horvitz and Thompson, 1952. SNIPS (self-normalized IPS): Swaminathan and Joachims,
The self-normalized estimator for counterfactual learning, 2015. DM (direct method) and DR (doubly robust): Dudík,
Langford and Li, Doubly robust policy evaluation and learning, 2011.

A standard error is that of the mean of n independent terms; SNIPS has the terms of its linear approximation,
`w (r - SNIPS) / mean(w)`. An interval is `value ± 1.96 standard errors`. That of DM is too narrow: it leaves out how
wrong the model is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table

from dualpath.errors import InputError
from dualpath.serving.logged_decisions import LoggedDecisions

WIDTH = NormalDist().inv_cdf(0.975)
"""Standard errors from the middle of a 95 % interval to its ends."""
FEW = 30
"""With fewer decisions or rewards, in effect, an interval holds the truth less often than it says: with six rewards
nine times of ten, and it is rather too low than too high. `python -m benchmarks evaluation` shows how often."""


@dataclass(frozen=True)
class Estimate:
    """What a policy earns a decision, with its standard error; `gain` is how much more than the logging policy.

    The gain's standard error is less than two separate ones would give, because both are of the same decisions.
    """

    estimator: str
    value: float
    standard_error: float
    gain: float
    gain_standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the value."""
        return _interval(self.value, self.standard_error)

    @property
    def gain_interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the gain."""
        return _interval(self.gain, self.gain_standard_error)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return vars(self) | {"interval": [*self.interval], "gain_interval": [*self.gain_interval]}


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    logged: what the logging policy earned, a plain mean
    estimates: what the target policy would have earned; the last one is the one to go by
    effective_decisions: how many decisions of equal weight would tell as much; `sum(w)**2 / sum(w**2)`, Kish, Survey
        Sampling, 1965
    effective_rewards: the same of rewards, with `w r` in place of `w`
    unsupported: the share of the target policy's choices that the logging policy never makes
    warnings: sentences on what makes the estimates doubtful
    """

    decisions: int
    logged: Estimate
    estimates: tuple[Estimate, ...]
    effective_decisions: float
    effective_rewards: float
    largest_weight: float
    unsupported: float
    warnings: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Whether the target policy earns more or less than the logging policy, where the decisions tell that."""
        best = self.estimates[-1]
        low, high = best.gain_interval
        apart = best.interval[0] > self.logged.interval[1] or best.interval[1] < self.logged.interval[0]
        told = "these decisions do not tell which policy earns more"
        if self.warnings:
            told = "in view of the warnings, " + told
        elif low > 0 or high < 0:
            told = f"the target policy earns {'more' if low > 0 else 'less'}"
        return (
            f"By {best.estimator} the target policy earns {_spelled(best.value, best.interval)} a decision, the "
            f"logging policy {_spelled(self.logged.value, self.logged.interval)}; the intervals "
            f"{'lie apart' if apart else 'overlap'}. The difference is {_spelled(best.gain, best.gain_interval)}; "
            f"{told}."
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return vars(self) | {
            "logged": self.logged.to_dict(),
            "estimates": [each.to_dict() for each in self.estimates],
            "warnings": [*self.warnings],
            "verdict": self.verdict,
        }

    def __rich__(self) -> Group:
        drawn = Table("", "earns", "standard error", "95 % interval", "gain", "95 % interval")
        for column in drawn.columns[1:]:
            column.justify = "right"
        for each in (self.logged, *self.estimates):
            drawn.add_row(
                each.estimator,
                *map(_number, (each.value, each.standard_error)),
                _span(each.interval),
                _number(each.gain),
                _span(each.gain_interval),
            )
        told = [
            f"Of {self.decisions:,} decisions {self.effective_decisions:,.1f} count, in effect, and "
            f"{self.effective_rewards:,.1f} rewards; the largest weight is {_number(self.largest_weight)}."
        ]
        if any(each.estimator == "DM" for each in self.estimates):
            told.append("The interval of DM leaves out how wrong the model is.")
        return Group(drawn, *told, *self.warnings, self.verdict)


def evaluate(decisions: LoggedDecisions, predictions: Any = None) -> Evaluation:
    """What the target policy would have earned, by IPS and SNIPS and, given predictions, by DM and DR.

    predictions: of a reward model, n rows with a number for each candidate; for DR to be unbiased, the model has
        not learned from the decision it predicts, as those of `dualpath.serving.reward_model`.

    Raises `InputError` if predictions do not fit, or if the target policy would never choose what was chosen.

    >>> always_second = [[0.0, 1.0]] * 4
    >>> logged = LoggedDecisions([1, 0, 1, 0], [1, 0, 0, 1], [[0.5, 0.5]] * 4, always_second)
    >>> found = evaluate(logged)
    >>> [(each.estimator, each.value, each.interval) for each in found.estimates][:1]
    [('IPS', 0.5, (-0.47..., 1.47...))]
    >>> found.effective_decisions, found.largest_weight
    (2.0, 2.0)
    """
    weights, rewards = decisions.weights, decisions.rewards
    if not weights.any():
        raise InputError("the target policy would never choose what was chosen; these decisions tell nothing of it.")
    mean, logged = float(rewards.mean()), rewards - rewards.mean()
    estimates = [
        _estimate(name, value, terms, mean, logged) for name, value, terms in _estimators(decisions, predictions)
    ]
    effective, rewarded = _effective(weights), _effective(np.abs(weights * rewards))
    return Evaluation(
        decisions=len(decisions),
        logged=_estimate("logged", mean, logged, mean, logged),
        estimates=tuple(estimates),
        effective_decisions=effective,
        effective_rewards=rewarded,
        largest_weight=float(weights.max()),
        unsupported=decisions.unsupported,
        warnings=tuple(_warnings(len(decisions), effective, rewarded, decisions.unsupported)),
    )


def _estimators(decisions: LoggedDecisions, predictions: Any) -> Iterator[tuple[str, float, np.ndarray]]:
    """Each estimator's value, and its n terms, which have the mean 0."""
    weights, rewards = decisions.weights, decisions.rewards
    weighed = weights * rewards
    yield "IPS", float(weighed.mean()), weighed - weighed.mean()
    normalized = float(weighed.sum() / weights.sum())
    yield "SNIPS", normalized, weights * (rewards - normalized) / weights.mean()
    if predictions is None:
        return
    predicted = decisions.flat(predictions, "predictions")
    if predicted.ndim != 1:
        raise InputError("predictions has more than one number for a candidate; give the reward to expect.")
    direct = decisions.expected(predicted)
    yield "DM", float(direct.mean()), direct - direct.mean()
    robust = direct + weights * (rewards - predicted[decisions.at])
    yield "DR", float(robust.mean()), robust - robust.mean()


def _estimate(name: str, value: float, terms: np.ndarray, mean: float, logged: np.ndarray) -> Estimate:
    return Estimate(name, value, _standard_error(terms), value - mean, _standard_error(terms - logged))


def _standard_error(terms: np.ndarray) -> float:
    n = len(terms)
    return float(np.sqrt(np.sum(terms**2) / (n - 1) / n))


def _effective(weights: np.ndarray) -> float:
    """Kish's effective size, of numbers that are not negative; 0 of nothing but zeros."""
    if not weights.any():
        return 0.0
    shares = weights / weights.max()  # the square of a tiny number would be 0
    return float(shares.sum() ** 2 / np.sum(shares**2))


def _warnings(decisions: int, effective: float, rewarded: float, unsupported: float) -> Iterator[str]:
    if effective < FEW:
        yield (
            f"Of {decisions:,} decisions only {effective:.1f} count, in effect: the target policy is too far from the "
            "logging policy for these intervals."
        )
    if rewarded < FEW:
        yield f"Only {rewarded:.1f} rewards count, in effect: the intervals are a rough guess."
    if unsupported:
        yield (
            f"{unsupported:.2%} of the target policy's choices were never to be made by the logging policy: "
            "IPS counts them as 0, SNIPS as the mean of the others, DM and DR as the model says."
        )


def _interval(middle: float, standard_error: float) -> tuple[float, float]:
    return middle - WIDTH * standard_error, middle + WIDTH * standard_error


def _number(value: float) -> str:
    return f"{value:.3g}"


def _span(interval: tuple[float, float]) -> str:
    return " to ".join(map(_number, interval))


def _spelled(value: float, interval: tuple[float, float]) -> str:
    return f"{_number(value)} ({_span(interval)})"
