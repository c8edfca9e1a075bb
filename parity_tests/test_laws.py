"""Laws that every aggregate obeys, over every kind of column it takes. New aggregates are found by themselves."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from dualpath.errors import StateError
from dualpath.parity.compare import differences
from dualpath.plan import FoldError
from dualpath.record import Fence, compact, fold
from parity_tests.events import entity, records, values
from parity_tests.scenes import Scene, scenes
from parity_tests.shrink import Paste
from parity_tests.strategies import CASES

CI = settings(derandomize=True, deadline=None, database=None, max_examples=20)


def law(test: Callable[[Scene, st.DataObject], None]) -> Callable[..., None]:
    """Run a test for every aggregate and kind, each over scenes of its own."""

    @pytest.mark.parametrize(("aggregate", "kind"), CASES, ids=lambda each: each or "rows")
    @CI
    @given(data=st.data())
    def run(aggregate: str, kind: str | None, data: st.DataObject) -> None:
        scene = data.draw(scenes(aggregate, kind))
        note(Paste(scene.view, scene.events, scene.who, scene.instants[-1]))
        test(scene, data)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def halves(words: np.ndarray, data: st.DataObject) -> tuple[np.ndarray, np.ndarray]:
    """The records dealt onto two bags at random."""
    first = np.array(data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words))), dtype=bool)
    return words[first], words[~first]


@law
def test_values_are_those_of_the_oracle(scene: Scene, data: st.DataObject) -> None:
    assert differences(scene.values(scene.words), scene.truth()) == []


@law
def test_an_entity_without_records_has_the_empty_values(scene: Scene, data: st.DataObject) -> None:
    empty = {f.name: [scene.view.output(f).empty] * len(scene.instants) for f in scene.view.features}
    assert differences(scene.values(scene.words[:0]), empty) == []


@law
def test_a_value_does_not_depend_on_what_else_is_asked(scene: Scene, data: st.DataObject) -> None:
    together = scene.values(scene.words)
    for name, column in together.items():
        alone = [values(scene.view, scene.words, [as_of], scene.texts, (name,))[name][0] for as_of in scene.instants]
        assert differences({name: alone}, {name: column}) == []


@law
def test_the_order_of_records_does_not_matter(scene: Scene, data: st.DataObject) -> None:
    shuffled = np.array(data.draw(st.permutations(range(len(scene.words)))), dtype=int)
    assert differences(scene.values(scene.words[shuffled]), scene.values(scene.words)) == []


@law
def test_two_bags_read_together_are_the_whole(scene: Scene, data: st.DataObject) -> None:
    packed = [scene.layout.pack(half, Fence(3, 7)) for half in halves(scene.words, data)]
    merged = np.concatenate([scene.layout.unpack(value) for value in packed])
    assert differences(scene.values(merged), scene.values(scene.words)) == []


@law
def test_packing_and_unpacking_changes_no_word(scene: Scene, data: st.DataObject) -> None:
    assert np.array_equal(scene.layout.unpack(scene.layout.pack(scene.words)), scene.words)


@law
def test_a_duplicate_delivery_adds_nothing_once_ids_are_deduplicated(scene: Scene, data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(scene.events), max_size=5)) if scene.events else []
    delivered = data.draw(st.permutations([*scene.events, *again]))
    accepted = list({event["event_id"]: event for event in delivered}.values())
    owners, words = records(scene.view, accepted)
    mine = words[[owner == entity(scene.who) for owner in owners]] if owners else words
    assert differences(scene.values(mine), scene.values(scene.words)) == []


@law
def test_exact_records_are_a_set(scene: Scene, data: st.DataObject) -> None:
    assume(scene.view.resolution == 1)
    twice = np.unique(np.concatenate([scene.words, scene.words[: len(scene.words) // 2]]), axis=0)
    assert differences(scene.values(twice), scene.values(scene.words)) == []


@law
def test_compaction_changes_no_value_from_its_floor_on(scene: Scene, data: st.DataObject) -> None:
    assume(scene.view.resolution == 1 or not any(f.over.offset for f in scene.view.features))
    floor = data.draw(st.sampled_from(scene.instants))
    later = [as_of for as_of in (*scene.instants, floor + 1, floor + scene.view.resolution) if as_of >= floor]
    once = compact(scene.words, scene.layout, scene.view, floor)
    apart = np.concatenate([compact(h, scene.layout, scene.view, floor) for h in halves(scene.words, data)])
    expected = scene.values(scene.words, later)
    assert differences(scene.values(once, later), expected) == []
    assert differences(scene.values(apart, later), expected) == []
    assert np.array_equal(compact(once, scene.layout, scene.view, floor), once)
    assert np.array_equal(once[:, 0], np.sort(once[:, 0]))
    assert len(once) <= len(scene.words)


@law
def test_compaction_as_events_come_changes_no_value_from_the_last_floor_on(scene: Scene, data: st.DataObject) -> None:
    assume(scene.view.resolution == 1 or not any(f.over.offset for f in scene.view.features))
    floors = sorted(data.draw(st.sampled_from(scene.instants)) for _ in range(2))
    state = scene.words[:0]
    for come, floor in zip(halves(scene.words, data), floors, strict=True):
        state = compact(np.concatenate([state, come]), scene.layout, scene.view, floor)
    later = [as_of for as_of in scene.instants if as_of >= floors[-1]]
    assert differences(scene.values(state, later), scene.values(scene.words, later)) == []


@law
def test_a_folded_bucket_gives_the_same_value_or_is_refused(scene: Scene, data: st.DataObject) -> None:
    width = scene.view.resolution
    if width == 1:
        return
    folded = fold(scene.words, scene.layout, keep_bucket=True)
    for as_of in scene.instants:
        rights = {as_of - feature.over.offset for feature in scene.view.features}
        try:
            found = scene.values(folded, [as_of])
        except FoldError:
            assert any((right + 1) % width for right in rights), "refused although no bucket is cut"
        else:
            assert differences(found, scene.values(scene.words, [as_of])) == []


@law
def test_a_foreign_or_damaged_value_is_refused(scene: Scene, data: st.DataObject) -> None:
    value = scene.layout.pack(scene.words)
    with pytest.raises(StateError, match="format version 2"):
        scene.layout.unpack(b"\2" + value[1:])
    with pytest.raises(StateError, match="another declaration"):
        scene.layout.unpack(value[:4] + bytes([value[4] ^ 1]) + value[5:])
    cut = data.draw(st.integers(1, 8 * scene.layout.width - 1))
    with pytest.raises(StateError):
        scene.layout.unpack(value[: len(value) - cut])
