"""Cells: sums at the edge of 64 bits, the fingerprint that stored records carry, and Spark's translation."""

import numpy as np
import pytest

from dualpath import cells
from dualpath.aggregates import ApproxDistinctCount, First, Last, Max, Mean, Min, SumBy
from dualpath.record import layout
from dualpath.schema import SATURATED
from dualpath.spark.cells import TRANSLATIONS
from dualpath.view import Feature, View
from dualpath.windows import lifetime
from parity_tests.strategies import CLICKS

HALF = 2**62


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ([HALF, HALF - 2], SATURATED - 1),
        ([HALF, HALF - 1], SATURATED),
        ([HALF, HALF, -HALF, -1], HALF - 1),
        ([-HALF, -HALF], -(2**63)),
        ([-HALF, -HALF, -1], SATURATED),
        ([SATURATED, -1], SATURATED),
        ([SATURATED, -HALF, -HALF], SATURATED),
    ],
)
@pytest.mark.parametrize("after", [[], [5]], ids=["last", "not last"])
def test_a_sum_fits_or_is_saturated(group: list[int], expected: int, after: list[int]) -> None:
    words = np.array([[7], *([word] for word in [*group, *after])], dtype=np.int64)
    heads = np.array([0, 1, *([1 + len(group)] if after else [])])
    assert cells.Sum("n").folded(words, heads).tolist() == [[7], [expected], *([[5]] if after else [])]


def test_stored_state_stays_readable() -> None:
    """The fingerprint of a view with every kind of cell: if it changes, no stored record can be read any more."""
    aggregates = (
        Mean("quantity", where="flag"),
        Min("score"),
        Max("amount"),
        First("action"),
        Last("action"),
        SumBy("amount", by="action"),
        ApproxDistinctCount("note", error=0.5),
    )
    features = tuple(Feature(f"f{i}", each, lifetime()) for i, each in enumerate(aggregates))
    found = layout(View("clicks_by_user", ("user",), CLICKS, features))
    assert {type(cell) for cell in found.cells} == set(TRANSLATIONS)
    assert (found.fingerprint, found.width) == (3_746_136_825, 16)


def test_spark_knows_every_operation() -> None:
    named = [each for each in vars(cells).values() if isinstance(each, type) and issubclass(each, cells.Cell)]
    assert set(TRANSLATIONS) == {each for each in named if hasattr(each, "op")}
