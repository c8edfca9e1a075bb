"""Delta tables: read by version, for dimensions and for `dualpath ingest`; what cannot be read is refused."""

import base64
import json
import shutil
import string
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from dualpath.declare import event_source
from dualpath.dimension import dimension
from dualpath.errors import InputError
from dualpath.schema import decimal, integer, text
from dualpath.sources import delta, files
from dualpath.sources.delimited import PLAIN
from dualpath.sources.dimensions import load, state

B85 = string.digits + string.ascii_uppercase + string.ascii_lowercase + "!#$%&()*+-;<=>?@^_`{|}~"
Z85 = string.digits + string.ascii_lowercase + string.ascii_uppercase + ".-:+=^!/*?&<>()[]{}@%$#"
THINGS = dimension("things", path="lake/things", keys=[text("id")], fields=[text("label"), decimal("price", scale=2)])
SALES = event_source(
    "sales", fields=[text("user"), integer("quantity")], event_id=None, event_time="since", arrival_time=None
)


def things(*ids: int, label: str | None = "old") -> pa.Table:
    begins = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * len(ids), pa.timestamp("us", "UTC"))
    prices = pa.array([Decimal(i) / 4 for i in ids], pa.decimal128(9, 2))
    labels = pa.array([label] * len(ids), pa.string())
    return pa.table({"id": pa.array(ids, pa.int32()), "label": labels, "price": prices, "valid_from": begins})


def of(folder: Path) -> list[tuple[Any, ...]]:
    rows = load(THINGS, folder).rows
    return sorted(zip(*(rows[name].to_pylist() for name in ("id", "label", "price")), strict=True))


def test_the_newest_version_is_read_and_a_version_that_was_seen_stays_what_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "a shop's lake #1"  # an address would have other characters
    table = folder / "lake" / "things"
    write_deltalake(table, things(1, 2), partition_by=["label"])
    first = state(THINGS, folder)
    assert of(folder) == [("1", "old", Decimal("0.25")), ("2", "old", Decimal("0.50"))]
    write_deltalake(table, things(3, label=None), mode="append")
    second = state(THINGS, folder)
    assert of(folder)[2:] == [("3", None, Decimal("0.75"))]
    DeltaTable(table).delete("id = 1")
    assert [row[0] for row in of(folder)] == ["2", "3"]
    assert first.read(None).rows.num_rows == 2 and second.read(None).rows.num_rows == 3
    # A commit that is under way, or was given up, is nothing.
    (table / "part-0.parquet").write_bytes(b"PAR1")
    (table / "_delta_log" / "_commit.tmp").write_text("{")
    names = [state(THINGS, folder).name for _ in range(2)]
    assert len({first.name, second.name, *names}) == 3
    DeltaTable(table).optimize.compact()
    DeltaTable(table).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert [row[0] for row in of(folder)] == ["2", "3"]
    shutil.rmtree(table)
    write_deltalake(table, things(9))
    assert state(THINGS, folder).name not in {first.name, second.name}
    assert state(dimension("things", path=THINGS.path, keys=THINGS.keys, fields=THINGS.fields[:1]), folder).name != (
        state(THINGS, folder).name
    )


def rewritten(table: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the actions of a table's first commit."""
    commit = table / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in commit.read_text().splitlines()]
    for action in actions:
        change(action)
    commit.write_text("\n".join(map(json.dumps, actions)))


def feature(name: str) -> Callable[[dict[str, Any]], None]:
    wanted = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [name], "writerFeatures": [name]}
    return lambda action: action.update(protocol=wanted) if "protocol" in action else None


def without_row(row: int) -> str:
    """A deletion vector as a commit holds it: a 64-bit Roaring bitmap of one row, in Z85."""
    bitmap = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, row)
    plain = struct.pack("<IQI", 1681511377, 1, 0) + bitmap + b"\0\0"
    return base64.b85encode(plain).decode().translate(str.maketrans(B85, Z85))


def test_deleted_rows_are_left_out_and_mapped_columns_are_found(tmp_path: Path) -> None:
    table = tmp_path / "lake" / "things"
    stored = {"id": "col-1", "label": "col-2", "price": "col-3", "valid_from": "col-4"}
    write_deltalake(table, things(1, 2, 3).rename_columns([*stored.values()]))

    def change(action: dict[str, Any]) -> None:
        if "protocol" in action:
            both = ["deletionVectors", "columnMapping"]
            action["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7}
            action["protocol"] |= {"readerFeatures": both, "writerFeatures": both}
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for number, (field, name) in enumerate(zip(schema["fields"], stored, strict=True), 1):
                field["metadata"] = {
                    "delta.columnMapping.id": number,
                    "delta.columnMapping.physicalName": field["name"],
                }
                field["name"] = name
            action["metaData"] |= {"schemaString": json.dumps(schema)}
            action["metaData"]["configuration"] = {"delta.columnMapping.mode": "name"}
        if "add" in action:
            vector = {"storageType": "i", "pathOrInlineDv": without_row(1), "sizeInBytes": 34, "cardinality": 1}
            action["add"] |= {"deletionVector": vector, "stats": json.dumps({"numRecords": 3})}

    rewritten(table, change)
    assert of(tmp_path) == [("1", "old", Decimal("0.25")), ("3", "old", Decimal("0.75"))]


def without_files(table: Path) -> None:
    [file] = table.glob("*.parquet")
    file.unlink()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda table: rewritten(table, feature("holograms")), "'holograms' is not supported"),
        (lambda table: (table / "_delta_log" / f"{0:020}.json").write_text('{"protocol"'), "Truncated"),
        (lambda table: (table / "_delta_log" / f"{0:020}.json").unlink(), "No files in log"),
        (without_files, "version 0 cannot be read as a Delta table .*not found"),
    ],
    ids=["feature", "log", "no log", "vacuumed"],
)
def test_a_table_that_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, broken: Callable[[Path], object], said: str
) -> None:
    table = tmp_path / "lake" / "things"
    write_deltalake(table, things(1))
    broken(table)
    with pytest.raises(InputError, match=rf"^dimension 'things': {table}.*{said}.*; restore it, or") as raised:
        load(THINGS, tmp_path)
    assert "\n" not in raised.value.message


def test_a_column_that_is_missing_and_a_row_that_is_refused_name_table_version_and_row(tmp_path: Path) -> None:
    table = tmp_path / "lake" / "things"
    write_deltalake(table, things(1).rename_columns(["id", "label", "cost", "valid_from"]))
    with pytest.raises(InputError, match=rf"^dimension 'things': {table}, version 0: no column price, which"):
        load(THINGS, tmp_path)
    cents = pa.array([Decimal("1.50"), Decimal("1.505")], pa.decimal128(9, 3))
    write_deltalake(table, things(1, 2).set_column(2, "price", cents), mode="overwrite", schema_mode="overwrite")
    with pytest.raises(InputError, match=rf"^dimension 'things': {table}, version 1, row 2: price has more than 2"):
        load(THINGS, tmp_path)
    write_deltalake(table, pa.table({**dict(zip(things(1).column_names, things(1).columns, strict=True)),
                                     "label": [b"\xff"]}), mode="overwrite", schema_mode="overwrite")  # fmt: skip
    with pytest.raises(InputError, match=r"version 2: column 'label' is binary"):
        load(THINGS, tmp_path)


def test_the_rows_of_a_version_have_the_same_numbers_each_time(tmp_path: Path) -> None:
    for number in range(12):
        write_deltalake(tmp_path / "things", things(*range(number * 1000, number * 1000 + 1000)), mode="append")
    orders = {b"".join(delta.rows(delta.opened(tmp_path / "things"), "things", lambda _: ["id"])) for _ in range(5)}
    assert len(orders) == 1


def test_ingest_reads_a_delta_table_as_parquet_wherever_it_is_without_removed_rows(tmp_path: Path) -> None:
    old = pa.table({"user": ["ann", "bob"], "quantity": [1, 2], "since": ["2026-01-01T00:00:00Z"] * 2})
    write_deltalake(tmp_path / "lake" / "sales", old, partition_by=["user"])
    new = old.set_column(1, "quantity", pa.array([3, 4]))
    write_deltalake(tmp_path / "lake" / "sales", new, mode="overwrite")
    pq.write_table(new, tmp_path / "lake" / "more.parquet")
    for name in ("lake", "lake/*", "lake/sales"):
        found = files.found([str(tmp_path / name)])
        lines = {file.name: sorted(files.payloads(file, SALES, PLAIN)) for file in found}
        if name != "lake/sales":
            assert lines.pop("more.parquet") == lines["sales"]
        assert [json.loads(line)["quantity"] for line in lines.pop("sales")] == [3, 4]
        assert not lines
    # A folder of files may hold a Delta table beside them, and a change of it is a change of the folder.
    folder = dimension("users", path="lake", keys=[text("user")], fields=[integer("quantity")], valid_from="since")
    before = state(folder, tmp_path).name
    (tmp_path / "lake" / "more.parquet").unlink()
    middle = state(folder, tmp_path)
    assert middle.read(None).rows["quantity"].to_pylist() in ([3, 4], [4, 3])
    write_deltalake(tmp_path / "lake" / "sales", old.slice(0, 1), mode="overwrite")
    assert len({before, middle.name, state(folder, tmp_path).name}) == 3
