"""The approximate distinct count over more values than it keeps."""

import numpy as np
import pytest

from dualpath.aggregates import ApproxDistinctCount
from dualpath.parity.oracle import oracle
from dualpath.record import compact, layout
from dualpath.view import Feature, View
from dualpath.windows import SECOND, Window, days, lifetime
from parity_tests.events import dictionary, records, values
from parity_tests.strategies import CLICKS

NOW = 1_709_251_200_000_000


def visits(count: int, seed: int, products: int = 10**9) -> list[dict]:
    """Events of one user within the last day, each of some product."""
    random = np.random.default_rng(seed)
    times = NOW - random.integers(0, 86_400, count) * SECOND
    return [
        {"event_id": f"e{i}", "event_time": int(t), "arrival_time": int(t), "user": "ann", "quantity": int(product)}
        for i, (t, product) in enumerate(zip(times, random.integers(0, products, count), strict=True))
    ]


def products(window: Window, error: float, resolution: int = 60 * SECOND) -> View:
    feature = Feature("products", ApproxDistinctCount("quantity", error=error), window)
    return View("products", ("user",), CLICKS, (feature,), resolution)


@pytest.mark.parametrize("window", [days(1), lifetime()], ids=str)
@pytest.mark.parametrize("resolution", [1, 60 * SECOND, 3600 * SECOND])
def test_dropping_hashes_changes_no_value_and_bounds_the_state(window: Window, resolution: int) -> None:
    view, events = products(window, 0.5, resolution), visits(3_000, seed=1)
    kind, later = layout(view), [NOW, NOW + 3600 * SECOND, NOW + 7 * 3600 * SECOND]
    _, words = records(view, events)
    truth = [oracle(view, events, ("ann",), as_of)["products"] for as_of in later]
    texts = dictionary(view, [])
    assert values(view, words, later, texts)["products"] == truth
    deal = np.random.default_rng(2).integers(0, 3, len(words))
    parts = [compact(words[deal == i], kind, view, NOW + 1) for i in range(3)]
    merged = compact(np.concatenate(parts), kind, view, NOW + 1)
    assert values(view, np.concatenate(parts), later, texts)["products"] == truth
    assert values(view, merged, later, texts)["products"] == truth
    if resolution == 3600 * SECOND:
        buckets = len(np.unique(merged[:, 0]))
        assert len(merged) <= buckets * (ApproxDistinctCount(error=0.5).k + 1) < len(words)


def test_the_error_is_the_declared_one() -> None:
    view = products(days(2), error=0.1, resolution=1)
    texts = dictionary(view, [])
    errors = []
    for seed in range(60):
        events = visits(2_000, seed)
        truth = len({event["quantity"] for event in events})
        found = values(view, records(view, events)[1], [NOW], texts)["products"][0]
        errors.append(found / truth - 1)
    # Of sixty estimates, their spread is known to within a third of itself, their mean to 0.1 / sqrt(60).
    assert 0.06 < np.std(errors) < 0.14
    assert abs(np.mean(errors)) < 0.04


def test_few_values_are_counted_exactly() -> None:
    view = products(days(2), error=0.05)
    events = visits(2_000, seed=3, products=300)
    assert values(view, records(view, events)[1], [NOW], dictionary(view, []))["products"] == [300]
