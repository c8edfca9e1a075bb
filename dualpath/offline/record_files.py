"""The tables of record files: what a part is, and how parts are published."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple, Self
from uuid import uuid4

import pyarrow as pa

from dualpath.errors import StateError
from dualpath.files.durable import move
from dualpath.files.locks import Check, unchecked
from dualpath.files.parquet import parquet, write_rows
from dualpath.files.places import Place, below, relative, remove, size, sizes
from dualpath.log.snapshot import Ends, TableFile
from dualpath.log.table import Table
from dualpath.offline import buckets


class Part(NamedTuple):
    """An arrival day's part of record files: its name and the bytes of its files with rows."""

    name: str
    size: int


@dataclass(frozen=True)
class RecordFile(TableFile):
    """A file of a part; that of a day without records has no rows."""

    PARTITIONS: ClassVar = ("arrival_day", "part", "bucket")
    RANGES: ClassVar = ()

    arrival_day: str
    part: str
    bucket: str

    @property
    def partition(self) -> Mapping[str, str]:
        return {"arrival_day": self.arrival_day, "part": self.part, "bucket": self.bucket}

    @property
    def ranges(self) -> Mapping[str, Ends]:
        return {}

    @classmethod
    def of(cls, path: str, size: int, rows: int, partition: tuple[str, ...], ranges: tuple[Ends, ...]) -> Self:
        return cls(path, size, rows, *partition)


RecordTable = Table[RecordFile]


@cache
def record_table(folder: Place) -> RecordTable:
    """The table in a folder, with what this process knows of it."""
    return Table(folder, RecordFile)


def index(table: RecordTable) -> dict[str, Part]:
    """The current part of each arrival day."""
    found: dict[str, Part] = {}
    for file in table.snapshot().files():
        before = found.get(file.arrival_day, Part(file.part, 0))
        found[file.arrival_day] = Part(file.part, before.size + (file.size if file.rows else 0))
    return dict(sorted(found.items()))


def lost(table: RecordTable) -> list[RecordFile]:
    """The files that are missing, or have another size than when they were written."""
    files = table.snapshot().files()
    there = sizes(table.folder, [file.path for file in files])
    return [file for file, bytes in zip(files, there, strict=True) if bytes != file.size]


def publish(
    table: RecordTable,
    schema: pa.Schema,
    staged: Place,
    parts: Mapping[str, str],
    rows: int,
    version: int,
    alone: Check = unchecked,
) -> None:
    """Make `staged/arrival_day=E/` the part `parts[E]` of each arrival day E, in one commit, then remove `staged` and
    what is superseded. Its files may be in folders `bucket=B`; `version` is that of the log that they were made of.

    Raises `StateError`, and publishes nothing, unless the files hold as many `rows` as were written. What `alone`
    raises before the commit does that too; after it, what is superseded is left to the next builder.
    """
    found = sorted((each for each in below(staged) if each.suffix == ".parquet"), key=str)
    counts = {file: parquet(file).metadata.num_rows for file in found}
    if (there := sum(counts.values())) != rows:
        raise StateError(
            f"{table.folder}: {rows:,} records were written and {there:,} are there, so they were not published; "
            "look at the disk, then run the job again."
        )
    table.ensure(columns(schema))
    made = []
    for arrival_day, part in parts.items():
        files = [file for file in counts if f"arrival_day={arrival_day}" in relative(file, staged).split("/")]
        for file in files or [empty(staged, schema)]:
            bucket = file.parent.name.removeprefix("bucket=") if "bucket=" in file.parent.name else buckets.ALL
            made.append(placed(table, file, counts.get(file, 0), (arrival_day, part, buckets.partition(bucket))))
    replaced = table.snapshot().files(arrival_day=parts)
    alone()
    table.commit("WRITE", made, replaced, parameters={"logVersion": str(version)})
    remove(staged, ignore_errors=True)
    table.remove_unused(alone)
    table.sum_up()


def placed(table: RecordTable, file: Place, rows: int, values: tuple[str, str, str]) -> RecordFile:
    """Move a file, whose folder is removed later, to the partition with some values, under a new name; no commit has it
    yet."""
    folder = RecordFile.place(*values)
    path = f"{folder}/part-{uuid4().hex}.parquet"
    move(file, table.folder / path, may_stay=True)
    return RecordFile(path, size(table.folder / path), rows, *values)


def columns(rows: pa.Schema) -> pa.Schema:
    """The columns of the table that holds rows."""
    return pa.schema([*rows, ("arrival_day", pa.date32()), ("part", pa.string()), ("bucket", pa.string())])


def empty(folder: Place, schema: pa.Schema) -> Place:
    """A new file without rows."""
    file = folder / f"{uuid4().hex}.parquet"
    write_rows(schema.empty_table(), file)
    return file
