"""Ids that were seen, against a dictionary of them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.dedup import ids
from dualpath.dedup.ids import FAN, MOST, Seen, due, known, merged, run

KEYS = st.tuples(st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1]), st.sampled_from([-(2**63), 0, 2**63 - 1]))
"""So few hashes that many ids share theirs."""


def array(keys: list[tuple[int, int]], clock: int) -> np.ndarray:
    return np.array([[*key, clock] for key in keys], dtype=np.int64).reshape(-1, 3).T


@given(st.lists(st.tuples(st.integers(0, 9), st.lists(KEYS, max_size=12)), max_size=30), st.integers(0, 9))
def test_an_id_is_new_unless_it_was_accepted_after_the_horizon_began(
    batches: list[tuple[int, list[tuple[int, int]]]], since: int
) -> None:
    """The first half of the batches is in runs that were given, each with its clock; the others come now."""
    half, accepted = len(batches) // 2, {}
    for clock, keys in batches[:half]:
        for key in keys:
            accepted[key] = max(clock, accepted.get(key, clock))
    seen = Seen([run(array(keys, clock)) for clock, keys in batches[:half]], since)
    for _, keys in batches[half:]:
        expected = []
        for key in keys:
            expected.append(accepted.get(key, since) <= since)
            accepted[key] = max(10, since + 1)
        assert seen.new(array(keys, 10)).tolist() == expected


@given(st.lists(st.lists(KEYS, max_size=12), max_size=5), st.integers(1, 7))
def test_runs_in_one_are_their_ids_in_ascending_order_however_few_are_copied_at_once(
    runs: list[list[tuple[int, int]]], at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "AT_ONCE", at_once)
        whole = merged([run(array(keys, number)) for number, keys in enumerate(runs)])
    assert whole[0].tolist() == sorted(whole[0].tolist())
    given_ids = [(*key, number) for number, keys in enumerate(runs) for key in keys]
    assert Counter(map(tuple, whole.T.tolist())) == Counter(given_ids)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=2_000))
def test_few_runs_are_left_and_an_id_is_moved_once_a_tier(sizes: list[int]) -> None:
    left: list[int] = []
    moved = 0
    for size in sizes:
        left.append(size)
        while many := due(left):
            moved += sum(left[-many:])
            left[-many:] = [sum(left[-many:])]
    tiers = sum(sizes).bit_length() // 3 + 1
    assert sum(left) == sum(sizes)
    assert len(left) <= (FAN - 1) * tiers
    assert moved <= 2 * tiers * sum(sizes)


def test_a_run_lies_in_memory_one_row_after_the_other() -> None:
    assert run(array([(5, 1), (3, 1), (4, 1)], 0)).flags.c_contiguous


def test_a_run_that_is_large_enough_is_left_alone() -> None:
    assert due([MOST] * 100) == 0
    assert due([MOST] * 100 + [9] * FAN) == FAN
    assert due([9] * 100 + [MOST] + [9] * (FAN - 1)) == 0


def test_an_id_that_was_accepted_twice_is_known_by_the_later_time() -> None:
    twice = run(np.array([[7, 7, 7], [1, 1, 1], [5, 9, 2]]))
    asked = np.array([[7], [1]])
    assert [known(asked, twice, since).tolist() for since in (8, 9)] == [[True], [False]]
