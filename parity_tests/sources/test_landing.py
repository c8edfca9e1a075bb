"""Landing writes whole, ordered, exact files, and the same ones every time."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from dualpath.demo.generate import generate
from dualpath.errors import InputError
from dualpath.sources import landing

NOON = datetime(2026, 3, 1, 12, 0, 0, 7, tzinfo=UTC)


def shop(events: int) -> pa.Table:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return generate(users=100, events=events, products=50, categories=5, start=start, days=3, seed=7)


def rows(files: list[Path]) -> list[dict[str, object]]:
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_files_hold_every_row_once_in_order_of_their_names(tmp_path: Path) -> None:
    table = shop(1003)
    files = landing.land(table, tmp_path, rows_per_file=100)
    assert len(files) == 11
    assert files == sorted(tmp_path.iterdir())
    landed = rows(sorted(files))
    for column in ("user_id", "action", "product_id", "quantity"):
        assert [row.get(column) for row in landed] == table[column].to_pylist()
    for column in ("amount", "order_value"):
        expected = [None if value is None else str(value) for value in table[column].to_pylist()]
        assert [row.get(column) for row in landed] == expected
    for column in ("event_time", "arrival_time"):
        assert [datetime.fromisoformat(str(row[column])) for row in landed] == table[column].to_pylist()


def test_a_row_is_written_exactly_and_without_its_nulls(tmp_path: Path) -> None:
    elsewhere = pa.array([NOON, None], pa.timestamp("us", "Asia/Tokyo"))
    table = pa.table(
        {
            'it\'s "é"': ['a"b\\\n\u2028é', None],
            "count": pa.array([2**62 + 1, None], pa.int64()),
            "amount": pa.array([Decimal("-12.50"), None], pa.decimal128(18, 2)),
            "ratio": [0.1, None],
            "member": [True, None],
            "at": elsewhere,
        }
    )
    [file] = landing.land(table, tmp_path, rows_per_file=10)
    first, second, end = file.read_bytes().decode("utf-8").split("\n")
    assert json.loads(first) == {
        'it\'s "é"': 'a"b\\\n\u2028é',
        "count": 2**62 + 1,
        "amount": "-12.50",
        "ratio": 0.1,
        "member": True,
        "at": "2026-03-01T12:00:00.000007Z",
    }
    assert (second, end) == ("{}", "")


def test_landing_again_changes_nothing_and_completes_what_a_crash_left_out(tmp_path: Path) -> None:
    files = landing.land(shop(500), tmp_path, rows_per_file=100)
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    files[2].unlink()
    assert landing.land(shop(500), tmp_path, rows_per_file=100) == files
    assert files[2].read_bytes() == before[files[2]][0]
    kept = [file for file in files if file != files[2]]
    assert all(file.stat().st_mtime_ns == before[file][1] for file in kept)


def test_the_same_table_gives_the_same_names_and_bytes_in_another_folder(tmp_path: Path) -> None:
    one = landing.land(shop(500), tmp_path / "one", rows_per_file=200)
    two = landing.land(shop(500), tmp_path / "two", rows_per_file=200)
    assert [(f.name, f.read_bytes()) for f in one] == [(f.name, f.read_bytes()) for f in two]


def test_a_disk_that_fails_before_the_rename_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError("disk gone")

    with monkeypatch.context() as patched:
        patched.setattr("dualpath.files.durable.os.fsync", fail)
        with pytest.raises(OSError, match="disk gone"):
            landing.land(shop(10), tmp_path, rows_per_file=10)
    assert list(tmp_path.iterdir()) == []
    [file] = landing.land(shop(10), tmp_path, rows_per_file=10)
    assert list(tmp_path.iterdir()) == [file]


def test_an_empty_table_lands_no_file(tmp_path: Path) -> None:
    assert landing.land(shop(1).slice(1), tmp_path, rows_per_file=10) == []


def test_an_error_in_the_midst_of_the_payloads_lands_none_of_them(tmp_path: Path) -> None:
    def payloads() -> Iterator[bytes]:
        yield from [b"1\n", b"2\n", b"3\n"]
        assert [file.name[0] for file in tmp_path.iterdir()] == ["."]  # the first two are written, and hidden
        raise InputError("the file is not whole.")

    with pytest.raises(InputError, match="not whole"):
        landing.land_payloads(payloads(), tmp_path, rows_per_file=2)
    assert list(tmp_path.iterdir()) == []


def test_fewer_than_one_row_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rows_per_file is 0; pass at least 1"):
        landing.land(shop(1), tmp_path, rows_per_file=0)


def test_a_fixed_offset_is_written_as_utc(tmp_path: Path) -> None:
    local = NOON.astimezone(timezone(timedelta(hours=-5)))
    [file] = landing.land(pa.table({"at": [local]}), tmp_path, rows_per_file=1)
    assert json.loads(file.read_text()) == {"at": "2026-03-01T12:00:00.000007Z"}


def test_many_rows_are_shared_out_among_files(tmp_path: Path) -> None:
    files = landing.land(shop(250_001), tmp_path, rows_per_file=100_000)
    assert [file.read_bytes().count(b"\n") for file in files] == [100_000, 100_000, 50_001]
