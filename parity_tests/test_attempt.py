"""A task of the pass over a micro-batch: what it writes, counts and answers, without Spark around it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from streaming import attempt
from streaming.attempt import Writer

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
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
        ("fate", pa.string()),
        ("epoch", pa.string()),
        ("__beyond", pa.bool_()),
    ]
)


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(partitionId=lambda: 3, taskAttemptId=lambda: 77)
    monkeypatch.setattr(attempt.TaskContext, "get", lambda: context)
    monkeypatch.setattr(attempt, "_settle", lambda: None)  # it is for a process that does nothing else


def accepted(number: int, *, late: int = 0, beyond: bool = False) -> dict[str, Any]:
    """The n-th event, accepted, so many hours late."""
    time, day = NOON + timedelta(minutes=number), number % 4 + 1
    return {
        "event_id": f"e{number}",
        "event_time": time,
        "arrival_time": time + timedelta(hours=late),
        "late": late > 0,
        "fate": "accepted",
        "epoch": f"2026-03-0{day}",
        "admitted_at": NOON,
        "__beyond": beyond,
    }


def seen(origin: str | None, position: int | None) -> dict[str, Any]:
    return {"fate": "seen", "admitted_at": NOON, "__origin": origin, "__position": position}


def dead(payload: str | None, position: int) -> dict[str, Any]:
    return seen("t/0", position) | {"fate": "dead", "payload": payload, "reason": "not a JSON object"}


def batches(rows: list[dict[str, Any]], size: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], SCHEMA)


def answer(folder: Path, rows: list[dict[str, Any]], size: int = 7) -> dict[str, Any]:
    [found] = Writer(folder, limit=-1).write(batches(rows, size))
    return found.to_pylist()[0]


@pytest.mark.parametrize("at_once", [1, 1_000, 10**9])
def test_however_little_a_task_may_hold_every_row_is_in_one_file_of_its_epoch(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "AT_ONCE", at_once)
    rows = [accepted(number) for number in range(40)] + [dead(f"bad {n}", n) for n in range(9)]
    files = answer(tmp_path, rows)["files"]
    assert sorted(files) == sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*.parquet"))
    assert (len(files) == 5) == (at_once == 10**9)
    log = ds.dataset(tmp_path / "log", partitioning=ds.partitioning(flavor="hive")).to_table().to_pylist()
    assert sorted((row["event_id"], row["epoch"]) for row in log) == sorted(
        (r["event_id"], r["epoch"]) for r in rows[:40]
    )
    kept = [row for file in files if file.startswith("dead/") for row in pq.read_table(tmp_path / file).to_pylist()]
    assert sorted(row["position"] for row in kept) == list(range(9))
    assert {row["reason"] for row in kept} == {"not a JSON object"}


def test_a_file_of_the_log_has_the_columns_of_the_event_and_no_others(tmp_path: Path) -> None:
    [file] = answer(tmp_path, [accepted(1)])["files"]
    assert file == "log/epoch=2026-03-02/part-00003-77-0.parquet"
    schema = pq.read_schema(tmp_path / file)
    assert schema.names == ["event_id", "event_time", "arrival_time", "amount", "late"]
    assert pq.ParquetFile(tmp_path / file).schema.column(3).physical_type == "INT64"


def test_every_row_that_was_read_is_counted_once_and_its_place_is_noted(tmp_path: Path) -> None:
    rows = [accepted(1, late=2), accepted(2, late=50), accepted(3, beyond=True)]
    rows += [seen("t/0", 4), seen("t/1", 9), seen("t/0", 5), seen(None, None), dead(None, 6)]
    found = answer(tmp_path, rows, size=3)
    assert {name: found[name] for name in attempt.SUMS} == {
        "rows_read": 5, "accepted": 3, "dead_letter": 1, "late": 2, "beyond": 1,
    }  # fmt: skip
    assert found["latest_by"] == 50 * 3_600_000_000
    assert found["clock"] == int(NOON.timestamp()) * 1_000_000
    assert found["epochs"] == ["2026-03-02", "2026-03-03", "2026-03-04"]
    assert dict(found["positions"]) == {"t/0": 6, "t/1": 9}
    assert found["records"] is None


def test_a_task_without_rows_answers_nothing_and_writes_nothing(tmp_path: Path) -> None:
    found = answer(tmp_path, [])
    assert (found["rows_read"], found["files"], dict(found["positions"])) == (0, [], {})
    assert list(tmp_path.iterdir()) == []
