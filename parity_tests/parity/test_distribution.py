"""The statistics of drift are those that one can work out by hand."""

from math import log
from typing import Any

import pyarrow as pa
import pytest

from dualpath.errors import InputError
from dualpath.parity.distribution import FLOOR, distance, median, null_share

ONE_TO_TEN = pa.array(range(1, 11))
MAPS = pa.map_(pa.string(), pa.int64())


def psi(training: Any, served: Any, of: Any = None) -> float:
    found = distance(*(each if isinstance(each, pa.Array) else pa.array(each, of) for each in (training, served)))
    assert found
    return found.psi


def term(t: float, s: float) -> float:
    """What one bin adds."""
    return (max(s, FLOOR) - max(t, FLOOR)) * log(max(s, FLOOR) / max(t, FLOOR))


@pytest.mark.parametrize(
    "training, served, expected",
    [
        pytest.param(ONE_TO_TEN, ONE_TO_TEN, 0.0, id="the same"),
        pytest.param(ONE_TO_TEN, [10] * 4, 9 * term(0.1, 0) + term(0.1, 1), id="all in the last decile"),
        pytest.param(ONE_TO_TEN, [99] * 4, 9 * term(0.1, 0) + term(0.1, 1), id="beyond it"),
        pytest.param(
            ONE_TO_TEN, [1, 1, 2, 2], 2 * term(0.1, 0.5) + 8 * term(0.1, 0), id="an edge belongs to the bin on its left"
        ),
        pytest.param([0] * 4, [0, 0, 0, 1], term(1, 0.75) + term(0, 0.25), id="above a constant"),
        pytest.param([0] * 4, [0, 0, 0, -1], term(1, 0.75) + term(0, 0.25), id="below a constant"),
        pytest.param([0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.5], term(0.5, 0.75) + term(0.5, 0) + term(0, 0.25)),
        pytest.param([1, 1, None, None], [1, None, None, None], term(0.5, 0.25) + term(0.5, 0.75), id="nulls"),
        pytest.param([1.0, None], [1.0, float("nan")], 0.0, id="NaN is as null"),
        pytest.param([None, None], pa.array([1, None]), term(1, 0.5) + term(0, 0.5), id="never before"),
        pytest.param(pa.nulls(2), pa.nulls(3), 0.0, id="nulls alone"),
        pytest.param([True, False], [True, True, True, False], term(0.5, 0.75) + term(0.5, 0.25), id="booleans"),
        pytest.param(["a", None], ["a", "new"], term(0.5, 0) + term(0, 0.5), id="a text that training lacks"),
        pytest.param(["a"], pa.array(["a"], pa.large_string()), 0.0, id="large texts"),
    ],
)
def test_the_psi_is_that_of_a_calculation_by_hand(training: Any, served: Any, expected: float) -> None:
    assert psi(training, served) == pytest.approx(expected, abs=1e-12)


def test_texts_rarer_than_one_in_a_hundred_have_one_bin() -> None:
    training = ["a"] * 198 + ["rare", "odd"]
    assert psi(training, ["a"] * 198 + ["odd", "unseen"]) == 0
    assert psi(["a"] * 198 + ["b"] * 2, ["a"] * 198 + ["unseen"] * 2) == pytest.approx(term(0.01, 0) + term(0, 0.01))


def test_lists_and_maps_are_compared_by_length() -> None:
    lists, maps = ([["a"], ["a", "b"]], [["c"], ["d"]]), ([{"a": 1}, {"a": 1, "b": 2}], [{"c": 3}, {"d": 4}])
    expected = term(0.5, 1) + term(0.5, 0)
    assert psi(*lists) == pytest.approx(expected)
    assert psi(*([[*each.items()] for each in side] for side in maps), MAPS) == pytest.approx(expected)
    assert psi(pa.array([None, [("a", 1)]], MAPS), pa.nulls(1)) == pytest.approx(term(0.5, 1) + term(0.5, 0))


def test_chance_counts_the_bins_that_are_occupied() -> None:
    found = distance(pa.chunked_array([[1, 2], [3, 4]]), pa.array([1, None]))
    assert found and found.by_chance == pytest.approx((5 - 1) * (1 / 4 + 1 / 2))


def test_different_kinds_are_refused_and_what_has_no_bins_has_no_distance() -> None:
    with pytest.raises(InputError, match="training has string, but int64 was served; compare the same feature"):
        psi(["a"], [1])
    assert distance(pa.array([b"a"]), pa.array([b"b"])) is None
    empty = pa.array([], pa.int64())
    assert (distance(empty, ONE_TO_TEN), distance(ONE_TO_TEN, empty), null_share(empty)) == (None, None, None)
    assert (median(empty), median(ONE_TO_TEN), null_share(pa.array([None, "a"]))) == (None, 5.5, 0.5)


def test_integers_beyond_the_whole_doubles_have_bins_too() -> None:
    large = pa.chunked_array([[2**63 - 1, -(2**63), 0]])
    assert distance(large, large).psi == 0.0
