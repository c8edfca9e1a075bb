"""Segments and the deduplicator, against a dictionary of ids."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.dedup import segments
from dualpath.dedup.segments import (
    HASH,
    LARGEST_IDS,
    MERGE_FACTOR,
    Deduplicator,
    Stored,
    contains,
    due_for_merge,
    merged,
    sort,
    split,
)

KEYS = st.tuples(st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1]), st.sampled_from([-(2**63), 0, 2**63 - 1]))
"""So few hashes that many ids share theirs."""


def array(keys: list[tuple[int, int]], clock: int) -> np.ndarray:
    return np.array([[*key, clock] for key in keys], dtype=np.int64).reshape(-1, 3).T


def stored(segment: np.ndarray) -> Stored:
    return Stored(int(segment[HASH, 0]), int(segment[HASH, -1]), lambda: segment)


@given(st.lists(st.tuples(st.integers(0, 9), st.lists(KEYS, max_size=12)), max_size=30), st.integers(0, 9))
def test_an_id_is_new_unless_it_was_accepted_after_the_horizon_began(
    batches: list[tuple[int, list[tuple[int, int]]]], since: int
) -> None:
    """The first half of the batches is in stored segments, each with its clock; the others come now."""
    half, accepted = len(batches) // 2, {}
    for clock, keys in batches[:half]:
        for key in keys:
            accepted[key] = max(clock, accepted.get(key, clock))
    before = [stored(sort(array(keys, clock))) for clock, keys in batches[:half] if keys]
    deduplicator = Deduplicator(before, since)
    for _, keys in batches[half:]:
        expected = []
        for key in keys:
            expected.append(accepted.get(key, since) <= since)
            accepted[key] = max(10, since + 1)
        assert deduplicator.new(array(keys, 10)).tolist() == expected


@given(st.lists(st.lists(KEYS, max_size=12), max_size=5), st.integers(1, 7))
def test_merged_segments_are_their_ids_in_ascending_order_however_few_are_copied_at_once(
    shares: list[list[tuple[int, int]]], at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "COPIED_IDS", at_once)
        whole = merged([sort(array(keys, number)) for number, keys in enumerate(shares)])
    assert whole[0].tolist() == sorted(whole[0].tolist())
    given_ids = [(*key, number) for number, keys in enumerate(shares) for key in keys]
    assert Counter(map(tuple, whole.T.tolist())) == Counter(given_ids)


@given(st.lists(st.lists(KEYS, max_size=12), min_size=1, max_size=5), st.integers(1, 7))
def test_every_id_is_in_the_one_range_of_its_hash(shares: list[list[tuple[int, int]]], pieces: int) -> None:
    whole = [sort(array(keys, 0)) for keys in shares]
    ranges = [np.concatenate(each, axis=1)[HASH].tolist() for each in split(whole, pieces)]
    assert [(each + 2**63) * pieces // 2**64 for each in chain(*ranges)] == [
        number for number, each in enumerate(ranges) for _ in each
    ]
    assert sorted(chain(*ranges)) == sorted(key[0] for keys in shares for key in keys)


def test_a_segment_is_not_read_for_ids_outside_its_range() -> None:
    def read() -> np.ndarray:
        raise AssertionError("it was read")

    deduplicator = Deduplicator([Stored(10, 20, read), Stored(-20, -10, read)], since=0)
    assert deduplicator.new(array([(9, 1), (21, 1), (-9, 1), (-21, 1)], 1)).all()
    with pytest.raises(AssertionError, match="it was read"):
        deduplicator.new(array([(20, 1)], 1))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=2_000))
def test_few_segments_are_left_and_an_id_is_moved_once_a_tier(sizes: list[int]) -> None:
    left: list[int] = []
    moved = 0
    for size in sizes:
        left.append(size)
        while many := due_for_merge(left):
            moved += sum(left[-many:])
            left[-many:] = [sum(left[-many:])]
    tiers = sum(sizes).bit_length() // 3 + 1
    assert sum(left) == sum(sizes)
    assert len(left) <= (MERGE_FACTOR - 1) * tiers
    assert moved <= 2 * tiers * sum(sizes)


def test_a_segment_lies_in_memory_one_row_after_the_other() -> None:
    assert sort(array([(5, 1), (3, 1), (4, 1)], 0)).flags.c_contiguous


def test_a_segment_that_is_large_enough_is_left_alone() -> None:
    assert due_for_merge([LARGEST_IDS] * 100) == 0
    assert due_for_merge([LARGEST_IDS] * 100 + [9] * MERGE_FACTOR) == MERGE_FACTOR
    assert due_for_merge([9] * 100 + [LARGEST_IDS] + [9] * (MERGE_FACTOR - 1)) == 0


def test_an_id_that_was_accepted_twice_is_known_by_the_later_time() -> None:
    twice = sort(np.array([[7, 7, 7], [1, 1, 1], [5, 9, 2]]))
    asked = np.array([[7], [1]])
    assert [contains(twice, asked, since).tolist() for since in (8, 9)] == [[True], [False]]
