"""What is printed of a failure: the smallest event list, as a test that fails."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dualpath.aggregates import Count, Sum
from dualpath.view import Feature, View
from dualpath.windows import SECOND, lifetime
from parity_tests import shrink
from parity_tests.strategies import CLICKS

NOW = 1_709_251_200_000_000
VIEW = View(
    "spending", ("user",), CLICKS, (Feature("spend", Sum("amount"), lifetime()), Feature("n", Count(), lifetime()))
)


def clicks(*amounts: str | None) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"e{i}",
            "event_time": NOW - i * SECOND,
            "arrival_time": NOW,
            "user": "ann",
            "amount": None if amount is None else Decimal(amount),
        }
        for i, amount in enumerate(amounts)
    ]


@pytest.mark.parametrize("culprits", [{3}, {0, 19}, {7, 8, 9}, set(range(20))])
def test_only_the_events_that_make_it_fail_are_left(culprits: set[int]) -> None:
    events = [{"n": n} for n in range(20)]
    assert shrink.smallest(events, lambda left: culprits <= {e["n"] for e in left}) == [
        {"n": n} for n in sorted(culprits)
    ]


def test_a_broken_translation_shrinks_to_one_event_and_a_test_that_fails(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = clicks("1.50", None, "-2.25", "0.00", "7.75")
    assert shrink.disagreement(spark, VIEW, events, ("ann",), NOW) == []
    honest = shrink.records
    # A translation that forgets the sign.
    monkeypatch.setattr(
        shrink,
        "records",
        lambda frame, views: honest(frame.selectExpr("* EXCEPT (amount)", "abs(amount) AS amount"), views),
    )
    left = shrink.smallest(events, lambda e: bool(shrink.disagreement(spark, VIEW, e, ("ann",), NOW)))
    assert [event["amount"] for event in left] == [Decimal("-2.25")]
    code: dict[str, Any] = {}
    exec(repr(shrink.Paste(VIEW, left, ("ann",), NOW)), code)
    with pytest.raises(AssertionError):
        code["test_spark_and_the_oracle_agree"](spark)
    monkeypatch.setattr(shrink, "records", honest)
    code["test_spark_and_the_oracle_agree"](spark)
