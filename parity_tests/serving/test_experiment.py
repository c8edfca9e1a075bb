"""Experiments: who is in, who gets what, and what may be read from it at any time."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from benchmarks import experiments
from dualpath.errors import InputError
from dualpath.serving import sequential
from dualpath.serving.analysis import SUSPECT, cuped, difference, sample_ratio
from dualpath.serving.decision import Decision
from dualpath.serving.experiment import Experiment, check
from dualpath.serving.sequential import FEWEST, FEWEST_OF_A_KIND, interval, scores
from dualpath.serving.trial import Trial

UNITS = [f"reader {n}" for n in range(20_000)]
HALVES = Experiment(name="halves", variants={"a": 1, "b": 1})


def test_units_are_shared_out_by_the_weights() -> None:
    uneven = Experiment(name="uneven", variants={"a": 1, "b": 3})
    counts = Counter(map(uneven.assign, UNITS))
    assert stats.chisquare([counts["a"], counts["b"]], [5_000, 15_000]).pvalue > 0.001


def test_an_assignment_never_changes() -> None:
    """In any process: the values are those of SHA-256."""
    assert [HALVES.assign(f"reader {n}") for n in range(8)] == ["b", "b", "a", "b", "a", "b", "b", "a"]


def test_variants_declared_in_another_order_are_the_same_assignment() -> None:
    turned = Experiment(name="halves", variants={"b": 1, "a": 1})
    assert [*map(turned.assign, UNITS)] == [*map(HALVES.assign, UNITS)]


def test_an_empty_unit_is_refused() -> None:
    with pytest.raises(InputError, match="'halves': the unit is empty"):
        HALVES.assign("")


def test_a_growing_experiment_keeps_whom_it_has() -> None:
    small, grown = (HALVES.model_copy(update={"buckets": (0, end)}) for end in (1_000, 2_000))
    kept = {unit: variant for unit in UNITS if (variant := small.assign(unit))}
    assert 1_800 < len(kept) < 2_200
    assert all(grown.assign(unit) == variant for unit, variant in kept.items())
    assert len([unit for unit in UNITS if grown.assign(unit)]) > len(kept)


def test_experiments_of_one_layer_share_nobody_and_those_of_two_are_independent() -> None:
    first, second = (
        Experiment(name=name, layer="one", buckets=buckets, variants={"a": 1, "b": 1})
        for name, buckets in (("first", (0, 5_000)), ("second", (5_000, 10_000)))
    )
    other = Experiment(name="other", layer="two", variants={"a": 1, "b": 1})
    check([first, second, other])
    assert not [unit for unit in UNITS if first.holds(unit) and second.holds(unit)]
    both = Counter((first.assign(unit), other.assign(unit)) for unit in UNITS)
    table = [[both[one, two] for two in ("a", "b")] for one in ("a", "b", None)]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_the_variant_does_not_depend_on_the_bucket() -> None:
    early, late = (HALVES.model_copy(update={"buckets": b}) for b in ((0, 5_000), (5_000, 10_000)))
    table = [[Counter(map(each.assign, UNITS))[variant] for variant in "ab"] for each in (early, late)]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_another_salt_draws_anew() -> None:
    again = HALVES.model_copy(update={"salt": "again"})
    same = sum(HALVES.assign(unit) == again.assign(unit) for unit in UNITS)
    assert 9_700 < same < 10_300


@pytest.mark.parametrize(
    "change",
    [
        {"variants": {"a": 1}},
        {"variants": {"a": 0, "b": 1}},
        {"buckets": (5, 5)},
        {"buckets": (0, 10_001)},
        {"name": ""},
    ],
)
def test_an_experiment_that_cannot_work_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Experiment.model_validate({"name": "it", "variants": {"a": 1, "b": 1}} | change)


def test_overlapping_and_doubled_experiments_are_refused() -> None:
    other = HALVES.model_copy(update={"name": "other", "buckets": (9_999, 10_000)})
    with pytest.raises(InputError, match="share buckets"):
        check([HALVES, other])
    with pytest.raises(InputError, match="two experiments"):
        check([HALVES, HALVES.model_copy(update={"layer": "elsewhere"})])


def test_a_common_salt_is_refused_because_it_gives_every_unit_the_same_variant_twice() -> None:
    other = HALVES.model_copy(update={"name": "other", "layer": "elsewhere", "salt": "halves"})
    assert [*map(other.assign, UNITS)] == [*map(HALVES.assign, UNITS)]
    with pytest.raises(InputError, match="same salt"):
        check([HALVES, other])


def test_a_sample_ratio_mismatch_shows() -> None:
    weights = {"a": 1, "b": 1}
    assert sample_ratio({"a": 5_050, "b": 4_950}, weights) > 0.1
    assert sample_ratio({"a": 5_300, "b": 4_700}, weights) < SUSPECT
    assert sample_ratio({}, weights) == 1.0


@pytest.mark.parametrize("test", [sample_ratio, sequential.sample_ratio])
def test_units_of_an_unknown_variant_are_no_match(test: Callable[..., float]) -> None:
    with pytest.raises(InputError, match="units of 'c'"):
        test({"a": 500, "b": 500, "c": 300}, {"a": 1, "b": 1})


def test_one_unit_of_a_rare_variant_is_no_mismatch() -> None:
    units, weights = {"a": 4, "b": 1}, {"a": 99, "b": 1}
    assert stats.chisquare([4, 1], [4.95, 0.05]).pvalue < SUSPECT, "the plain test is right here, so nothing was shown"
    assert sample_ratio(units, weights) == 1.0
    assert sequential.sample_ratio(units, weights) > SUSPECT


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


def test_the_interval_of_one_look_is_welchs() -> None:
    random = np.random.default_rng(6)
    treated = np.arange(9) < 3
    outcomes = random.normal(scale=np.where(treated, 3, 1))
    found = difference(treated, outcomes)
    welch = stats.ttest_ind(outcomes[treated], outcomes[~treated], equal_var=False)
    assert found.degrees == pytest.approx(welch.df)
    assert found.interval == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_outcomes_that_are_all_alike_have_an_interval_without_width() -> None:
    treated = np.arange(6) < 3
    assert difference(treated, treated.astype(float)).interval == (1.0, 1.0)


@pytest.mark.parametrize(
    ("treated", "outcomes", "said"),
    [
        ([True, False, False], [1.0, 0.0, 1.0], "two units of each variant"),
        ([True, True, False, False], [1.0, 0.0, 1.0], "one outcome a unit"),
        ([True, True, False, False], [1.0, 0.0, np.nan, 0.0], "outcome 2 is nan"),
    ],
)
def test_a_difference_of_nothing_is_refused(treated: list[bool], outcomes: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        difference(np.array(treated), np.array(outcomes))


def test_a_covariate_is_taken_out_as_a_regression_does() -> None:
    random = np.random.default_rng(9)
    treated = random.random(60) < 0.3
    before = random.normal(size=60) + treated
    outcomes = 2 * before + treated + random.normal(size=60)
    columns = np.column_stack([np.ones(60), treated, before])
    assert cuped(treated, outcomes, before).difference == pytest.approx(np.linalg.lstsq(columns, outcomes)[0][1])


def test_units_without_a_covariate_stay_in_the_comparison() -> None:
    random = np.random.default_rng(8)
    before, treated, missing = random.normal(size=20_000), random.random(20_000) < 0.5, random.random(20_000) < 0.4
    outcomes = before + 0.1 * treated + random.normal(size=20_000)
    found = cuped(treated, outcomes, np.where(missing, np.nan, before))
    assert found.interval[0] < 0.1 < found.interval[1]
    # Of the half that the covariate explains, it is known of 60 %.
    assert 0.27 < found.explained < 0.33


def test_an_infinite_covariate_is_refused() -> None:
    treated = np.arange(6) < 3
    with pytest.raises(InputError, match="finite"):
        cuped(treated, np.arange(6.0), np.array([1, 2, np.inf, 1, 2, 3]))


def test_a_covariate_narrows_the_interval_and_does_not_move_it() -> None:
    random = np.random.default_rng(3)
    before = random.normal(size=4_000)
    treated = random.random(4_000) < 0.5
    outcomes = before + 0.1 * treated + random.normal(scale=0.5, size=4_000)
    plain, adjusted = difference(treated, outcomes), cuped(treated, outcomes, before)
    assert adjusted.error < plain.error / 2 and 0.75 < adjusted.explained < 0.85
    assert adjusted.interval[0] < 0.1 < adjusted.interval[1]


def test_a_covariate_that_says_nothing_changes_nothing() -> None:
    random = np.random.default_rng(4)
    treated, outcomes = random.random(500) < 0.5, random.random(500)
    for covariate in (np.zeros(500), np.full(500, np.nan)):
        found = cuped(treated, outcomes, covariate)
        assert (found.difference, found.explained) == (difference(treated, outcomes).difference, 0.0)


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


def decision(user: str, number: int, variant: str) -> Decision:
    return Decision(f"{user} {number}", number, "q", user, "mobile", ("x",), variant, "p", (1,), 1, (0.0,), (0,))


def test_a_reader_counts_once_with_its_first_decisions() -> None:
    trial = Trial(HALVES)
    for number in range(20):
        made = decision("ann", number, str(HALVES.assign("ann")))
        trial.decided(made)
        if number in (1, 3, 9):
            trial.rewarded(made)
    assert trial.outcomes == [(HALVES.assign("ann"), 2 / 5)]
    read = trial.report()["variants"][HALVES.assign("ann")]
    assert read == {"readers": 1, "decisions": 20, "clicks": 3}


def test_decisions_outside_of_the_experiment_do_not_count() -> None:
    trial = Trial(HALVES.model_copy(update={"buckets": (0, 1)}))
    trial.decided(decision("ann", 1, "a"))
    assert trial.readers == {}


def test_a_trial_says_what_it_shows() -> None:
    trial, random = Trial(HALVES), np.random.default_rng(1)
    assert "Too early" in trial.report()["sentence"]
    for number, unit in enumerate(UNITS[:2_000]):
        variant = str(HALVES.assign(unit))
        for again in range(6):
            made = decision(unit, number * 10 + again, variant)
            trial.decided(made)
            if random.random() < (0.3 if variant == "a" else 0.2):
                trial.rewarded(made)
    found = trial.report()
    assert found["decided"] and found["sentence"].startswith("a earns more than b")
    low, high = found["interval"]
    assert 0 < low < 0.1 < high
    readers = {variant: read["readers"] for variant, read in found["variants"].items()}
    assert found["sample_ratio_p"] == sequential.sample_ratio(readers, HALVES.variants) > SUSPECT
