"""What is read from an experiment once: the sample ratio, a difference, and what a covariate takes out of it."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from dualpath.errors import InputError
from dualpath.serving import sequential
from dualpath.serving.analysis import SUSPECT, cuped, difference, sample_ratio


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
