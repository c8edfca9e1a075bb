"""A log of the previous version becomes a Delta table with the same rows, counts and digests.

`previous.tar.xz` was written by the stream and the night of that version, with blocks of two batches: a block that was
compacted and one whose folders were kept beside, two batches alone, duplicates and dead letters.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dualpath.errors import StateError
from dualpath.log import audit, erasures
from dualpath.log.accounts import Entry, Total
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.migration import former, job
from dualpath.migration.job import migrate
from dualpath.record import Fence
from dualpath.repo import Repo
from dualpath.schema import EventSource
from dualpath.steps import Step
from parity_tests import faults, logged
from parity_tests.conftest import SOURCE

ARCHIVE = Path(__file__).parent / "previous.tar.xz"
DIGESTS = {
    "2026-03-01": "2026-03-01-d264e576cc08a180",
    "2026-03-02": "2026-03-02-45b8f474bda2dd2d",
    "2026-03-03": "2026-03-03-9b6a68481285d1dc",
    "2026-03-04": "2026-03-04-3862c6f45d2c6ea1",
}
"""What the previous version called the parts of record files, with the salt "x"."""
REASONS = {
    "not a JSON object": 10,
    "amount is not finite": 2,
    "arrival_time is missing": 2,
    "event_time is not an ISO-8601 instant": 2,
    "not UTF-8": 2,
    "user_id is missing": 2,
}
FOLDERS = {ACCEPTED: "log", DUPLICATE: "duplicate", DEAD_LETTER: "dead"}
FORMER = ("ledger/query=1", "ledger/blocks", "ledger/reasons", "log/query=1", "dead", "duplicate")
Bag = Counter[tuple[Any, ...]]


@pytest.fixture(scope="module")
def source(applied: Path) -> EventSource:
    """The source that has written the log."""
    return Repo(applied).sources[SOURCE]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """The previous version's folders of a source."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Storage(tmp_path, SOURCE)


def before(storage: Storage) -> dict[str, Bag]:
    """The rows of the previous version by outcome, as DuckDB reads them: compacted, else by batch."""
    compacted = {"log": "0-1", "duplicate": "0-1"}, {"log": "2-3", "duplicate": "2-3", "dead": "2-3"}
    found = {}
    for outcome, kind in FOLDERS.items():
        spans = [each[kind] for each in compacted if kind in each]
        folder = storage.folder(kind) / "query=1"
        names = [*(f"batch={span}" for span in spans), "batch=4", "batch=5"]
        bag = Bag()
        for name in names:
            files = sorted(map(str, (folder / name).rglob("*.parquet")))
            for file in files:
                what = "payload, reason" if outcome == DEAD_LETTER else "event_id, event_time, arrival_time, amount"
                number = "__batch" if "-" in name else name.removeprefix("batch=")
                rows = duckdb.sql(f"select {what}, {number} from read_parquet('{file}', hive_partitioning=false)")
                day = Path(file).parent.name.removeprefix("epoch=") if outcome == ACCEPTED else ""
                bag.update((*row, day) for row in rows.fetchall())
        found[outcome] = bag
    return found


def noted(storage: Storage) -> tuple[dict[int, int], dict[str, int]]:
    """The clock of each batch and the last position of each file, as the ledger's files have them."""
    clocks, positions = {}, {}
    for file in storage.folder("ledger").rglob("batch*.json"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        if "reasons" in file.parts:
            continue
        if len(lines) == 1:
            clocks[lines[0]["batch"]] = lines[0]["clock"]
            positions |= lines[0]["positions"]
        else:
            clocks |= {int(number): clock for number, clock in lines[2].items()}
            positions |= lines[1]
    return clocks, positions


def after(storage: Storage) -> dict[str, Bag]:
    """The rows of the table."""
    found = {}
    for outcome in FOLDERS:
        bag = Bag()
        for file in storage.files(outcome):
            what = "payload, reason" if outcome == DEAD_LETTER else "event_id, event_time, arrival_time, amount"
            path = storage.folder("log") / file.path
            rows = duckdb.sql(f"select {what}, batch from read_parquet('{path}', hive_partitioning=false)")
            bag.update((*row, file.arrival_day if outcome == ACCEPTED else "") for row in rows.fetchall())
        found[outcome] = bag
    return found


def well(storage: Storage, rows: dict[str, Bag]) -> None:
    """The table has everything, and nothing of the previous version is left."""
    assert storage.accounts().total() == Total(
        6,
        rows_read=660,
        accepted=594,
        duplicate=46,
        dead_letter=20,
        late=1,
        latest_by=146219323283,
        newest_arrival=storage.newest_arrival(),
    )
    assert storage.digests("x") == DIGESTS
    assert storage.accounts().reasons() == REASONS
    assert after(storage) == rows and {o: bag.total() for o, bag in rows.items()} == {
        ACCEPTED: 594,
        DUPLICATE: 46,
        DEAD_LETTER: 20,
    }
    assert audit.faults(storage, storage.accounts(), opened=True) == []
    assert not [name for name in FORMER if (storage.root / SOURCE / name).exists()]
    positions = storage.positions(before=2)
    assert sorted(positions) == [f"{number:04}.jsonl" for number in range(6)]


def test_every_row_count_and_digest_is_brought_over(storage: Storage, source: EventSource) -> None:
    rows, clocks, positions = before(storage), *noted(storage)
    found = migrate(storage, source)
    assert {batch.batch: clock for batch, clock in storage.accounts().clocks().items()} == clocks
    assert storage.positions(before=2) == positions
    assert found and found.total.rows_read == 660
    assert storage.reached() == (Fence(1, 5), Fence(1, 5)) and storage.closed_through == "2026-03-01"
    well(storage, rows)
    of_batches = {outcome: Counter(row[-2] for row in bag.elements()) for outcome, bag in rows.items()}
    for each in logged.entries(storage):
        assert {outcome: getattr(each, outcome) for outcome in rows} == {
            o: n[each.batch] for o, n in of_batches.items()
        }
        assert sum(each.reasons.values()) == each.dead_letter
    assert migrate(storage, source) is None


CRASHES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "before the second block": lambda m: faults.crash_at(m, Step.MIGRATE_BLOCK, nth=2),
    "before the second commit": lambda m: faults.crash_at(m, Step.COMMIT, nth=2),
    "after the second commit": lambda m: faults.crash_at(m, Step.COMMIT, nth=2, after=True),
    "after all blocks": lambda m: faults.crash_at(m, Step.MIGRATE_BLOCK, nth=4, after=True),
    "before the progress": lambda m: faults.crash_at(m, Step.NOTE_PROGRESS),
    "before anything is removed": lambda m: faults.crash_at(m, Step.REMOVE_FORMER),
    "while folders are removed": lambda m: faults.crash(m, job.shutil, "rmtree", nth=3),
    "after all is removed": lambda m: faults.crash_at(m, Step.REMOVE_FORMER, after=True),
}


@pytest.mark.parametrize("crash", CRASHES)
def test_one_that_was_cut_off_goes_on(
    crash: str, storage: Storage, source: EventSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = before(storage)
    with monkeypatch.context() as patched:
        CRASHES[crash](patched)
        with pytest.raises(faults.Crash):
            migrate(storage, source)
    migrate(storage, source)
    well(storage, rows)


def test_a_stream_that_has_gone_on_since_loses_nothing(
    storage: Storage, source: EventSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        faults.crash_at(patched, Step.REMOVE_FORMER)
        with pytest.raises(faults.Crash):
            migrate(storage, source)
    logged.commit(storage, Entry(1, 6, rows_read=1, dead_letter=1))
    migrate(storage, source)
    assert storage.reached() == (Fence(1, 6), Fence(1, 6)) and storage.accounts().total().rows_read == 661
    assert not former.exists(storage)


@pytest.mark.parametrize("lost", ["log/query=1/batch=2-3", "dead/query=1/batch=5"])
def test_rows_that_are_missing_are_told_and_nothing_is_removed(
    lost: str, storage: Storage, source: EventSource
) -> None:
    folder = storage.root / SOURCE / lost
    next(folder.rglob("*.parquet")).unlink()
    kind = lost.partition("/")[0]
    with pytest.raises(StateError, match=rf"query=1/batch.* holds [\d,]+ rows under {kind}/ of"):
        migrate(storage, source)
    assert all((storage.root / SOURCE / name).exists() for name in FORMER)


@pytest.mark.parametrize("logged_already", [True, False])
def test_a_batch_that_was_cut_off_stays_begun(logged_already: bool, storage: Storage, source: EventSource) -> None:
    file = storage.folder("ledger") / "query=1" / "batch=5.json"
    plain = json.loads(file.read_text()) | {"done": False, "logged": logged_already, "closed_through": "2026-02-28"}
    file.write_text(json.dumps(plain))
    migrate(storage, source)
    assert storage.reached() == (Fence(1, 4), Fence(1, 5))
    again = storage.begin(1, 5)
    assert (again.logged, again.done) == (logged_already, False)
    assert again.accepted == (100 if logged_already else 0)
    assert logged_already or again.closed_through == "2026-02-28"
    assert len(storage.accounts()) == 5


def test_erasures_say_their_rows_in_one_number(storage: Storage, source: EventSource) -> None:
    former = {"number": 1, "begun": "2026-03-05T10:00:00+00:00", "keys": ["user_id"], "mark": "", "ended": True}
    counts = {"arrival_days": ["2026-03-01"], "rewritten": True, "accepted": 2, "duplicate": 1, "dead_letter": 1}
    file = erasures.file_of(storage.folder("ledger"))
    file.write_text(json.dumps([former | counts]))
    migrate(storage, source)
    [found] = erasures.kept(storage.folder("ledger"))
    assert found.rows == 4 and found.arrival_days == ("2026-03-01",)
    assert storage.digests("x")["2026-03-01"] != DIGESTS["2026-03-01"]


def test_whoever_finds_a_log_of_the_previous_version_is_told_what_to_run(storage: Storage) -> None:
    for look in (storage.reached, storage.accounts, lambda: storage.begin(1, 6), storage.arrival_days):
        with pytest.raises(StateError, match="has a log of the previous version; run `dualpath migrate`"):
            look()
