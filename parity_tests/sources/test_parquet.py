"""Parquet as pandas, DuckDB and Spark write it: what lands is what an independent reader finds."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.errors import InputError
from dualpath.sources import files, rendering
from dualpath.sources.delimited import PLAIN
from parity_tests.sources.ingested import EVENTS, landed, objects

READ_BACK = {
    **{"user": "VARCHAR", "tags": "VARCHAR", "code": "VARCHAR", "quantity": "BIGINT", "amount": "DECIMAL(18, 2)"},
    **{"score": "FLOAT", "seen": "TIMESTAMP_NS", "at": "TIMESTAMP_NS"},
}
ROWS = 500
JULIAN_1970 = 2_440_588
"""The day 1970-01-01 in the old format of timestamps."""


def frame(unit: str, zone: str | None) -> pd.DataFrame:
    """Events with nulls in every column that may have them; times in a unit, with digits down to it."""
    number = np.random.default_rng(7)
    step = {"s": 1, "ms": 1, "us": 1, "ns": 1_000}[unit]
    start = np.datetime64("2026-03-01", unit).astype(np.int64)
    counts = start + number.integers(0, 86_400, ROWS) * step
    at = pd.Series(counts.astype(f"datetime64[{unit}]")).dt.tz_localize(zone)
    some = number.random(ROWS) < 0.2
    return pd.DataFrame(
        {
            "user": [f"user é{n}" for n in number.integers(0, 50, ROWS)],
            "code": pd.Categorical.from_codes(number.integers(-1, 3, ROWS), ["a", 'b"', "c,c"]),
            "quantity": pd.array(number.integers(-9, 9, ROWS), "Int16"),
            "amount": [
                None if none else Decimal(int(n)).scaleb(-2)
                for none, n in zip(some, number.integers(-9_999, 9_999, ROWS), strict=True)
            ],
            "score": number.random(ROWS).astype(np.float32),
            "seen": at.where(~some),
            "at": at,
            "not declared": 1,
        }
    )


def assert_same(file: Path, tmp_path: Path) -> None:
    """DuckDB finds the same rows in a Parquet file and in the lines that landed of it."""
    lines = tmp_path / "landed.jsonl"
    lines.write_bytes(b"".join(landed(file)))
    there = duckdb.sql(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
    kinds = {name: kind for name, kind, *_ in there if name in READ_BACK}
    assert {"user", "at"} <= kinds.keys()

    def column(name: str) -> str:
        # In UTC, whatever the session's zone is.
        utc = f'"{name}"' + (" AT TIME ZONE 'UTC'" if kinds[name] == "TIMESTAMP WITH TIME ZONE" else "")
        return f'CAST({utc} AS {READ_BACK[name]}) AS "{name}"'

    columns = {name: READ_BACK[name] for name in kinds}
    written = f"SELECT {', '.join(map(column, kinds))} FROM read_parquet('{file}')"
    found = f"SELECT * FROM read_json('{lines}', format='newline_delimited', columns={columns})"
    assert duckdb.sql(f"SELECT count(*) FROM ({written})").fetchall() == [(ROWS,)]
    for one, other in ((written, found), (found, written)):
        assert duckdb.sql(f"({one}) EXCEPT ALL ({other})").fetchall() == []


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_of_pandas_lands_as_it_is(tmp_path: Path, unit: str, zone: str | None) -> None:
    frame(unit, zone).to_parquet(tmp_path / "a.parquet", row_group_size=150)
    assert_same(tmp_path / "a.parquet", tmp_path)


def test_parquet_of_duckdb_lands_as_it_is(tmp_path: Path) -> None:
    events = frame("us", "UTC")
    duckdb.sql(
        "SELECT * FROM events"  # DuckDB finds it by its name
    ).write_parquet(str(tmp_path / "a.parquet"), compression="zstd")
    assert len(events) == ROWS
    assert_same(tmp_path / "a.parquet", tmp_path)


def test_a_uuid_of_duckdb_lands_as_it_reads(tmp_path: Path) -> None:
    query = "SELECT uuid() AS user, now() AS at, {'a': [1.5::FLOAT, NULL], 'b': MAP {'k': 1::UTINYINT}} AS tags"
    duckdb.sql(query).write_parquet(str(tmp_path / "a.parquet"))
    [expected] = duckdb.sql(f"SELECT user::VARCHAR FROM '{tmp_path / 'a.parquet'}'").fetchall()
    [row] = objects(tmp_path / "a.parquet")
    assert (row["user"],) == expected
    assert row["tags"] == {"a": [1.5, None], "b": {"k": 1}}


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_timestamps_in_the_old_format_of_spark_land_as_they_are(tmp_path: Path, zone: str | None) -> None:
    """Hive and older Sparks write `int96`; here pyarrow does."""
    table = pa.Table.from_pandas(frame("us", zone))
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert pq.ParquetFile(tmp_path / "a.parquet").schema.column(5).physical_type == "INT96"
    assert_same(tmp_path / "a.parquet", tmp_path)


def test_a_folder_of_spark_lands_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    """Whatever this Spark writes timestamps as; the folder has its `_SUCCESS`, checksums and folders of a partition."""
    folder = tmp_path / "events"
    frame("us", "UTC").to_parquet(tmp_path / "a.parquet")
    rows = spark.read.parquet(str(tmp_path / "a.parquet")).withColumn("part", F.col("quantity") % 3)
    nested = F.struct(F.col("at").alias("t"), F.array("amount").alias("a"), F.create_map("user", "at").alias("m"))
    rows.withColumn("tags", nested).write.partitionBy("part").parquet(str(folder))
    found = files.found([str(folder)])
    assert len({file.parent for file in found}) > 3
    landed_rows = [row for file in found for row in objects(file)]
    times = duckdb.sql(f'SELECT "user", epoch_us("at") FROM \'{tmp_path / "a.parquet"}\'').fetchall()

    def micros(text: str) -> int:
        return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    assert sorted((row["user"], micros(row["at"])) for row in landed_rows) == sorted(times)
    assert all(
        row["tags"] == {"t": row["at"], "a": [row.get("amount")], "m": {row["user"]: row["at"]}} for row in landed_rows
    )


def int96(file: Path, counts: list[int], unit: str) -> None:
    """A file of instants in the old format, in a column and nested."""
    times = pa.array(counts, pa.timestamp(unit))
    tags = pa.array([{"t": [count]} for count in counts], pa.struct([("t", pa.list_(pa.timestamp(unit)))]))
    table = pa.table({"user": ["ann"] * len(counts), "at": times, "tags": tags})
    pq.write_table(table, file, use_deprecated_int96_timestamps=True, compression="none", write_statistics=False)


def test_an_old_timestamp_keeps_digits_below_microseconds(tmp_path: Path) -> None:
    int96(tmp_path / "a.parquet", [1_772_366_400_000_000_123], "ns")
    [row] = objects(tmp_path / "a.parquet")
    assert row["at"] == "2026-03-01T12:00:00.000000123"
    assert row["tags"] == {"t": ["2026-03-01T12:00:00.000000123"]}


def test_an_old_timestamp_in_a_map_keeps_digits_below_microseconds(tmp_path: Path) -> None:
    tags = pa.array([[("first", 7_001), ("none", None)], None], pa.map_(pa.string(), pa.timestamp("ns")))
    table = pa.table({"user": ["ann", "bob"], "at": ["x", "y"], "tags": tags})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    first, second = objects(tmp_path / "a.parquet")
    assert first["tags"] == {"first": "1970-01-01T00:00:00.000007001", "none": None}
    assert "tags" not in second


def to_9999(file: Path, nanos: int) -> None:
    """Put the day 9999-12-31 into the bytes of a file's instants of those nanoseconds: a writer of them cannot."""
    days = (datetime(9999, 12, 31) - datetime(1970, 1, 1)).days
    old, new = (nanos.to_bytes(8, "little") + (JULIAN_1970 + d).to_bytes(4, "little") for d in (0, days))
    content = file.read_bytes()
    assert content.count(old) == 2  # in the column and nested
    file.write_bytes(content.replace(old, new))


def test_an_old_timestamp_beyond_2262_does_not_begin_again_at_1677(tmp_path: Path) -> None:
    int96(tmp_path / "a.parquet", [7_000, 8_000], "ns")
    to_9999(tmp_path / "a.parquet", 7_000)
    far, near = objects(tmp_path / "a.parquet")
    assert far["at"] == "9999-12-31T00:00:00.000007"
    assert far["tags"] == {"t": ["9999-12-31T00:00:00.000007"]}
    assert near["at"] == "1970-01-01T00:00:00.000008"


def test_old_timestamps_that_no_reading_keeps_are_refused(tmp_path: Path) -> None:
    int96(tmp_path / "a.parquet", [7_000, 8_001], "ns")
    to_9999(tmp_path / "a.parquet", 7_000)
    with pytest.raises(InputError, match=r"a\.parquet: column 'at' \(int96\) .* in microseconds"):
        landed(tmp_path / "a.parquet")


def test_a_column_of_nothing_but_nulls_lands_not_at_all(tmp_path: Path) -> None:
    pd.DataFrame({"user": ["ann"], "at": ["x"], "code": [None]}).to_parquet(tmp_path / "a.parquet")
    assert objects(tmp_path / "a.parquet") == [{"user": "ann", "at": "x"}]


def test_a_type_that_has_no_exact_form_is_refused_only_where_it_is_read(tmp_path: Path) -> None:
    table = pa.table({"user": ["ann"], "at": ["x"], "other": [b"\xff"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert objects(tmp_path / "a.parquet") == [{"user": "ann", "at": "x"}]
    pq.write_table(table.append_column("code", pa.array([b"a"])), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: column 'code' is binary, .* cast it to text"):
        landed(tmp_path / "b.parquet")


def test_batches_of_parquet_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "ROWS_PER_BATCH", 100)
    made: list[int] = []
    whole = rendering.json_lines

    def counted(batches: Any, what: str) -> Any:
        return whole((made.append(batch.num_rows) or batch for batch in batches), what)  # type: ignore[func-returns-value]

    monkeypatch.setattr(rendering, "json_lines", counted)
    frame("us", "UTC").to_parquet(tmp_path / "a.parquet")
    lines = files.payloads(tmp_path / "a.parquet", EVENTS, PLAIN)
    next(lines)
    assert made == [100]
    assert len([*lines]) == ROWS - 1
