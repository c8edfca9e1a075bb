"""What may be read from an experiment at any time, checked by simulation."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import experiments
from dualpath.errors import InputError
from dualpath.serving import sequential
from dualpath.serving.analysis import SUSPECT
from dualpath.serving.sequential import FEWEST, FEWEST_OF_A_KIND, interval, scores


def test_a_sample_ratio_may_be_looked_at_any_time_by_the_sequential_test_alone() -> None:
    rates = experiments.ratio_errors(runs=1_000, units=2_000)
    for name, rate in rates.items():
        assert rate <= 0.003 if name.startswith("always valid") else rate > 0.005, name


def test_the_sequential_sample_ratio_is_a_ratio_of_likelihoods_and_sees_a_mismatch() -> None:
    weights = {"a": 1, "b": 3}
    for seen, units in ((30, 100), (260, 1_000), (300, 1_000)):
        found = sequential.sample_ratio({"a": seen, "b": units - seen}, weights)
        assert found == pytest.approx(min(1, experiments.ratio_p(np.array(seen), np.array(units), 0.25)))
    assert sequential.sample_ratio({"a": 3_300, "b": 6_700}, weights) < SUSPECT
    assert sequential.sample_ratio({}, weights) == 1.0
    three, weights = {"a": 420, "b": 290, "c": 290}, {"a": 1, "b": 1, "c": 1}
    seen, prior = np.array([420, 290, 290]), np.full(3, sequential.PRIOR / 3)
    ratio = stats.multinomial.logpmf(seen, 1_000, [1 / 3] * 3) - stats.dirichlet_multinomial.logpmf(seen, prior, 1_000)
    assert sequential.sample_ratio(three, weights) == pytest.approx(np.exp(ratio))


def test_looking_often_is_allowed_here_and_not_with_a_t_test() -> None:
    rates = experiments.error_rates(runs=2_000, units=3_000)
    print(rates)
    assert rates["always valid"] < 0.05
    assert rates["t-test"] > 0.2, "looking often does no harm here, so nothing was shown"


def test_rare_rewards_and_a_small_share_are_waited_for() -> None:
    found = experiments.rare_errors(runs=200, units=10_000, share=0.1, rate=0.03)
    assert found["decided"] < 0.05 and found["had_enough"] > 0.9
    assert found["without_waiting"] > 0.05, "waiting changes nothing here, so nothing was shown"


def test_a_real_difference_is_found() -> None:
    power, stopped = experiments.power(runs=300, units=3_000, lift=0.08)
    assert power > 0.9 and stopped < 3_000


def test_scores_look_only_back() -> None:
    random = np.random.default_rng(5)
    treated, outcomes = random.random(300) < 0.5, random.random(300)
    assert (scores(treated, outcomes, 0.5)[:200] == scores(treated[:200], outcomes[:200], 0.5)).all()


def test_a_unit_is_centred_by_the_units_before_it_alone() -> None:
    """If its own outcome counted for its centre, the score's mean would not be the difference."""
    random = np.random.default_rng(7)
    treated, outcomes = random.random(50) < 0.3, random.random(50)
    for unit in range(50):
        other = outcomes.copy()
        other[unit] += 0.25
        moved = (scores(treated, other, 0.3) - scores(treated, outcomes, 0.3))[unit]
        assert moved == pytest.approx(0.25 / 0.3 if treated[unit] else -0.25 / 0.7)


def test_too_few_units_say_nothing() -> None:
    order = np.arange(2 * FEWEST)
    treated, outcomes = order % 2 == 0, (order // 2 % 2).astype(float)
    assert interval(treated, outcomes, 0.5) is not None
    assert interval(treated[:-1], outcomes[:-1], 0.5) is None


@pytest.mark.parametrize("rewarded", [0.0, 1.0])
def test_too_few_of_a_kind_say_nothing(rewarded: float) -> None:
    """Whether rewards are rare or their absence is."""
    order = np.arange(4 * FEWEST)
    treated = order % 2 == 0
    for rare, told in ((FEWEST_OF_A_KIND, True), (FEWEST_OF_A_KIND - 1, False)):
        outcomes = np.where(order // 2 < rare, rewarded, 1 - rewarded)
        assert (interval(treated, outcomes, 0.5) is not None) == told


def test_outcomes_beyond_one_are_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        interval(np.array([True, False]), np.array([2.0, 0.0]), 0.5)
