"""The log in batches of bounded size, and the events that the oracle needs of it."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from dualpath.aggregates import Count
from dualpath.changes import Changes
from dualpath.log.storage import Storage
from dualpath.parity import events
from dualpath.parity.events import Log, read
from dualpath.view import Feature, View
from dualpath.windows import days
from parity_tests.evolved import commit
from parity_tests.strategies import CHANGED, CLICKS

BY_USER = View("by_user", ("user",), CLICKS, (Feature("events", Count(), days(7)),))
BY_SHOP = replace(BY_USER, keys=("user", "shop"))


def rows(count: int, first: int = 0) -> pa.Table:
    """Clicks of ten users in three shops."""
    clicks = [
        {"event_id": f"e{n}", "event_time": n, "arrival_time": n, "user": f"u{n % 10}", "shop": n % 3}
        for n in range(first, first + count)
    ]
    return pa.Table.from_pylist(clicks, CLICKS.stored)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Three micro-batches of a thousand clicks each."""
    made = Storage(tmp_path / "data", "clicks")
    for number in range(3):
        commit(made, CLICKS, rows(1_000, 1_000 * number))
    return made


def test_a_scan_has_every_event_in_one_order_and_few_at_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ROWS", 64)
    log = Log(storage, CLICKS)
    batches = [*log.batches(["event_id", "user"])]
    assert max(batch.num_rows for batch in batches) <= 64
    assert pa.Table.from_batches(batches)["event_id"].to_pylist() == [f"e{n}" for n in range(3_000)]
    assert [*log.batches(["event_id", "user"])] == batches
    assert read(storage, CLICKS).select(["event_id", "user"]).equals(pa.Table.from_batches(batches))


def test_a_log_never_sees_what_comes_after_it_is_made(storage: Storage) -> None:
    log = Log(storage, CLICKS)
    commit(storage, CLICKS, rows(5, 3_000))
    assert sum(batch.num_rows for batch in log.batches(["user"])) == 3_000
    assert sum(batch.num_rows for batch in Log(storage, CLICKS).batches(["user"])) == 3_005


@pytest.mark.parametrize(
    ("view", "entities", "expected"),
    [
        (BY_USER, {("u3",), ("u7",)}, 600),
        (BY_USER, {("nobody",)}, 0),
        (BY_USER, set(), 0),
        (BY_SHOP, {("u3", 0)}, 100),
    ],
)
def test_a_copy_has_the_events_of_the_entities_alone(
    view: View, entities: set[tuple], expected: int, storage: Storage, tmp_path: Path
) -> None:
    found = Log(storage, CLICKS).copy(view, entities, tmp_path / "copy").to_table()
    assert found.schema == CLICKS.stored
    names = {each[0] for each in entities}
    mine = [n for n in range(3_000) if f"u{n % 10}" in names and (view is BY_USER or n % 3 == 0)]
    assert len(mine) == expected and sorted(found["event_id"].to_pylist()) == sorted(f"e{n}" for n in mine)


def test_a_copy_has_the_versions_of_rows_that_were_the_entitys_or_became_anothers(tmp_path: Path) -> None:
    silent = Changes(key="place", version="edition")
    says = Changes(key="place", version="edition", before="before")
    versions = [
        {"event_id": "first", "user": "ann", "place": 1},
        {"event_id": "moved", "user": "bob", "place": 1, "before_user": "ann"},
        {"event_id": "of another row", "user": "bob", "place": 2},
    ]
    for changes, known in ((silent, {"first", "moved"}), (says, {"first", "moved"})):
        source = replace(CHANGED, changes=changes, lookups=())
        storage = Storage(tmp_path / str(changes.before), "changed")
        for number, version in enumerate(versions):
            row = {"event_time": number, "arrival_time": number, "shop": 1, "edition": number, **version}
            commit(storage, source, pa.Table.from_pylist([row], source.stored))
        view = replace(BY_USER, source=source)
        copied = Log(storage, source).copy(view, {("ann",)}, tmp_path / f"copy of {changes.before}")
        assert {*copied.to_table()["event_id"].to_pylist()} == known
