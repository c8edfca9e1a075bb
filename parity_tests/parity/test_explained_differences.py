"""`explain --against`: the fewest events that make the difference to another knowledge, or to a value that was seen."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

from dualpath.parity.contrast import Contrast, fewest
from dualpath.parity.explain import explain
from dualpath.repo import Repo
from parity_tests.parity.explained import ANN, AT_NOON, DEEDS, differing, event, land
from parity_tests.strategies import CLICKS


def test_two_knowledges_differ_by_the_fewest_events_with_their_causes(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("a", -9, quantity=4)])
    land(storage, 1, [event("b", -8, quantity=3), event("c", -7, quantity=8), event("d", -6, quantity=8)])
    found = explain(repo, "v1:most", ANN | {"shop": 1}, AT_NOON, against="q1b0")
    assert found.against is not None
    assert (found.value, found.against.known, found.against.value) == (8, "q1b0", 4)
    # Of a maximum that two events have, either stays if the other is taken away.
    assert differing(found) == [("c", "q1b0", "not yet known"), ("d", "q1b0", "not yet known")]
    back = explain(repo, "v1:most", ANN | {"shop": 1}, AT_NOON, known="q1b0", against="final")
    assert [name for name, *_ in differing(back)] == ["d"]


def test_each_of_two_knowledges_may_lack_what_the_other_has(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("late", -8, arrived=30, action="buy", quantity=5)])
    land(storage, 1, [event("next", -7, action="buy", quantity=3), event("none", -6, action="buy", quantity=0)])
    found = explain(repo, "v0:bought", ANN, AT_NOON, known="q1b0", against=AT_NOON)
    assert (found.value, found.against and found.against.value) == (5, 3)
    assert differing(found) == [
        ("late", "2026-03-01T12:00:00.000000Z", "not yet known"),
        ("next", "q1b0", "not yet known"),
    ]


def test_one_event_for_another_makes_no_difference_to_a_count(repo: Repo) -> None:
    storage = repo.storage(CLICKS.name)
    land(storage, 0, [event("late", -8, arrived=30)])
    land(storage, 1, [event("next", -7)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0", against=AT_NOON)
    assert (found.value, found.against and found.against.value, differing(found)) == (1, 1, [])


@pytest.mark.parametrize(("seen", "by"), [("3", "final"), ("2", "q1b1"), ("1", "q1b0"), ("0", "q0b0")])
def test_a_value_that_was_seen_is_told_by_the_knowledge_that_gives_it(repo: Repo, seen: str, by: str) -> None:
    storage = repo.storage(CLICKS.name)
    for batch in range(3):
        land(storage, batch, [event(f"e{batch}", batch - 10), event(f"old{batch}", -40)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON, against=f"value:{seen}")
    assert found.against is not None
    assert (found.against.known, found.against.value) == (by, int(seen))
    assert [name for name, *_ in differing(found)] == [f"e{batch}" for batch in range(int(seen), 3)]


def test_of_several_batches_that_give_a_value_the_latest_is_told(repo: Repo) -> None:
    for batch, quantity in enumerate((4, 3, 8)):
        land(repo.storage(CLICKS.name), batch, [event(f"e{batch}", -9, quantity=quantity)])
    found = explain(repo, "v1:most", ANN | {"shop": 1}, AT_NOON, against="value:4")
    assert found.against and found.against.known == "q1b1"


def test_the_knowledge_that_was_named_is_tried_first(repo: Repo) -> None:
    land(repo.storage(CLICKS.name), 0, [event("a", -9)])
    found = explain(repo, "v0:clicks", ANN, AT_NOON, known="q1b0", against="value:1")
    assert (found.against and found.against.known, differing(found)) == ("q1b0", [])


def test_a_whole_number_in_json_is_a_double_to_a_feature_of_doubles(repo: Repo) -> None:
    land(repo.storage(DEEDS.name), 0, [event("a", -1, action="buy", amount=Decimal("2.00"))])
    found = explain(repo, "v2:by_action", ANN, AT_NOON, against='value:{"buy": 2}')
    assert found.against is not None
    assert (found.against.known, found.against.value) == ("final", {"buy": 2.0})
    assert explain(repo, "v2:by_action", ANN, AT_NOON, against='value:{"Buy": 2}').against == Contrast("", {"Buy": 2.0})


def fewest_numbers(count: int, suffice: Callable[[set[int]], bool]) -> list[int]:
    """`fewest`, of numbers."""
    return np.flatnonzero(fewest(count, lambda some: suffice(set(np.flatnonzero(some).tolist())))).tolist()


def test_none_of_the_fewest_can_be_left_out_even_if_one_was_needed_for_another() -> None:
    assert fewest_numbers(8, lambda some: sum(some) >= 7 and 3 in some) == [3, 7]
    assert fewest_numbers(4, lambda some: some in ({0, 1, 2, 3}, {0, 1, 2}, {1, 2})) == [1, 2]
    assert fewest_numbers(3, lambda some: True) == []
    assert fewest_numbers(0, lambda some: True) == []
