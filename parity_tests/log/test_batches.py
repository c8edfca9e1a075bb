"""Micro-batches in the log: begun, noted and finished in any order, with crashes; each is there once."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from dualpath.errors import StateError
from dualpath.log import audit, batches, forms, table
from dualpath.log.accounts import Entry
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, BATCH, DEAD_LETTER, DUPLICATE, LogTable, Table
from dualpath.record import UNFENCED, Fence
from dualpath.steps import Step
from parity_tests import evolved, faults, logged

SOURCE = evolved.orders()
DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
CLOCK = 1_772_323_200_000_000
OUTCOMES = (ACCEPTED, DUPLICATE, DEAD_LETTER)
Files = dict[tuple[str, str], pa.Table]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return made(tmp_path / "data")


def made(root: Path) -> Storage:
    found = evolved.storage(root)
    found.table.ensure(forms.schema(forms.known(found, SOURCE)))
    return found


def restarted(storage: Storage) -> Storage:
    """What a process that starts now knows."""
    table.log_table.cache_clear()
    batches._known.cache_clear()
    return Storage(storage.root, storage.source)


def rows(name: str, count: int) -> pa.Table:
    return pa.table({"event_id": [f"{name} {number}" for number in range(count)]})


def drawn(draw: Random, name: str) -> Files:
    """The rows of a batch: maybe none at all."""
    found = {(ACCEPTED, day): rows(f"{name} {day}", draw.randrange(4)) for day in DAYS if draw.random() < 0.5}
    found |= {(outcome, DAYS[0]): rows(f"{name} {outcome}", draw.randrange(3)) for outcome in OUTCOMES[1:]}
    return {place: each for place, each in found.items() if len(each)}


def filled(storage: Storage, seed: int, queries: tuple[int, ...] = (9, 1, 7)) -> list[tuple[Entry, Files]]:
    """Batches of some queries, as many of each as is said, the last of them not finished; answers all of them."""
    draw, found = Random(seed), []
    for query, count in enumerate(queries, 1):
        for number in range(count):
            last = (query, number) == (len(queries), count - 1)
            files = drawn(draw, f"q{query}b{number}")
            more = {"positions": {"shop/0": 10 * number + query, f"{number}.jsonl": number}, "clock": CLOCK + number}
            entry = logged.append(storage, SOURCE, files, batch=Fence(query, number), finished=not last, **more)
            found.append((entry, files))
    return found


def ids(storage: Storage) -> dict[str, list[str]]:
    """The rows of every outcome."""
    tables = {outcome: logged.rows(storage, outcome) for outcome in OUTCOMES}
    return {outcome: sorted(t["event_id"].to_pylist()) if len(t) else [] for outcome, t in tables.items()}


def told(storage: Storage) -> dict[str, Any]:
    """All that is asked of a log."""
    accounts = storage.accounts()
    return {
        "accounts": accounts.rows.to_pylist(),
        "total": accounts.total(),
        "logged": storage.logged().last(),
        "reached": storage.reached(),
        "through": storage.through(),
        "days": storage.arrival_days(),
        "complete": {day: storage.complete_through(day) for day in ("2026-02-28", *DAYS, "9999-12-31")},
        "digests": (storage.digests("salt"), storage.digests("")),
        "positions": [storage.positions(before) for before in range(5)],
        "newest": storage.newest_arrival(),
        "ids": ids(storage),
        "of days": [len(storage.files(arrival_days=[day])) > 0 for day in DAYS],
        "events": storage.events(DAYS),
        "faults": audit.faults(storage, accounts, opened=True),
    }


def walked(found: list[tuple[Entry, Files]]) -> dict[str, Any]:
    """The same of finished batches, by a walk over them."""
    last = {entry.query: entry.batch for entry, _ in found}
    done = {outcome: list[str]() for outcome in OUTCOMES}
    accepted = Counter[str]()
    for _, files in found:
        for (outcome, day), each in files.items():
            done[outcome] += each["event_id"].to_pylist()
            accepted[day] += len(each) if outcome == ACCEPTED else 0

    def complete(day: str) -> Fence:
        before = UNFENCED
        for entry, _ in found:
            if max(entry.arrival_days, default="") > day:
                break
            before = entry.fence
        return before

    return {
        "through": last,
        "days": sorted({day for entry, _ in found for day in entry.arrival_days}),
        "complete": {day: complete(day) for day in ("2026-02-28", *DAYS, "9999-12-31")},
        "ids": {outcome: sorted(each) for outcome, each in done.items()},
        "of days": [any(day in entry.arrival_days for entry, _ in found) for day in DAYS],
        "events": +accepted,
        "faults": [],
    }


CHANGES: dict[str, Callable[[Storage], object]] = {
    "nothing": lambda storage: None,
    "sum_up": lambda storage: batches.sum_up(storage.table),
    "compaction": logged.compact,
    "both": lambda storage: (batches.sum_up(storage.table), logged.compact(storage), storage.table.remove_unused()),
    "both again": lambda storage: [CHANGES["both"](storage) for _ in range(2)],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_log_tells_what_a_walk_over_its_batches_does_however_its_files_are(
    storage: Storage, change: str, seed: int
) -> None:
    *finished, _ = filled(storage, seed)
    before, expected = told(storage), walked(finished)
    assert {name: before[name] for name in expected} == expected
    CHANGES[change](storage)
    assert told(storage) == before and told(restarted(storage)) == before
    assert {len(storage.files()) == len(storage.arrival_days())} == {"compaction" in change or "both" in change}


def test_digests_change_with_the_batches_of_a_day_and_with_no_others(storage: Storage) -> None:
    logged.append(storage, SOURCE, {(ACCEPTED, day): rows(day, 1) for day in DAYS})
    before = storage.digests("salt")
    assert storage.digests("other").keys() == before.keys() == {*DAYS}
    assert not {*storage.digests("other").values()} & {*before.values()}
    logged.append(storage, SOURCE, {(ACCEPTED, DAYS[1]): rows("more", 1), (DEAD_LETTER, DAYS[0]): rows("x", 1)})
    after = storage.digests("salt")
    assert [before[day] == after[day] for day in DAYS] == [True, False, True]


def test_a_batch_that_is_not_finished_has_no_files_but_for_itself(storage: Storage) -> None:
    logged.append(storage, SOURCE, {(ACCEPTED, DAYS[0]): rows("a", 2)})
    entry = logged.append(storage, SOURCE, {(ACCEPTED, DAYS[0]): rows("b", 3)}, finished=False)
    assert [file.rows for file in storage.files()] == [2] and storage.accounts().total().accepted == 2
    assert storage.logged().total().accepted == 5 and storage.reached() == (Fence(1, 0), Fence(1, 1))
    [own] = storage.paths_of(entry.fence)
    logged.compact(storage)
    assert storage.paths_of(entry.fence) == [own] and own not in storage.paths()
    storage.finish(entry)
    assert sorted(file.rows for file in storage.files()) == [2, 3] and own in storage.paths()


def land(storage: Storage, fence: Fence, attempt: int) -> Entry:
    """A batch as the stream takes it through its steps, with rows that each attempt has others of."""
    entry = storage.begin(*fence)
    file = logged.write(storage, fence, ACCEPTED, DAYS[0], rows(f"{fence} {attempt}", 3))
    if not entry.logged:
        entry = storage.note(entry, [file], rows_read=3, accepted=3, arrival_days=DAYS[:1], clock=CLOCK)
    else:
        (storage.folder("log") / file.path).unlink()
    return entry if entry.done else storage.finish(entry)


PLACES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "when it is begun": lambda m: faults.crash(m, logged, "write"),
    "before it is committed": lambda m: faults.crash_at(m, Step.COMMIT),
    "when it is committed": lambda m: faults.crash_at(m, Step.COMMIT, after=True),
    "before it is done": lambda m: faults.crash(m, Storage, "finish"),
    "when it is done": lambda m: faults.crash(m, Storage, "finish", after=True),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("handed_over", [False, True])
def test_a_batch_that_dies_anywhere_is_there_once_with_the_rows_that_were_committed_first(
    storage: Storage, place: str, handed_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        land(storage, Fence(1, number), 0)
    with monkeypatch.context() as patched:
        PLACES[place](patched)
        with pytest.raises(faults.Crash):
            land(storage, Fence(1, 2), 0)
    again, committed = restarted(storage), place not in ("when it is begun", "before it is committed")
    assert audit.faults(again, again.accounts(), opened=True) == []
    assert len(again.logged()) == 2 + committed and len(again.accounts()) == 2 + (place == "when it is done")
    if handed_over:
        again.leave_off()
        assert again.reached() == (Fence(1, 1 + committed),) * 2
        next_one = Fence(2, 0)
    else:
        assert land(again, Fence(1, 2), 1).done
        next_one = Fence(1, 3)
    land(again, next_one, 0)
    fences = [Fence(1, 0), Fence(1, 1), *([Fence(1, 2)] if committed or not handed_over else []), next_one]
    attempts = {Fence(1, 2): 0 if committed else 1}
    right = sorted(f"{fence} {attempts.get(fence, 0)} {n}" for fence in fences for n in range(3))
    assert ids(again)[ACCEPTED] == right and again.accounts().total().accepted == len(right)
    assert [e.fence for e in logged.entries(again)] == fences and all(e.done for e in logged.entries(again))
    assert audit.faults(again, again.accounts(), opened=True) == []


def test_any_run_of_crashes_replays_and_handovers_has_every_batch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream of a process that dies replays its last batch; or another generation reads what it has not logged."""
    monkeypatch.setattr(batches, "SUMMED_UP", 3)
    for seed in range(6):
        draw, storage = Random(seed), made(tmp_path / f"{seed}")
        fence, right, crashes = Fence(1, 0), Counter[str](), 0
        for attempt in range(25):
            with monkeypatch.context() as patched:
                if place := draw.choice([*PLACES, "", "", ""]):
                    PLACES[place](patched)
                try:
                    land(storage, fence, attempt)
                except faults.Crash:
                    crashes += 1
                    storage = restarted(storage)
            committed = storage.logged().entry(fence, done=True) is not None
            if committed:
                right[str(fence)] = 3
            if draw.random() < 0.2:
                storage.leave_off()
                fence = Fence(fence.query + 1, 0)
            elif committed and storage.reached()[0] == fence:
                fence = Fence(fence.query, fence.batch + 1)
            if draw.random() < 0.2:
                logged.compact(storage)
        storage.leave_off()
        assert Counter(name.rsplit(" ", 2)[0] for name in ids(storage)[ACCEPTED]) == right
        assert storage.accounts().total().batches == len(right) > 5 < crashes
        assert audit.faults(storage, storage.accounts(), opened=True) == []


def test_an_older_batch_that_is_replayed_is_what_it_was(storage: Storage) -> None:
    found = [land(storage, Fence(1, number), 0) for number in range(4)]
    storage.begin(1, 4)
    before = storage.reached()
    for entry in found:
        assert storage.begin(*entry.fence) == entry
        assert storage.finish(entry) == entry and land(storage, entry.fence, 1) == entry
    assert storage.reached() == before and storage.accounts().total().accepted == 12


def test_a_batch_that_the_log_has_is_not_noted_again(storage: Storage, tmp_path: Path) -> None:
    """As when the ledger came back from an older copy and the log did not. Who replays it then has what the log has."""
    land(storage, Fence(1, 0), 0)
    older = shutil.copytree(storage.folder("ledger"), tmp_path / "older")
    there = land(storage, Fence(1, 1), 0)
    shutil.rmtree(storage.folder("ledger"))
    shutil.copytree(older, storage.folder("ledger"))
    assert storage.accounts().total().accepted == 3 and len(storage.files()) == 1
    with pytest.raises(StateError, match="query-1 has committed 1 already"):
        land(storage, Fence(1, 1), 1)
    assert len(ids(storage)[ACCEPTED]) == 3
    again = restarted(storage)
    assert land(again, Fence(1, 1), 2) == there
    assert ids(again)[ACCEPTED] == sorted(f"{Fence(1, batch)} 0 {n}" for batch in range(2) for n in range(3))


def test_a_batch_whose_file_is_gone_before_its_commit_is_not_noted(storage: Storage) -> None:
    """As after a stream stood still for half a day, and a night vacuumed."""
    entry = storage.begin(1, 0)
    there, gone = (logged.write(storage, entry.fence, ACCEPTED, DAYS[0], rows(name, 2)) for name in ("there", "gone"))
    (storage.folder("log") / gone.path).unlink()
    with pytest.raises(StateError, match=r"part-\w+\.parquet is gone before it was committed; start the stream again"):
        storage.note(entry, [there, gone], rows_read=4, accepted=4)
    assert storage.files() == [] and len(storage.logged()) == 0


def test_a_batch_keeps_the_days_that_were_closed_when_it_began(storage: Storage) -> None:
    day = date(2026, 3, 1)
    assert storage.begin(1, 0).closed_through == "" and storage.unfinished(day)
    storage.close_day(day)
    assert storage.begin(1, 0).closed_through == "" and storage.unfinished(day)
    noted = storage.note(storage.begin(1, 0), [], rows_read=1, skipped=1)
    assert restarted(storage).begin(1, 0) == noted and noted.closed_through == ""
    storage.finish(noted)
    assert not storage.unfinished(day)
    assert storage.begin(1, 1).closed_through == "2026-03-01" and not storage.unfinished(day)
    assert storage.unfinished(day + timedelta(days=1))
    storage.close_day(day - timedelta(days=1))
    assert storage.closed_through == "2026-03-01"
    storage.leave_off()
    assert storage.reached() == (Fence(1, 0),) * 2 and storage.begin(2, 0).closed_through == "2026-03-01"


def test_every_so_many_batches_accounts_are_in_one_file_a_day_and_commits_in_a_checkpoint(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "SUMMED_UP", 4)
    checkpoint, day = storage.folder("log") / "_delta_log" / "_last_checkpoint", 86_400_000_000
    files = []
    for number in range(10):
        logged.append(storage, SOURCE, {(ACCEPTED, DAYS[0]): rows(f"{number}", 1)}, clock=CLOCK + number // 6 * day)
        files.append(len(storage.table.snapshot().files(outcome=BATCH)))
        assert checkpoint.exists() is (number >= 3)
    assert files == [1, 2, 3, 1, 2, 3, 4, 2, 3, 4]
    before, version = told(storage), storage.table.snapshot().version
    for commit in storage.folder("log").glob("_delta_log/*0[0-3].json"):
        commit.unlink()  # the checkpoint has it
    assert told(restarted(storage)) == before
    monkeypatch.undo()
    batches.sum_up(storage.table)
    batches.sum_up(storage.table)
    assert storage.table.snapshot().version == version + 1 and told(storage) == before


def test_accounts_that_two_jobs_sum_up_at_once_are_there_once(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(storage, 3)
    before, real, first = told(storage), batches._read, iter([True])

    def read(mine: LogTable, files: Any) -> pa.Table:
        if next(first, False):
            batches.sum_up(Table(storage.folder("log"), DataFile))
        return real(mine, files)

    monkeypatch.setattr(batches, "_read", read)
    batches.sum_up(storage.table)
    assert told(storage) == told(restarted(storage)) == before


def test_threads_that_ask_while_a_stream_goes_on_never_count_a_batch_twice(storage: Storage) -> None:
    """Each sees whole batches: as many as there were when it asked, or more."""
    entries: Iterator[int] = iter(range(40))

    def ask(_: int) -> bool:
        last = 0
        while last < 40:
            total = storage.accounts().total()
            assert total.batches >= last and total.accepted == 2 * total.batches == total.rows_read
            assert sum(file.rows for file in storage.files()) >= total.accepted
            last = total.batches
        return True

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask, number) for number in range(4)]
        for number in entries:
            logged.append(storage, SOURCE, {(ACCEPTED, DAYS[0]): rows(f"{number}", 2)})
        assert all(each.result() for each in asking)
