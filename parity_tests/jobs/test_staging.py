"""A task that stages a micro-batch: what it writes, counts and answers, without Spark around it."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualpath.dedup.store import write_segment
from dualpath.jobs import staging
from dualpath.jobs.staging import StagingWriter
from dualpath.log.outcomes import COUNTS
from dualpath.log.snapshot import DataFile
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE
from dualpath.record import Fence

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3_600_000_000
BATCH = Fence(2, 5)
INSTANT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_time", INSTANT),
        ("arrival_time", INSTANT),
        ("amount", pa.decimal128(18, 2)),
        ("late", pa.bool_()),
        ("__origin", pa.string()),
        ("__position", pa.int64()),
        ("admitted_at", INSTANT),
        ("payload", pa.string()),
        ("reason", pa.string()),
        ("arrival_day", pa.date32()),
        ("__out_of_retention", pa.bool_()),
        ("__hash", pa.int64()),
        ("__check", pa.int64()),
    ]
)


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(partitionId=lambda: 3)
    monkeypatch.setattr(staging.TaskContext, "get", lambda: context)
    monkeypatch.setattr(staging, "_settle", lambda: None)  # it is for a process that does nothing else


def event(
    number: int, *, late: int = 0, out_of_retention: bool = False, place: tuple[str, int] | None = None
) -> dict[str, Any]:
    """The n-th event, so many hours late."""
    time, day = NOON + timedelta(minutes=number), number % 4 + 1
    origin, position = place or (None, None)
    return {
        "event_id": f"e{number}",
        "event_time": time,
        "arrival_time": time + timedelta(hours=late),
        "late": late > 0,
        "arrival_day": date(2026, 3, day),
        "admitted_at": NOON,
        "__origin": origin,
        "__position": position,
        "__out_of_retention": out_of_retention,
        "__hash": number,
        "__check": -number,
    }


def dead(payload: str | None, position: int) -> dict[str, Any]:
    return {
        "admitted_at": NOON,
        "__origin": "t/0",
        "__position": position,
        "payload": payload,
        "reason": "not a JSON object",
    }


def batches(rows: list[dict[str, Any]], size: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], SCHEMA)


def answer(folder: Path, rows: list[dict[str, Any]], size: int = 7, known: tuple[Path, ...] = ()) -> dict[str, Any]:
    writer = StagingWriter(folder / "log", folder / "staging", BATCH, limit=-1, known=known, horizon=HOUR, columns={})
    [found] = writer.write(batches(rows, size))
    return found.to_pylist()[0]


def rows_of(folder: Path, found: dict[str, Any], outcome: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The rows of an outcome that a task has written, each with what it says of the file."""
    files = [each for each in found["files"] if each["outcome"] == outcome]
    return [(row, each) for each in files for row in pq.ParquetFile(folder / "log" / each["path"]).read().to_pylist()]


def ids_of(folder: Path, found: dict[str, Any], outcome: str) -> list[str]:
    return sorted(row["event_id"] for row, _ in rows_of(folder, found, outcome))


@pytest.mark.parametrize("at_once", [1, 1_000, 10**9])
def test_however_little_a_task_may_hold_every_row_is_in_one_file_of_its_arrival_day(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "HELD_BYTES", at_once)
    rows = [event(number) for number in range(40)] + [dead(f"bad {n}", n) for n in range(9)]
    found = answer(tmp_path, rows)
    files, log = found["files"], tmp_path / "log"
    assert sorted(each["path"] for each in files) == sorted(str(f.relative_to(log)) for f in log.rglob("*.*"))
    assert (len(files) == 4 + 1) == (at_once == 10**9)
    for each in files:
        assert Path(each["path"]).parent == Path(DataFile.place(each["outcome"], each["day"]))
        assert (log / each["path"]).stat().st_size == each["size"]
        assert pq.read_metadata(log / each["path"]).num_rows == each["rows"]
    assert sorted((row["event_id"], each["day"]) for row, each in rows_of(tmp_path, found, ACCEPTED)) == sorted(
        (r["event_id"], str(r["arrival_day"])) for r in rows[:40]
    )
    dead_letters = rows_of(tmp_path, found, DEAD_LETTER)
    assert sorted(row["__position"] for row, _ in dead_letters) == list(range(9))
    assert {(row["reason"], each["day"]) for row, each in dead_letters} == {("not a JSON object", "2026-03-01")}
    assert {
        (row["query"], row["batch"]) for each in (ACCEPTED, DEAD_LETTER) for row, _ in rows_of(tmp_path, found, each)
    } == {BATCH}
    assert dict(found["reasons"]) == {"not a JSON object": 9}


def test_a_file_of_the_log_has_the_columns_of_the_event_and_its_place_and_no_others(tmp_path: Path) -> None:
    found = answer(tmp_path, [event(1)])
    [file], [ids] = found["files"], found["ids"]
    assert re.fullmatch(r"outcome=accepted/arrival_day=2026-03-02/part-00003-[0-9a-f]{32}-0\.parquet", file["path"])
    assert (tmp_path / "staging" / ids).is_file()
    schema = pq.read_schema(tmp_path / "log" / file["path"])
    of_event = ["event_id", "event_time", "arrival_time", "amount", "late"]
    assert schema.names == [*of_event, "__origin", "__position", "query", "batch"]
    assert pq.ParquetFile(tmp_path / "log" / file["path"]).schema.column(3).physical_type == "INT64"


def test_a_task_that_runs_again_writes_other_files(tmp_path: Path) -> None:
    """Those of the first attempt may be there, in any state, when the second one ends."""
    one, other = (answer(tmp_path, [event(1)]) for _ in range(2))
    assert one["files"][0]["path"] != other["files"][0]["path"] and one["ids"] != other["ids"]


def test_every_row_that_was_read_is_counted_once_and_its_place_is_noted(tmp_path: Path) -> None:
    places = [("t/0", 4), ("t/1", 9), ("t/0", 5)]
    rows = [event(1, late=2, place=places[0]), event(2, late=50, place=places[1]), event(3, out_of_retention=True)]
    rows += [event(2, place=places[2]), event(1), dead(None, 6)]
    found = answer(tmp_path, rows, size=3)
    assert {name: found[name] for name in COUNTS} == {
        "rows_read": 6, "accepted": 3, "duplicate": 2, "dead_letter": 1, "skipped": 0, "late": 2, "out_of_retention": 1,
        "further": 0,
    }  # fmt: skip
    assert found["latest_by"] == 50 * HOUR
    assert found["clock"] == int(NOON.timestamp()) * 1_000_000
    assert found["arrival_days"] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert dict(found["positions"]) == {"t/0": 6, "t/1": 9}
    assert found["records"] is None and dict(found["reasons"]) == {"not a JSON object": 1}


def test_a_task_takes_each_event_once_and_none_that_was_taken_within_the_horizon(tmp_path: Path) -> None:
    """Event 3 was taken an hour ago, 4 a microsecond later, and another with the hash of 5."""
    noon = int(NOON.timestamp()) * 1_000_000
    known = [[3, 4, 5], [-3, -4, 7], [noon - HOUR, noon - HOUR + 1, noon]]
    file = write_segment(np.array(known), tmp_path / "known")
    rows = [event(number) for number in (6, 3, 4, 5, 6, 3, 4, 5, 6)]
    found = answer(tmp_path / "new", rows, size=4, known=(file,))
    assert ids_of(tmp_path / "new", found, ACCEPTED) == ["e3", "e5", "e6"]
    assert ids_of(tmp_path / "new", found, DUPLICATE) == ["e3", "e4", "e4", "e5", "e6", "e6"]
    [ids] = found["ids"]
    assert np.load(tmp_path / "new" / "staging" / ids).tolist() == [[3, 5, 6], [-3, -5, -6], [noon] * 3]


def test_a_task_without_rows_answers_nothing_and_writes_nothing(tmp_path: Path) -> None:
    found = answer(tmp_path, [])
    assert (found["rows_read"], found["files"], found["ids"], dict(found["positions"])) == (0, [], [], {})
    assert list(tmp_path.iterdir()) == []


def test_a_task_whose_events_all_came_before_writes_them_as_duplicates_and_no_more(tmp_path: Path) -> None:
    noon = int(NOON.timestamp()) * 1_000_000
    known = write_segment(np.array([[3], [-3], [noon]]), tmp_path / "known")
    found = answer(tmp_path / "new", [event(3), event(3)], known=(known,))
    assert (found["rows_read"], found["accepted"], found["duplicate"], found["ids"]) == (2, 0, 2, [])
    assert [(each["outcome"], each["day"], each["rows"]) for each in found["files"]] == [(DUPLICATE, "2026-03-01", 2)]
