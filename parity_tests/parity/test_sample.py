"""The drawing of entities and instants: from batches as from a table, and never from what names nobody."""

import weakref
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dualpath.aggregates import Count
from dualpath.errors import InputError
from dualpath.kinds import INSTANT
from dualpath.parity.sample import UNKNOWN, draw
from dualpath.view import Feature, View
from dualpath.windows import SECOND, days, minutes
from parity_tests.strategies import CLICKS

VIEW = View("seen", ("user", "shop"), CLICKS, (Feature("n", Count(), minutes(30)), Feature("all", Count(), days(7))))
ROWS = 2_000


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """Ten thousand events, nine of ten of one user, some of nobody."""
    random = np.random.default_rng(3)
    users = [("ann" if number else "bob") if number < 10 else None for number in random.integers(0, 12, 10_000)]
    times = pa.array(np.sort(random.integers(0, 10**6, 10_000)) * SECOND, pa.int64())
    shops = pa.array(random.integers(0, 5, 10_000), mask=random.random(10_000) < 0.1)
    return pa.table({"user": users, "shop": shops, "event_time": times.cast(INSTANT)})


def test_batches_of_any_size_give_the_same_draw_and_another_seed_another(events: pa.Table) -> None:
    [users, shops], as_of = draw(events.to_batches, [VIEW], ROWS, 5)
    for size in (1_000, 17):
        [again, shops_again], instants = draw(lambda size=size: events.to_batches(size), [VIEW], ROWS, 5)
        assert again.equals(users) and shops_again.equals(shops) and (instants == as_of).all()
    [other, _], _ = draw(events.to_batches, [VIEW], ROWS, 6)
    assert not other.equals(users)


def test_what_is_drawn_are_events_that_name_an_entity_each_as_likely(events: pa.Table) -> None:
    keys, as_of = draw(events.to_batches, [VIEW], ROWS, 5)
    known = events.filter(pc.and_(events["user"].is_valid(), events["shop"].is_valid()))
    sampled = known.take(pa.array(np.random.default_rng(5).integers(0, len(known), ROWS)))
    for name, key in zip(VIEW.keys, keys, strict=True):
        unknown, null = pc.equal(key, UNKNOWN[CLICKS.by_name[name].key]).fill_null(False), key.is_null()
        assert 0 < pc.sum(unknown).as_py() < ROWS / 20 and 0 < pc.sum(null).as_py() < ROWS / 20
        drawn = pc.invert(pc.or_(unknown, null))
        assert key.filter(drawn).equals(sampled[name].combine_chunks().filter(drawn))
    assert pc.sum(pc.equal(keys[0], "ann")).as_py() > 0.8 * ROWS
    first, time = (known["event_time"].cast(pa.int64()).to_numpy().min(), sampled["event_time"].cast(pa.int64()))
    away = as_of - time.to_numpy()
    for kind in (0, 30 * 60 * SECOND, 7 * 86_400 * SECOND, 40 * 86_400 * SECOND):
        assert {-1, 0, 1} <= {*(away - kind).tolist()}
    assert {-2, -1, 0} <= {*(as_of - first).tolist()}


def test_the_draw_holds_one_batch_at_a_time(events: pa.Table) -> None:
    held: list[int] = []

    def scan() -> Iterator[pa.RecordBatch]:
        alive: list[weakref.ref[pa.RecordBatch]] = []
        for start in range(0, len(events), 100):
            [batch] = events.slice(start, 100).combine_chunks().to_batches()
            alive.append(weakref.ref(batch))
            yield batch
            del batch
            held.append(sum(each() is not None for each in alive))

    draw(scan, [VIEW], ROWS, 5)
    assert len(held) == 200 and max(held) <= 1


def test_without_an_event_that_names_an_entity_there_is_nothing_to_draw(events: pa.Table) -> None:
    nobody = events.filter(events["user"].is_null())
    with pytest.raises(InputError, match=r"no event of 'clicks' has user, shop, by which view 'seen' is"):
        draw(nobody.to_batches, [VIEW], ROWS, 5)
