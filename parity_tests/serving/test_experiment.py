"""Experiments: who is in, who gets what, and what may be read from it at any time."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from benchmarks import experiments
from dualpath.errors import InputError
from dualpath.serving.analysis import SUSPECT, cuped, difference, sample_ratio
from dualpath.serving.decision import Decision
from dualpath.serving.experiment import Experiment, check
from dualpath.serving.sequential import FEWEST, interval, scores
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


def test_a_sample_ratio_mismatch_shows() -> None:
    weights = {"a": 1, "b": 1}
    assert sample_ratio({"a": 5_050, "b": 4_950}, weights) > 0.1
    assert sample_ratio({"a": 5_300, "b": 4_700}, weights) < SUSPECT
    assert sample_ratio({}, weights) == 1.0


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
    rates = experiments.error_rates(runs=1_000, units=2_000)
    assert rates["always valid"] < 0.05
    assert rates["t-test"] > 0.15, "looking often does no harm here, so nothing was shown"


def test_a_real_difference_is_found() -> None:
    power, stopped = experiments.power(runs=300, units=3_000, lift=0.08)
    assert power > 0.9 and stopped < 3_000


def test_scores_look_only_back() -> None:
    random = np.random.default_rng(5)
    treated, outcomes = random.random(300) < 0.5, random.random(300)
    assert (scores(treated, outcomes, 0.5)[:200] == scores(treated[:200], outcomes[:200], 0.5)).all()


def test_too_few_units_say_nothing() -> None:
    treated = np.arange(2 * FEWEST - 1) % 2 == 0
    assert interval(treated, treated.astype(float), 0.5) is None


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
    assert 0 < low < 0.1 < high and found["sample_ratio_p"] > 0.001
