"""What an evaluation says is exact arithmetic, and it says when it cannot be trusted."""

import io
import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dualpath.errors import InputError
from dualpath.serving.evaluation import WIDTH, Evaluation, evaluate
from dualpath.serving.logged_decisions import LoggedDecisions
from parity_tests.serving.simulated_logs import replications, world

HALVES = [[0.5, 0.5]] * 4
LOG: dict[str, Any] = {"chosen": [0, 1, 0, 1], "rewards": [0, 1, 1, 0], "propensities": HALVES, "target": HALVES}


def simulated(n: int = 300, rate: float = 0.5) -> LoggedDecisions:
    [(decisions, _)] = replications(world(rate), n, times=1, seed=9)
    return decisions


def two_candidates(n: int, propensity: float, target: float, rewards: Any) -> LoggedDecisions:
    """Decisions in turn for the first and the second candidate; the probabilities are those of the first."""
    rows = [[propensity, 1 - propensity]] * n, [[target, 1 - target]] * n
    return LoggedDecisions(np.arange(n) % 2, rewards, *rows)


def by_name(found: Evaluation) -> dict[str, Any]:
    return {each.estimator: each for each in found.estimates}


def test_every_figure_is_that_of_a_loop_over_fractions() -> None:
    random = np.random.default_rng(4)
    propensities, target, predictions, chosen, rewards = [], [], [], [], []
    for size in random.integers(1, 6, 40).tolist():
        counts = random.multinomial(64 - size, np.full(size, 1 / size)) + 1
        propensities.append([Fraction(int(each), 64) for each in counts])
        target.append([Fraction(int(each), 64) for each in random.multinomial(64, np.full(size, 1 / size))])
        predictions.append([Fraction(int(each), 8) for each in random.integers(0, 9, size)])
        chosen.append(int(random.integers(size)))
        rewards.append(Fraction(int(random.integers(-3, 4)), 4))

    weights = [t[c] / p[c] for t, p, c in zip(target, propensities, chosen, strict=True)]
    direct = [sum(a * b for a, b in zip(t, q, strict=True)) for t, q in zip(target, predictions, strict=True)]
    weighed = [w * r for w, r in zip(weights, rewards, strict=True)]
    snips = sum(weighed) / sum(weights)
    terms = {
        "IPS": weighed,
        "SNIPS": [snips + w * (r - snips) * len(weights) / sum(weights) for w, r in zip(weights, rewards, strict=True)],
        "DM": direct,
        "DR": [d + w * (r - q[c]) for d, w, r, q, c in zip(direct, weights, rewards, predictions, chosen, strict=True)],
    }
    floats = [[[float(x) for x in row] for row in rows] for rows in (propensities, target, predictions)]
    found = evaluate(LoggedDecisions(chosen, [float(r) for r in rewards], *floats[:2]), floats[2])
    for name, each in terms.items():
        gains = [x - r for x, r in zip(each, rewards, strict=True)]
        said = by_name(found)[name]
        assert said.value == pytest.approx(float(sum(each) / 40), rel=1e-12)
        assert said.gain == pytest.approx(float(sum(gains) / 40), rel=1e-12)
        assert said.standard_error == pytest.approx(_error(each), rel=1e-12)
        assert said.gain_standard_error == pytest.approx(_error(gains), rel=1e-12)
    assert found.effective_decisions == pytest.approx(float(sum(weights) ** 2 / sum(w * w for w in weights)), rel=1e-12)
    assert found.largest_weight == max(weights)


def _error(terms: list[Fraction]) -> float:
    n, mean = len(terms), sum(terms) / len(terms)
    return float(sum((x - mean) ** 2 for x in terms) / (n - 1) / n) ** 0.5


def test_the_logging_policy_earns_its_plain_mean_to_the_bit() -> None:
    drawn = simulated()
    sizes = np.diff(drawn.starts)
    uniform = [np.full(size, 1 / size) for size in sizes]
    found = evaluate(LoggedDecisions(drawn.at - drawn.starts[:-1], drawn.rewards, uniform, uniform))
    mean = Fraction(int(drawn.rewards.sum()), len(drawn))
    for each in found.estimates:
        assert (each.value, each.gain, each.gain_standard_error) == (float(mean), 0, 0)
        assert each.standard_error == found.logged.standard_error > 0
    assert (found.effective_decisions, found.largest_weight) == (len(drawn), 1)


def test_an_interval_is_a_normal_one_of_95_percent() -> None:
    [ips, _] = evaluate(simulated()).estimates
    assert pytest.approx(1.96, abs=1e-4) == WIDTH
    assert ips.interval == (ips.value - WIDTH * ips.standard_error, ips.value + WIDTH * ips.standard_error)
    assert ips.gain_interval[0] < ips.gain < ips.gain_interval[1]


def test_without_predictions_there_are_ips_and_snips_alone() -> None:
    assert [each.estimator for each in evaluate(simulated()).estimates] == ["IPS", "SNIPS"]


def test_enough_decisions_and_rewards_come_without_a_warning_and_with_a_verdict() -> None:
    rewards = np.tile([1, 0, 1, 1], 100)
    better = evaluate(two_candidates(400, 0.5, 0.9, rewards))
    assert better.warnings == ()
    assert better.verdict.endswith("the target policy earns more.")
    worse = evaluate(two_candidates(400, 0.5, 0.1, rewards))
    assert worse.verdict.endswith("the target policy earns less.")
    same = evaluate(two_candidates(400, 0.5, 0.5, rewards))
    assert "the intervals overlap" in same.verdict
    assert same.verdict.endswith("; these decisions do not tell which policy earns more.")


def test_intervals_that_lie_apart_are_called_so() -> None:
    assert "the intervals lie apart" in evaluate(two_candidates(400, 0.5, 0.99, np.tile([1, 0], 200))).verdict


def test_a_gain_can_be_beyond_chance_where_intervals_overlap() -> None:
    found = evaluate(two_candidates(400, 0.5, 0.6, np.tile([1, 0, 1, 1], 100)))
    best, logged = found.estimates[-1], found.logged
    assert logged.interval[0] < best.interval[0] < logged.interval[1] < best.interval[1]
    assert "the intervals overlap" in found.verdict
    assert found.verdict.endswith("; the target policy earns more.")


def test_a_target_policy_far_from_the_logging_policy_is_warned_of() -> None:
    far = two_candidates(400, 0.999, 0.001, np.ones(400))
    # Half of the decisions have a weight of 999, the others of 0.001: these count for nothing.
    assert evaluate(far).effective_decisions == pytest.approx(200, rel=1e-4)
    alone = LoggedDecisions([1] + [0] * 399, np.ones(400), [[0.999, 0.001]] * 400, [[0.001, 0.999]] * 400)
    [of_decisions, of_rewards] = evaluate(alone).warnings
    assert of_decisions.startswith("Of 400 decisions only 1.0 count, in effect")
    assert of_rewards.startswith("Only 1.0 rewards count, in effect")


def test_a_verdict_needs_rewards_that_count() -> None:
    """The interval of the gain leaves out 0, but it rests on 20 rewards."""
    rewards = np.zeros(400)
    rewards[:40:2] = 1
    found = evaluate(two_candidates(400, 0.5, 0.9, rewards))
    assert found.effective_rewards == pytest.approx(20)
    assert found.estimates[-1].gain_interval[0] > 0
    assert found.warnings == ("Only 20.0 rewards count, in effect: the intervals are a rough guess.",)
    assert found.verdict.endswith("in view of the warnings, these decisions do not tell which policy earns more.")


def test_no_reward_at_all_is_warned_of_though_the_interval_is_a_point() -> None:
    found = evaluate(two_candidates(400, 0.5, 0.9, np.zeros(400)))
    assert found.estimates[0].interval == (0, 0)
    assert found.warnings == ("Only 0.0 rewards count, in effect: the intervals are a rough guess.",)


def test_weights_whose_squares_are_no_doubles_are_counted_all_the_same() -> None:
    rows = [[0.5, 0.5]] * 40, [[1e-200, 1.0]] * 40
    assert evaluate(LoggedDecisions([0] * 40, np.ones(40), *rows)).effective_decisions == pytest.approx(40)


def test_choices_that_logging_never_makes_are_reported() -> None:
    n = 400
    logged = LoggedDecisions(
        np.arange(n) % 2, np.ones(n), [[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]] * (n // 2), [[0.25, 0.25, 0.5]] * n
    )
    found = evaluate(logged)
    assert found.unsupported == 0.25
    assert found.warnings[0].startswith("25.00% of the target policy's choices were never to be made")


def test_an_evaluation_is_json_and_a_table() -> None:
    decisions = simulated()
    found = evaluate(decisions, [np.full(size, 0.5) for size in np.diff(decisions.starts)])
    back = json.loads(json.dumps(found.to_dict()))
    assert [each["estimator"] for each in back["estimates"]] == ["IPS", "SNIPS", "DM", "DR"]
    assert back["estimates"][0]["interval"] == [*found.estimates[0].interval]
    assert back["verdict"] == found.verdict
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(found)
    shown = console.export_text()
    assert f"{found.estimates[3].value:.3g}" in shown
    assert found.verdict.split(";")[0][:60] in shown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"propensities": [[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]},
            "decision 1: the propensity of the chosen",
        ),
        ({"propensities": [[0.5, 0.5]] * 3 + [[1.0, 1e-300]]}, "decision 3: the propensity of the chosen"),
        ({"propensities": [[0.5, 0.5]] * 3 + [[0.5, 0.6]]}, "decision 3: the sum of propensities is not 1"),
        ({"target": [[0.5, 0.4], *HALVES[1:]]}, "decision 0: the sum of target is not 1"),
        ({"target": [[1.5, -0.5], *HALVES[1:]]}, "decision 0: one of target is not a probability"),
        ({"target": [[float("nan"), 0.5], *HALVES[1:]]}, "decision 0: one of target is not a number"),
        ({"target": [[0.5, 0.25, 0.25], *HALVES[1:]]}, "target has other rows than propensities"),
        ({"target": HALVES[1:]}, "target has other rows than propensities"),
        ({"target": [[["0.5"], ["0.5"]], *HALVES[1:]]}, "target has something other than numbers"),
        ({"target": [[[0.5], [0.5]]] * 4}, "target has more than one number for a candidate"),
        ({"target": 0.5}, "target has no rows"),
        ({"target": [0.5] * 4}, "target has no rows"),
        ({"propensities": [[], *HALVES[1:]]}, "propensities needs a row for every decision"),
        ({"propensities": HALVES[1:]}, "propensities needs a row for every decision"),
        ({"rewards": [0, 1, float("inf"), 0]}, "decision 2: the reward is not a number"),
        ({"rewards": [0, float("nan"), 1, 0]}, "decision 1: the reward is not a number"),
        ({"rewards": [0, None, 1, 0]}, "rewards has something other than numbers"),
        ({"rewards": [0, 1, 1]}, "chosen has the shape (4,), rewards has (3,)"),
        ({"chosen": [0, 1, 2, 1]}, "decision 2: the chosen position is not that of a candidate"),
        ({"chosen": [0, 1, 0, -1]}, "decision 3: the chosen position is not that of a candidate"),
        ({"chosen": [0, 0.5, 0, 1]}, "decision 1: the chosen position is not that of a candidate"),
        ({"chosen": [0], "rewards": [1], "propensities": HALVES[:1], "target": HALVES[:1]}, "two decisions at least"),
    ],
)
def test_a_log_that_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        LoggedDecisions(**LOG | change)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        ([[0.5, 0.5]] * 3, "predictions has other rows"),
        ([[0.5, float("inf")]] * 4, "decision 0: one of predictions is not a number"),
        ([[[0.5], [0.5]]] * 4, "predictions has more than one number"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predictions: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        evaluate(LoggedDecisions(**LOG), predictions)


def test_a_target_policy_that_would_never_choose_the_same_is_refused() -> None:
    never = [[0.0, 1.0], [1.0, 0.0]] * 2
    with pytest.raises(InputError, match="would never choose what was chosen"):
        evaluate(LoggedDecisions(**LOG | {"target": never}))


def test_probabilities_may_be_rounded_to_seven_digits() -> None:
    rounded = [[0.3333333] * 3] * 4
    assert len(LoggedDecisions([0, 1, 2, 0], [0, 1, 1, 0], rounded, rounded)) == 4
