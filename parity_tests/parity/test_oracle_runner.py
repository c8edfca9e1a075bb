"""The oracle asked about a log: what it gets of it is enough."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from dualpath.aggregates import Count
from dualpath.changes import Changes
from dualpath.log.storage import Storage
from dualpath.parity.compare import differences
from dualpath.parity.events import Log, read
from dualpath.parity.oracle_runner import answers
from dualpath.view import Feature, View
from dualpath.windows import SECOND, days, lifetime
from parity_tests.cases import cases
from parity_tests.evolved import commit
from parity_tests.generated import drawn
from parity_tests.strategies import CHANGED, CLICKS, COMBINATIONS


@pytest.mark.parametrize(("aggregate", "kind"), COMBINATIONS)
def test_the_events_of_some_entities_give_what_those_of_all_give(
    aggregate: str, kind: str | None, tmp_path: Path
) -> None:
    for number, case in enumerate(drawn(cases(aggregate, kind), 3, 3)):
        source, storage = case.view.source, Storage(tmp_path / f"{number}", "log")
        commit(storage, source, pa.Table.from_pylist(case.events, source.stored))
        copied = Log(storage, source).copy(case.view, {case.who}, tmp_path / f"copy {number}")
        asked = [(case.who, as_of) for as_of in case.instants]
        for limits in (None, [as_of - SECOND for as_of in case.instants]):
            found = answers(case.view, [copied], asked, limits)
            columns = {each.name: [row[each.name] for row in found] for each in case.view.features}
            assert differences(columns, case.truth(limits)) == []


def test_a_row_that_moved_without_a_word_counts_for_its_last_entity_alone(tmp_path: Path) -> None:
    source = replace(CHANGED, changes=Changes(key="place", version="edition"), lookups=())
    view = View("v", ("user",), source, (Feature("week", Count(), days(7)), Feature("ever", Count(), lifetime())))
    storage = Storage(tmp_path / "data", "changed")
    for time, user in ((1, "ann"), (2, "bob"), (3, "ann"), (4, "bob")):
        row = {"event_id": f"e{time}", "user": user, "shop": 1, "place": 1, "edition": time}
        commit(
            storage, source, pa.Table.from_pylist([{**row, "event_time": time, "arrival_time": time}], source.stored)
        )
    asked = [((user,), as_of) for as_of in (1, 2, 3, 4) for user in ("ann", "bob", None)]
    expected = [{"week": n, "ever": n} for n in (1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0)]
    copied = Log(storage, source).copy(view, {("ann",)}, tmp_path / "copy")
    assert answers(view, [copied], asked) == answers(view, [read(storage, source)], asked) == expected


def test_the_oracle_gets_what_is_on_either_edge_of_its_longest_window(tmp_path: Path) -> None:
    week = 7 * 86_400 * SECOND
    view = View("v", ("user",), CLICKS, (Feature("week", Count(), days(7)), Feature("day", Count(), days(1))))
    storage = Storage(tmp_path / "data", "clicks")
    row = {"event_id": "e", "user": "ann", "event_time": week, "arrival_time": week}
    commit(storage, CLICKS, pa.Table.from_pylist([row], CLICKS.stored))
    asked = [(("ann",), as_of) for as_of in (week - 1, week, 2 * week - 1, 2 * week)]
    assert [found["week"] for found in answers(view, [read(storage, CLICKS)], asked)] == [0, 1, 1, 0]
