"""Experiments: who is in, who gets what, and how a reader's decisions become one outcome."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from dualpath.errors import InputError
from dualpath.serving import sequential
from dualpath.serving.analysis import SUSPECT
from dualpath.serving.decision import Decision
from dualpath.serving.experiment import Experiment, check
from dualpath.serving.trial import Trial

UNITS = [f"reader {n}" for n in range(20_000)]
HALVES = Experiment(name="halves", variants={"a": 1, "b": 1})


def test_units_are_shared_out_by_the_weights() -> None:
    uneven = Experiment(name="uneven", variants={"a": 1, "b": 3})
    counts = Counter(map(uneven.assign, UNITS))
    assert stats.chisquare([counts["a"], counts["b"]], [5_000, 15_000]).pvalue > 0.001


def test_the_first_two_variants_are_compared_by_their_own_weights() -> None:
    three = Experiment(name="three", variants={"a": 1, "b": 3, "c": 4})
    assert three.compared == ("a", "b") and three.share == 0.25


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
