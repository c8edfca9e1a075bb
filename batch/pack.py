"""The small files of the log and of the dead-letter table, packed: those of a block of the ledger into one folder.

A stream leaves a folder for each batch, a night packs those of whole blocks. The folder of a block, `batch=A-B`, is
there whole or not at all, and readers take it from then on; what it replaces goes with the next night, for a job that
began before may still read it. Its rows say in a column `__batch` which batch they are of.
"""

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from dualpath.files import move, sync
from dualpath.ledger import Block
from dualpath.spark.log import write_rows
from dualpath.storage import Storage

log = logging.getLogger(__name__)
KINDS = {"log": "accepted", "dead": "dead_letter"}
"""What is packed, and the count in the ledger of its rows."""
AT_ONCE = 256_000_000
"""Bytes of rows in memory, and so in a file."""
LARGE = 32_000_000
"""Bytes of a mean file from which on the files of a block are left as they are."""


@dataclass(frozen=True)
class Pile:
    """The files of a block's batches, below `folder`, and the folder that takes their rows."""

    folder: Path
    block: Block
    kind: str
    to: Path


def pack(spark: SparkSession, storage: Storage) -> int:
    """Pack every block that is whole, and remove what was replaced before; answers how many were packed.

    A block whose files hold another number of rows than the ledger says stays as it is, with a warning.
    """
    whole = [block for block in storage.blocks() if block.first < block.last]
    for kind in KINDS:
        _remove_replaced(storage, kind, whole)
    staging = storage.folder("packing")
    shutil.rmtree(staging, ignore_errors=True)  # of a night that died
    piles = [
        Pile(storage.folder(kind), block, kind, staging / f"{kind}-{block.query}-{block.first}")
        for block in whole
        for kind, rows in KINDS.items()
        if getattr(block, rows) and not storage.packed(kind, block).exists()
    ]
    if not piles:
        return 0
    made = spark.sparkContext.parallelize(piles, len(piles)).map(_pack).collect()
    placed = [_place(storage, pile, *found) for pile, found in zip(piles, made, strict=True) if found]
    shutil.rmtree(staging)
    return sum(placed)


def _remove_replaced(storage: Storage, kind: str, whole: list[Block]) -> None:
    there: defaultdict[int, set[int]] = defaultdict(set)
    for folder in storage.folder(kind).glob("query=*/batch=*"):
        query, batch = (part.name.partition("=")[2] for part in (folder.parent, folder))
        if batch.isdigit():
            there[int(query)].add(int(batch))
    for block in whole:
        if storage.packed(kind, block).exists():
            for number in there[block.query].intersection(block.batches):
                shutil.rmtree(storage.folder(kind) / f"query={block.query}/batch={number}")


def _place(storage: Storage, pile: Pile, made: Path, rows: int) -> bool:
    """Put what a task has made into its place, if it is all there is."""
    expected = getattr(pile.block, KINDS[pile.kind])
    if rows != expected:
        log.warning(
            "source '%s': the files of %s hold %d rows of %d under %s/; restore them, they are not packed",
            *(storage.source, pile.block.name, rows, expected, pile.kind),
        )
        return False
    sync(move(made, storage.packed(pile.kind, pile.block)))
    return True


def _pack(pile: Pile) -> tuple[Path, int] | None:
    """Write a pile's rows, in one of Spark's workers: the folder and how many, but None if the files are large."""
    places: defaultdict[Path, list[tuple[int, Path]]] = defaultdict(list)
    for number in pile.block.batches:
        folder = pile.folder / f"query={pile.block.query}/batch={number}"
        for file in sorted(folder.rglob("*.parquet")):
            places[file.parent.relative_to(folder)].append((number, file))
    sizes = [file.stat().st_size for files in places.values() for _, file in files]
    if sizes and sum(sizes) / len(sizes) > LARGE:
        return None
    # A task that is tried again has a folder of its own.
    to, rows = pile.to / uuid4().hex, 0
    for place, files in places.items():
        for count, table in enumerate(_tables(files)):
            write_rows(table, to / place / f"part-{count:05d}.parquet")
            rows += len(table)
    return to, rows


def _tables(files: list[tuple[int, Path]]) -> Iterator[pa.Table]:
    """The rows of files, each with its batch's number: as many in a table as are of one schema and fit into memory."""
    held: list[pa.Table] = []
    size = 0
    for number, file in files:
        rows = pq.ParquetFile(file).read()  # which does not take the names of folders for columns
        rows = rows.append_column("__batch", pa.array(np.full(len(rows), number)))
        if held and (rows.schema != held[0].schema or size + rows.nbytes > AT_ONCE):
            yield pa.concat_tables(held)
            held, size = [], 0
        held.append(rows)
        size += rows.nbytes
    if held:
        yield pa.concat_tables(held)
