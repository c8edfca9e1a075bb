"""The log without a person, on generated data and without Spark: wherever an erasure dies, it ends the same."""

import json
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualpath import steps
from dualpath.erasure.traces import Traces, end
from dualpath.errors import StateError
from dualpath.log import audit, erasures
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, BATCH, DEAD_LETTER, DUPLICATE
from dualpath.payloads import event
from dualpath.schema import text
from parity_tests import evolved, faults, logged

PERSON = "marker-person-7"
SOURCE = evolved.orders(text("note"))
DAYS = ("2026-03-01", "2026-03-02")
OUTCOMES = (ACCEPTED, DUPLICATE, DEAD_LETTER)
KEYS = {"user": (PERSON,)}
State = dict[str, Any]


def traces(storage: Storage) -> Traces:
    return Traces(storage, SOURCE, KEYS)


def rows(draw: random.Random, number: int, count: int, users: list[str]) -> pa.Table:
    """Events of some users, of a minute of their own."""
    plain = [evolved.payload(number, user=draw.choice(users), note=f"n{draw.randrange(3)}") for _ in range(count)]
    typed = [event(evolved.view(SOURCE), n, each | {"event_id": f"{number} {n}"}) for n, each in enumerate(plain)]
    table = pa.Table.from_pylist(typed, SOURCE.stored)
    return table.append_column("late", pa.array([False] * len(table)))


def letters(draw: random.Random, count: int, users: list[str]) -> pa.Table:
    payloads = [json.dumps({"user": draw.choice(users), "note": n}) for n in range(count)]
    return pa.table({"payload": payloads, "reason": [draw.choice(["a: x", "a: y", "b"]) for _ in payloads]})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Batches of which some are compacted and others not, older versions of these, and what was never committed."""
    root, draw = tmp_path_factory.mktemp("filled"), random.Random(7)
    storage = evolved.storage(root)
    users = [PERSON, "bob", "eve"]
    for number in range(12):
        of = [PERSON] if number == 5 else ["bob"] if number == 6 else users
        files = {(ACCEPTED, day): rows(draw, 2 * number + at, draw.randrange(1, 6), of) for at, day in enumerate(DAYS)}
        files[DUPLICATE, DAYS[0]] = rows(draw, number, draw.randrange(1, 4), of)
        files[DEAD_LETTER, DAYS[0]] = dead = letters(draw, draw.randrange(1, 5), of)
        reasons = Counter(reason.partition(":")[0] for reason in dead["reason"].to_pylist())
        logged.append(storage, SOURCE, files, reasons=dict(reasons), clock=1_772_323_200_000_000 + number)
        if number == 6:
            logged.compact(storage)
    ahead = storage.folder("log") / storage.files()[0].path
    for name in ("never-committed.parquet", ".cut-off.parquet"):
        shutil.copy(ahead, ahead.with_name(name))
        os.utime(ahead.with_name(name), (time.time() + 3_600,) * 2)  # the clock was set back since
    landing = storage.folder("landing")
    landing.mkdir()
    (landing / "0.jsonl").write_text("".join(json.dumps({"user": user}) + "\n" for user in users))
    return root


@pytest.fixture
def copy(filled: Path, tmp_path: Path) -> Storage:
    shutil.copytree(filled, tmp_path / "copy")
    return evolved.storage(tmp_path / "copy")


def restarted(storage: Storage, to: Path) -> Storage:
    """What another process finds."""
    shutil.copytree(storage.root, to)
    return evolved.storage(to)


def state(storage: Storage) -> State:
    """All that the log says, without the names of files."""
    found: State = {o: Counter(map(str, logged.rows(storage, o).to_pylist())) for o in OUTCOMES}
    [note] = erasures.kept(storage.folder("ledger"))
    accounts = storage.accounts()
    return found | {
        "accounts": accounts.rows.to_pylist(),
        "digests": {*storage.digests("")},
        "note": (note.rows, note.arrival_days, note.rewritten, note.keys),
        "landing": (storage.folder("landing") / "0.jsonl").read_text(),
        "ids": storage.folder("ids").exists(),
    }


def left(storage: Storage) -> list[str]:
    """Every file in which the person's name stands, and what is wrong with the log."""
    found = []
    for file in storage.root.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        if file.suffix == ".parquet":
            content += str(pq.ParquetFile(file).read().to_pydict()).encode()
        if PERSON.encode() in content:
            found.append(str(file))
    return found + audit.faults(storage, storage.accounts(), opened=True)


@pytest.fixture(scope="module")
def expected(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    """What an erasure that nothing disturbs ends in."""
    storage = evolved.storage(tmp_path_factory.mktemp("expected") / "copy")
    shutil.copytree(filled, storage.root)
    before = {o: logged.rows(storage, o) for o in OUTCOMES}
    total = storage.accounts().total()
    traces(storage).remove()
    assert left(storage) == []
    found = state(storage)
    gone = 0
    for outcome, table in before.items():
        others = Counter(str(row) for row in table.to_pylist() if PERSON not in str(row))
        assert found[outcome] == others and len(table) > others.total() > 10
        gone += len(table) - others.total()
    after = storage.accounts().total()
    assert (found["note"][0], after.erased, after.rows_read) == (gone, gone, total.rows_read) and after.adds_up
    letters = logged.rows(storage, DEAD_LETTER)["reason"].to_pylist()
    assert storage.accounts().reasons() == Counter(reason.partition(":")[0] for reason in letters)
    assert not any(traces(storage).found[outcome].rows for outcome in OUTCOMES)
    return found


def test_an_erasure_that_dies_before_or_after_any_step_ends_the_same(
    filled: Path, expected: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = 0
    while True:
        storage = evolved.storage(tmp_path / f"crash {crashes}")
        shutil.copytree(filled, storage.root)
        places = iter([False] * crashes + [True])

        def watch(step: steps.Step, ended: bool) -> None:
            if next(places, False):  # noqa: B023 - it is called before the next round
                raise faults.Crash(step)

        with monkeypatch.context() as patched:
            patched.setattr(steps, "watchers", [watch])
            try:
                traces(storage).remove()
            except faults.Crash:
                crashes += 1
            else:
                break
        again = restarted(storage, tmp_path / f"again {crashes}")
        traces(again).remove()
        assert left(again) == [] and state(again) == expected, f"after {crashes} steps"
    assert crashes > 30


def test_an_erasure_that_dies_between_two_files_that_it_removes_ends_the_same(
    filled: Path, expected: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 5, 9):
        storage = evolved.storage(tmp_path / f"crash {number}")
        shutil.copytree(filled, storage.root)
        with monkeypatch.context() as patched:
            faults.crash_at(
                patched, steps.Step.VACUUM_LOG, fault=lambda n=number: faults.crash(patched, Path, "unlink", nth=n)
            )
            with pytest.raises(faults.Crash):
                traces(storage).remove()
        again = restarted(storage, tmp_path / f"again {number}")
        assert traces(again).remove().rows == expected["note"][0]
        assert left(again) == [] and state(again) == expected


def test_two_erasures_count_their_own_rows(copy: Storage, expected: State) -> None:
    first = traces(copy).remove()
    end(copy)
    bobs = sum(len([r for r in logged.rows(copy, o).to_pylist() if "bob" in str(r)]) for o in OUTCOMES)
    second = Traces(copy, SOURCE, {"user": ("bob",)}).remove()
    assert (first.rows, second.rows) == (expected["note"][0], bobs)
    assert copy.accounts().total().erased == first.rows + second.rows and bobs > 10
    assert audit.faults(copy, copy.accounts(), opened=True) == []


def test_what_was_compacted_after_it_was_looked_up_is_refused(copy: Storage) -> None:
    """Else the files that a night has made since would still have the person's rows, and the others twice."""
    found, version = traces(copy), copy.table.snapshot().version
    assert found.due
    logged.compact(copy)
    with pytest.raises(StateError, match=r"another job has replaced outcome=.* meanwhile; run this one again"):
        found.remove()
    assert copy.table.snapshot().version == version + 1
    traces(copy).remove()
    assert left(copy) == []


def test_a_log_whose_table_is_lost_loses_no_file(copy: Storage) -> None:
    shutil.rmtree(copy.folder("log") / "_delta_log")
    before = {*copy.folder("log").rglob("*.parquet")}
    assert "was finished, and the log lacks it" in audit.faults(copy, copy.accounts(), opened=False)[0]
    copy.table.remove_unused()
    assert {*copy.folder("log").rglob("*.parquet")} == before


def test_a_batch_keeps_its_account_when_all_of_its_rows_are_erased(copy: Storage) -> None:
    traces(copy).remove()
    found = copy.accounts().rows.to_pylist()[5]
    assert found["accepted"] == found["duplicate"] == found["dead_letter"] == 0 < found["erased"] == found["rows_read"]
    assert len(copy.table.snapshot().files(outcome=BATCH)) >= 1 and copy.accounts().wrong() == []
