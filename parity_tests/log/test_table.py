"""The table of the log: whoever commits, from however many processes, every commit is there once or refused."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualpath.errors import StateError
from dualpath.log import snapshot
from dualpath.log.forms import Forms, schema
from dualpath.log.snapshot import DataFile, Snapshot
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE, GRACE_HOURS, LogTable, ReplacedError, Table
from dualpath.schema import integer, text
from parity_tests.evolved import orders

COLUMNS = schema(Forms.of(orders()))
DAY = "2026-03-01"
HOUR = 3_600


@pytest.fixture
def table(tmp_path: Path) -> LogTable:
    made = Table(tmp_path / "orders/log", DataFile)
    made.ensure(COLUMNS)
    return made


def file(
    table: LogTable,
    name: str,
    *,
    outcome: str = ACCEPTED,
    day: str = DAY,
    batch: tuple[int, int] = (1, 0),
    rows: int = 1,
) -> DataFile:
    """A file of a batch that no commit has."""
    query, number = batch
    path = table.folder / DataFile.place(outcome, day) / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"event_id": [f"{name} {n}" for n in range(rows)], "query": pa.array([query] * rows, pa.int32())}
    pq.write_table(pa.table(columns | {"batch": [number] * rows}), path)
    relative = str(path.relative_to(table.folder))
    return DataFile(relative, path.stat().st_size, rows, outcome, day, (query, query), (number, number))


def names(table: LogTable) -> list[str]:
    """The names of all files, for a process that starts now."""
    return sorted(Path(path).stem for path in Snapshot.of(DataFile, table.opened()).actions["path"].to_pylist())


def replaced(table: LogTable, by: Path) -> None:
    """Let another folder take the place of the table's."""
    shutil.rmtree(table.folder)
    shutil.copytree(by, table.folder)


def test_writers_that_race_for_a_version_all_land(table: LogTable) -> None:
    """Each has a table of its own, as a process has; all see the same version before they begin."""
    writers = [Table(table.folder, DataFile) for _ in range(4)]
    assert {each.snapshot().version for each in writers} == {0}

    def write(number: int) -> list[int]:
        own = writers[number]
        return [
            own.commit("WRITE", [file(own, f"{number}-{n}", batch=(number + 1, n))], transaction=(f"q{number}", n))
            for n in range(15)
        ]

    with ThreadPoolExecutor(4) as threads:
        versions = [version for found in threads.map(write, range(4)) for version in found]
    assert sorted(versions) == list(range(1, 61))
    assert names(table) == sorted(f"{number}-{n}" for number in range(4) for n in range(15))


def before(table: LogTable) -> LogTable:
    """A process that has looked before the commit."""
    found = Table(table.folder, DataFile)
    found.snapshot()
    return found


def looking(table: LogTable) -> LogTable:
    """It, when it has looked once more."""
    table.snapshot()
    return table


SECOND: dict[str, Callable[[LogTable, LogTable], LogTable]] = {
    "the same process": lambda first, _: first,
    "one that looked before": lambda _, early: early,
    "one that looked before and since": lambda _, early: looking(early),
    "a new one": lambda first, _: Table(first.folder, DataFile),
}


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("number", [4, 5])
@pytest.mark.parametrize("removes", [False, True])
def test_a_transaction_that_the_table_has_is_refused(table: LogTable, second: str, number: int, removes: bool) -> None:
    early = before(table)
    early.commit("WRITE", [file(table, "of another")], transaction=("query-1", 0))
    table.commit("WRITE", [file(table, "first")], transaction=("query-1", 5))
    table.commit("WRITE", kept := [file(table, "between")], transaction=("query-2", 9))
    writer = SECOND[second](table, early)
    with pytest.raises(StateError, match="query-1 has committed 5 already"):
        writer.commit("WRITE", [file(table, "again")], kept if removes else (), transaction=("query-1", number))
    assert names(table) == ["between", "first", "of another"]
    writer.commit("WRITE", [file(table, "next")], kept if removes else (), transaction=("query-1", 6))
    assert ("between" in names(table)) is not removes and "next" in names(table)
    assert (table.transaction("query-1"), table.transaction("query-2"), table.transaction("x")) == (6, 9, None)


def test_a_file_that_another_has_removed_cannot_be_removed_again(
    table: LogTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = file(table, "a"), file(table, "b")
    table.commit("WRITE", [a, b])
    late, seen = Table(table.folder, DataFile), table.snapshot()
    table.commit("OPTIMIZE", [file(table, "ab")], [a, b])
    with pytest.raises(ReplacedError, match=r"another job has replaced outcome=.*/b\.parquet meanwhile"):
        late.commit("DELETE", [file(table, "b without a row")], [b])
    # It looked right before the other one committed.
    monkeypatch.setattr(late, "snapshot", lambda: seen)
    with pytest.raises(ReplacedError, match="run this one again"):
        late.commit("DELETE", [file(table, "b without a row")], [b])
    assert names(table) == ["ab"]


def test_a_removal_and_a_write_of_others_are_no_conflict(table: LogTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table.commit("WRITE", [a := file(table, "a")])
    late, seen = Table(table.folder, DataFile), table.snapshot()
    table.commit("WRITE", [b := file(table, "b")])
    table.commit("DELETE", [], [b])
    monkeypatch.setattr(late, "snapshot", lambda: seen)
    assert late.commit("DELETE", [file(table, "c")], [a]) == 4
    assert names(table) == ["c"]


def test_after_an_older_copy_has_taken_its_place_a_process_goes_on_behind_it(table: LogTable, tmp_path: Path) -> None:
    for number in range(3):
        table.commit("WRITE", [file(table, f"kept {number}")], transaction=("q", number))
    older = shutil.copytree(table.folder, tmp_path / "older")
    for number in range(3, 6):
        table.commit("WRITE", [file(table, f"lost {number}")], transaction=("q", number))
    assert table.snapshot().version == 6
    replaced(table, older)
    assert table.snapshot().version == 3
    with pytest.raises(StateError, match="q has committed 2 already"):
        table.commit("WRITE", [file(table, "again")], transaction=("q", 2))
    assert table.commit("WRITE", [file(table, "new")], transaction=("q", 3)) == 4
    assert names(table) == ["kept 0", "kept 1", "kept 2", "new"]


def test_after_another_table_of_as_many_versions_has_taken_its_place_it_is_read(
    table: LogTable, tmp_path: Path
) -> None:
    other = Table(tmp_path / "other", DataFile)
    other.ensure(COLUMNS)
    for each, name in ((table, "mine"), (other, "theirs")):
        each.commit("WRITE", [file(each, name)], transaction=("q", 0))
    assert table.snapshot().files(outcome=ACCEPTED)[0].path.endswith("mine.parquet")
    replaced(table, other.folder)
    assert table.snapshot().files(outcome=ACCEPTED)[0].path.endswith("theirs.parquet")
    assert table.commit("WRITE", [file(table, "next")], transaction=("q", 1)) == 2
    assert names(table) == ["next", "theirs"]


def test_a_commit_without_a_table_is_refused_and_makes_none(table: LogTable, tmp_path: Path) -> None:
    nowhere = Table(tmp_path / "nowhere", DataFile)
    table.commit("WRITE", [file(table, "a")])
    shutil.rmtree(table.folder / "_delta_log")
    for each in (nowhere, table):
        with pytest.raises(StateError, match="there is no table any more"):
            each.commit("WRITE", [file(each, "b")])
        assert not each.exists() and each.snapshot().version == -1 and each.snapshot().files(outcome=ACCEPTED) == []
        assert each.transaction("q") is None and not [*each.folder.glob("_delta_log/*")]


@pytest.mark.parametrize("old", [False, True])
def test_no_commit_takes_the_place_of_one_that_was_cleaned_up(
    table: LogTable, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a process that committed last before others did, a day ago."""
    table.commit("WRITE", [file(table, "first")])
    other = Table(table.folder, DataFile)
    for number in range(4):
        other.commit("WRITE", [file(table, f"{number}")])
    other.checkpoint()
    for version in range(2 if old else 0, 5):
        commit = table.folder / "_delta_log" / f"{version:020}.json"
        commit.unlink()
    if old:
        now = time.time() + 25 * HOUR
        monkeypatch.setattr("dualpath.log.table.time.time", lambda: now)
    assert table.commit("WRITE", [file(table, "next")]) == 6
    assert names(table) == ["0", "1", "2", "3", "first", "next"]


def test_a_first_table_the_same_columns_and_more_of_them(tmp_path: Path) -> None:
    table = Table(tmp_path / "log", DataFile)
    assert not table.exists()
    for _ in range(2):
        table.ensure(COLUMNS)
        assert table.snapshot().version == 0 and table.opened().metadata().partition_columns == [
            "outcome",
            "arrival_day",
        ]
    table.commit("WRITE", [file(table, "a")])
    table.ensure(COLUMNS)
    assert table.snapshot().version == 1
    wider = schema(Forms.of(orders(text("note"), integer("weight"))))
    table.ensure(wider)
    table.ensure(wider)
    found = {field.name: str(field.type) for field in table.opened().schema().fields}
    assert table.snapshot().version == 2 and names(table) == ["a"]
    assert {*wider.names} == {*found} and "long" in found["weight"]
    table.ensure(COLUMNS)  # of a declaration that has fewer fields: those of before stay
    assert table.snapshot().version == 2


def test_a_table_without_files_takes_any_columns(tmp_path: Path) -> None:
    table = Table(tmp_path / "log", DataFile)
    for source in (orders(text("weight"), text("gone")), orders(integer("weight"))):
        table.ensure(wanted := schema(Forms.of(source)))
    assert {field.name for field in table.opened().schema().fields} == {*wanted.names}
    table.commit("WRITE", [file(table, "a")])
    assert names(table) == ["a"]


def test_a_snapshot_is_kept_until_there_is_another_one(table: LogTable, tmp_path: Path) -> None:
    other = Table(table.folder, DataFile)
    first = table.snapshot()
    assert table.snapshot() is first
    other.commit("WRITE", [file(table, "a")])
    second = table.snapshot()
    assert (first.version, second.version) == (0, 1) and table.snapshot() is second
    older = shutil.copytree(table.folder, tmp_path / "older")
    other.commit("WRITE", [file(table, "b")])
    assert len(table.snapshot().files(outcome=ACCEPTED)) == 2
    replaced(table, older)
    assert table.snapshot().files(outcome=ACCEPTED) == second.files(outcome=ACCEPTED)


def test_files_are_those_of_the_outcome_and_the_days_oldest_batches_first(table: LogTable) -> None:
    draw, made = Random(3), list[DataFile]()
    outcomes, days = (ACCEPTED, DUPLICATE, DEAD_LETTER), ("2026-03-01", "2026-03-02", "0001-01-01")
    for number in range(40):
        batch = (draw.randrange(1, 4), draw.randrange(12))
        outcome, day = draw.choice(outcomes), draw.choice(days)
        made.append(file(table, f"{number}", outcome=outcome, day=day, batch=batch, rows=draw.randrange(1, 5)))
    for at in range(0, 40, 8):
        table.commit("WRITE", made[at : at + 8])
    gone = draw.sample(made, 6)
    table.commit("DELETE", [], gone)

    def plain(outcome: str, some: Any = None) -> list[DataFile]:
        found = [f for f in made if f not in gone and f.outcome == outcome and (some is None or f.arrival_day in some)]
        return sorted(found, key=lambda each: (each.queries[0], each.batches[0], each.path))

    table.checkpoint()
    for each in (table, Table(table.folder, DataFile)):
        for outcome in outcomes:
            assert each.snapshot().files(outcome=outcome) == plain(outcome)
            for some in ([], days[:1], days[1:], ["1999-01-01"]):
                assert each.snapshot().files(outcome=outcome, arrival_day=some) == plain(outcome, some)


def test_a_file_overlaps_the_batches_that_it_may_have_rows_of() -> None:
    for queries in ((1, 1), (1, 3)):
        for batches in ((2, 2), (2, 4)):
            each = DataFile("", 0, 0, ACCEPTED, DAY, queries, batches)
            of = {(q, b) for q in range(queries[0], queries[1] + 1) for b in range(batches[0], batches[1] + 1)}
            for query, first, last in ((q, f, la) for q in range(5) for f in range(7) for la in range(f, 7)):
                assert each.overlaps(query, first, last) is any((query, b) in of for b in range(first, last + 1))
            assert each.first == min(of)


def test_vacuum_leaves_what_somebody_may_still_read(table: LogTable, monkeypatch: pytest.MonkeyPatch) -> None:
    stays, late, early = (file(table, name) for name in ("stays", "removed now", "removed before"))
    table.commit("WRITE", [stays, late, early])
    with monkeypatch.context() as patched:
        ago = (time.time() - (GRACE_HOURS + 1) * HOUR) * 1_000
        patched.setattr(snapshot, "milliseconds", lambda: int(ago))
        table.commit("DELETE", [], [early])
    table.commit("DELETE", [], [late])
    staged, old = file(table, "not committed yet"), file(table, "never committed")
    at = time.time() - (GRACE_HOURS + 1) * HOUR
    os.utime(table.folder / old.path, (at, at))
    assert {*table.vacuum()} == {early.path, old.path}
    there = {path.stem for path in table.folder.rglob("*.parquet")}
    assert there == {"stays", "removed now", "not committed yet"} and names(table) == ["stays"]
    table.commit("WRITE", [staged])
    table.remove_unused()
    assert {path.stem for path in table.folder.rglob("*.parquet")} == {"stays", "not committed yet"}


def test_what_a_crash_leaves_of_a_commit_is_no_commit(table: LogTable) -> None:
    (table.folder / "_delta_log" / f".{1:020}.json.0123").write_text('{"add"')
    assert table.snapshot().version == 0
    assert table.commit("WRITE", [file(table, "a")]) == 1
    assert Table(table.folder, DataFile).snapshot().version == 1 and names(table) == ["a"]
