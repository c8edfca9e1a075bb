"""A task that stages a micro-batch: what it writes, counts and answers, without Spark around it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dualpath.dedup.store import write_segment
from dualpath.jobs import staging
from dualpath.jobs.staging import StagingWriter
from dualpath.log.outcomes import COUNTS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = 3_600_000_000
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
    context = SimpleNamespace(partitionId=lambda: 3, taskAttemptId=lambda: 77)
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
    [found] = StagingWriter(folder, limit=-1, known=known, horizon=HOUR, columns={}).write(batches(rows, size))
    return found.to_pylist()[0]


@pytest.mark.parametrize("at_once", [1, 1_000, 10**9])
def test_however_little_a_task_may_hold_every_row_is_in_one_file_of_its_arrival_day(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "HELD_BYTES", at_once)
    rows = [event(number) for number in range(40)] + [dead(f"bad {n}", n) for n in range(9)]
    files = answer(tmp_path, rows)["files"]
    assert sorted(files) == sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.*"))
    assert (len(files) == 4 + 1 + 1) == (at_once == 10**9)
    log = ds.dataset(tmp_path / "log", partitioning=ds.partitioning(flavor="hive")).to_table().to_pylist()
    assert sorted((row["event_id"], row["epoch"]) for row in log) == sorted(
        (r["event_id"], str(r["arrival_day"])) for r in rows[:40]
    )
    kept = [row for file in files if file.startswith("dead/") for row in pq.read_table(tmp_path / file).to_pylist()]
    assert sorted(row["position"] for row in kept) == list(range(9))
    assert {row["reason"] for row in kept} == {"not a JSON object"}


def test_a_file_of_the_log_has_the_columns_of_the_event_and_its_place_and_no_others(tmp_path: Path) -> None:
    file, ids = answer(tmp_path, [event(1)])["files"]
    assert file == "log/epoch=2026-03-02/part-00003-77-0.parquet" and ids.startswith("ids/")
    schema = pq.read_schema(tmp_path / file)
    assert schema.names == ["event_id", "event_time", "arrival_time", "amount", "late", "__origin", "__position"]
    assert pq.ParquetFile(tmp_path / file).schema.column(3).physical_type == "INT64"


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
    assert found["records"] is None


def test_a_task_takes_each_event_once_and_none_that_was_taken_within_the_horizon(tmp_path: Path) -> None:
    """Event 3 was taken an hour ago, 4 a microsecond later, and another with the hash of 5."""
    noon = int(NOON.timestamp()) * 1_000_000
    known = [[3, 4, 5], [-3, -4, 7], [noon - HOUR, noon - HOUR + 1, noon]]
    file = write_segment(np.array(known), tmp_path / "known")
    rows = [event(number) for number in (6, 3, 4, 5, 6, 3, 4, 5, 6)]
    files = answer(tmp_path / "new", rows, size=4, known=(file,))["files"]
    found = {kind: [f for f in files if f.startswith(f"{kind}/")] for kind in ("log", "duplicate")}
    ids_of = {
        kind: sorted(pq.read_table([tmp_path / "new" / f for f in found[kind]])["event_id"].to_pylist())
        for kind in found
    }
    assert ids_of == {"log": ["e3", "e5", "e6"], "duplicate": ["e3", "e4", "e4", "e5", "e6", "e6"]}
    [ids] = [f for f in files if f.startswith("ids/")]
    assert np.load(tmp_path / "new" / ids).tolist() == [[3, 5, 6], [-3, -5, -6], [noon] * 3]


def test_a_task_without_rows_answers_nothing_and_writes_nothing(tmp_path: Path) -> None:
    found = answer(tmp_path, [])
    assert (found["rows_read"], found["files"], dict(found["positions"])) == (0, [], {})
    assert list(tmp_path.iterdir()) == []


def test_a_task_whose_events_all_came_before_writes_them_as_duplicates_and_no_more(tmp_path: Path) -> None:
    noon = int(NOON.timestamp()) * 1_000_000
    known = write_segment(np.array([[3], [-3], [noon]]), tmp_path / "known")
    found = answer(tmp_path / "new", [event(3), event(3)], known=(known,))
    assert (found["rows_read"], found["accepted"], found["files"]) == (2, 0, ["duplicate/part-00003-77-0.parquet"])
