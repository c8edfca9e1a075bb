"""Laws that every aggregate obeys, over every kind of column it takes. New aggregates are found by themselves."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from dualpath.errors import StateError
from dualpath.parity.compare import differences
from dualpath.plan import FoldError
from dualpath.record import Fence, compact, fold
from parity_tests.cases import Case, cases
from parity_tests.events import entity, records, values
from parity_tests.shrink import Paste
from parity_tests.strategies import COMBINATIONS

LAWS: list[Callable[[Case, st.DataObject], None]] = []


def law(check: Callable[[Case, st.DataObject], None]) -> Callable[[Case, st.DataObject], None]:
    """Keep a law, so that every case is held against it."""
    LAWS.append(check)
    return check


def halves(words: np.ndarray, data: st.DataObject) -> tuple[np.ndarray, np.ndarray]:
    """The records dealt onto two bags at random."""
    first = np.array(data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words))), dtype=bool)
    return words[first], words[~first]


@law
def values_are_those_of_the_oracle(case: Case, data: st.DataObject) -> None:
    assert differences(case.values(case.words), case.truth()) == []


@law
def an_entity_without_records_has_the_empty_values(case: Case, data: st.DataObject) -> None:
    empty = {f.name: [case.view.output(f).empty] * len(case.instants) for f in case.view.features}
    assert differences(case.values(case.words[:0]), empty) == []


@law
def a_value_does_not_depend_on_what_else_is_asked(case: Case, data: st.DataObject) -> None:
    together = case.values(case.words)
    for name, column in together.items():
        alone = [values(case.view, case.words, [as_of], case.texts, (name,))[name][0] for as_of in case.instants]
        assert differences({name: alone}, {name: column}) == []


@law
def the_order_of_records_does_not_matter(case: Case, data: st.DataObject) -> None:
    shuffled = np.array(data.draw(st.permutations(range(len(case.words)))), dtype=int)
    assert differences(case.values(case.words[shuffled]), case.values(case.words)) == []


@law
def two_bags_read_together_are_the_whole(case: Case, data: st.DataObject) -> None:
    packed = [case.layout.pack(half, Fence(3, 7)) for half in halves(case.words, data)]
    merged = np.concatenate([case.layout.unpack(value) for value in packed])
    assert differences(case.values(merged), case.values(case.words)) == []


@law
def records_that_are_not_known_do_not_count(case: Case, data: st.DataObject) -> None:
    number = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)
    sizes = [len(case.words), len(case.instants)]
    numbers, limits = (np.array(data.draw(st.lists(number, min_size=n, max_size=n)), np.int64) for n in sizes)
    found = case.values(np.column_stack([case.words, numbers]), limits=limits)
    for i, (as_of, limit) in enumerate(zip(case.instants, limits, strict=True)):
        known = case.values(case.words[numbers <= limit], [as_of])
        assert differences({name: [column[i]] for name, column in found.items()}, known) == []


@law
def what_had_arrived_by_an_instant_counts_as_the_oracle_says(case: Case, data: st.DataObject) -> None:
    arrivals = [event["arrival_time"] for event in case.events] or [0]
    limits = [data.draw(st.sampled_from(arrivals)) + data.draw(st.integers(-1, 1)) for _ in case.instants]
    found = case.values(case.with_arrivals(), limits=np.array(limits, dtype=np.int64))
    assert differences(found, case.truth(limits)) == []


@law
def packing_and_unpacking_changes_no_word(case: Case, data: st.DataObject) -> None:
    assert np.array_equal(case.layout.unpack(case.layout.pack(case.words)), case.words)


@law
def a_duplicate_delivery_adds_nothing_once_ids_are_deduplicated(case: Case, data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(case.events), max_size=5)) if case.events else []
    delivered = data.draw(st.permutations([*case.events, *again]))
    accepted = list({event["event_id"]: event for event in delivered}.values())
    owners, words = records(case.view, accepted)
    mine = words[[owner == entity(case.who) for owner in owners]] if owners else words
    assert differences(case.values(mine), case.values(case.words)) == []


@law
def exact_records_are_a_set(case: Case, data: st.DataObject) -> None:
    if case.view.resolution > 1:
        return
    twice = np.unique(np.concatenate([case.words, case.words[: len(case.words) // 2]]), axis=0)
    assert differences(case.values(twice), case.values(case.words)) == []


@law
def compaction_changes_no_value_from_its_earliest_instant_on(case: Case, data: st.DataObject) -> None:
    earliest = data.draw(st.sampled_from(case.instants))
    later = [as_of for as_of in (*case.instants, earliest + 1, earliest + case.view.resolution) if as_of >= earliest]
    once = compact(case.words, case.layout, case.view, earliest)
    apart = np.concatenate([compact(h, case.layout, case.view, earliest) for h in halves(case.words, data)])
    expected = case.values(case.words, later)
    assert differences(case.values(once, later), expected) == []
    assert differences(case.values(apart, later), expected) == []
    assert np.array_equal(compact(once, case.layout, case.view, earliest), once)
    assert np.array_equal(once[:, 0], np.sort(once[:, 0]))
    assert len(once) <= len(case.words)


@law
def compaction_as_events_come_changes_no_value_from_the_last_earliest_instant_on(
    case: Case, data: st.DataObject
) -> None:
    bounds = sorted(data.draw(st.sampled_from(case.instants)) for _ in range(2))
    state = case.words[:0]
    for come, earliest in zip(halves(case.words, data), bounds, strict=True):
        state = compact(np.concatenate([state, come]), case.layout, case.view, earliest)
    later = [as_of for as_of in case.instants if as_of >= bounds[-1]]
    assert differences(case.values(state, later), case.values(case.words, later)) == []


@law
def a_folded_bucket_gives_the_same_value_or_is_refused(case: Case, data: st.DataObject) -> None:
    width = case.view.resolution
    if width == 1:
        return
    folded = fold(case.words, case.layout, keep_bucket=True)
    for as_of in case.instants:
        rights = {as_of - feature.over.offset for feature in case.view.features}
        try:
            found = case.values(folded, [as_of])
        except FoldError:
            assert any((right + 1) % width for right in rights), "refused although no bucket is cut"
        else:
            assert differences(found, case.values(case.words, [as_of])) == []


@law
def a_foreign_or_damaged_value_is_refused(case: Case, data: st.DataObject) -> None:
    value = case.layout.pack(case.words)
    with pytest.raises(StateError, match="format version 2"):
        case.layout.unpack(b"\2" + value[1:])
    with pytest.raises(StateError, match="another declaration"):
        case.layout.unpack(value[:4] + bytes([value[4] ^ 1]) + value[5:])
    cut = data.draw(st.integers(1, 8 * case.layout.width - 1))
    with pytest.raises(StateError):
        case.layout.unpack(value[: len(value) - cut])


@pytest.mark.parametrize(("aggregate", "kind"), COMBINATIONS, ids=lambda each: each or "rows")
@settings(derandomize=True, deadline=None, database=None, max_examples=30)
@given(data=st.data())
def test_every_law_holds(aggregate: str, kind: str | None, data: st.DataObject) -> None:
    """Every case is held against every law: to make a case takes longer than to check most of the laws."""
    case = data.draw(cases(aggregate, kind))
    note(Paste(case.view, case.events, case.who, case.instants[-1]))
    for each in LAWS:
        each(case, data)
