"""Compacts the log and the dead-letter table: the small files of a block of the ledger become one folder of large ones.

A stream leaves a folder for each batch; a night compacts whole blocks. A block's folder, `batch=A-B`, is there whole or
not at all, and readers take it from then on. The folders that it replaces go with a later night, for a job that began
before may still read them. A compacted row has the number of its batch in a column `__batch`.
"""

import logging
import shutil
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from dualpath.log import ledger
from dualpath.log.files import move, sync
from dualpath.log.ledger import Block
from dualpath.log.storage import Storage
from dualpath.spark.log import write_rows
from dualpath.steps import Step, step

log = logging.getLogger(__name__)
KINDS = {"log": "accepted", "dead": "dead_letter", "duplicate": "duplicate"}
"""What is compacted, and the count in the ledger of its rows. An earlier version kept no duplicates: where some are
missing, a block's are left as they are."""
GRACE_SECONDS = 43_200.0
"""How long files stay after they were replaced."""
LARGE_FILE_BYTES = 32_000_000
"""Size of a block's first file from which on its files are left as they are."""
FILE_ROWS_BYTES = 256_000_000
"""Size in memory of the rows that a task writes into one file."""
BLOCKS_PER_JOB = 64
"""Folders that a Spark job makes before they are moved into place."""


@dataclass(frozen=True)
class BlockRows:
    """The rows of a kind that all batches of a block have."""

    storage: Storage
    kind: str
    block: Block

    @property
    def count(self) -> int:
        """How many there are, as the ledger says."""
        return getattr(self.block, KINDS[self.kind])

    @property
    def compacted(self) -> Path:
        """The folder for all of them."""
        return self.storage.compacted(self.kind, self.block)


def compact_log(spark: SparkSession, storage: Storage) -> int:
    """Compact every block that is whole, and remove what was replaced before; answers how many folders were made.

    A block whose files cannot be read, or hold another number of rows than the ledger says, stays as it is, with a
    warning. Raises `RunningError` if another night is compacting.
    """
    staging, made = storage.folder("packing"), 0
    with storage.compacting():
        whole = [block for block in storage.blocks() if block.first < block.last]
        for kind in KINDS:
            _remove_replaced([BlockRows(storage, kind, block) for block in whole])
        shutil.rmtree(staging, ignore_errors=True)  # of a night that died
        found = [BlockRows(storage, kind, block) for block in whole for kind in KINDS]
        wanted = [each for each in found if each.count and not each.compacted.exists()]
        for first in range(0, len(wanted), BLOCKS_PER_JOB):
            some = wanted[first : first + BLOCKS_PER_JOB]
            folders = spark.sparkContext.parallelize(some, len(some)).map(_compact).collect()
            made += sum(_place(*each) for each in zip(some, folders, strict=True))
        shutil.rmtree(staging, ignore_errors=True)
    return made


@step(Step.REMOVE_COMPACTED)
def _remove_replaced(found: list[BlockRows]) -> None:
    """Remove the folders of batches that were compacted a while ago, if what replaces them still is complete."""
    until = time.time() - GRACE_SECONDS
    old = [each for each in found if each.compacted.exists() and each.compacted.stat().st_mtime <= until]
    if not old:
        return
    starts = [(each.block.query, each.block.first) for each in old]
    replaced: defaultdict[int, list[Path]] = defaultdict(list)
    for folder in old[0].storage.folder(old[0].kind).glob("query=*/batch=*"):
        if "-" in folder.name:  # compacted itself
            continue
        query, batch = ledger.number(folder)
        at = bisect_right(starts, (query, batch)) - 1
        if old[at].block.query == query and batch in old[at].block.batches:
            replaced[at].append(folder)
    for at, folders in replaced.items():
        rows = old[at]
        if said := _wrong(rows.compacted.rglob("*.parquet"), rows.count):
            complete = not _wrong((file for folder in folders for file in folder.rglob("*.parquet")), rows.count)
            then = "it is compacted again" if complete else "what it replaced is not whole either, and all is kept"
            log.warning("source '%s': %s: %s; %s", rows.storage.source, rows.compacted, said, then)
            folders = [rows.compacted] if complete else []
        for folder in folders:
            shutil.rmtree(folder)


@step(Step.PLACE_COMPACTED)
def _place(rows: BlockRows, made: Path | str | None) -> bool:
    """Move what a task has made into its place, or log why it has made nothing."""
    if isinstance(made, str):
        source, name = rows.storage.source, rows.block.name
        log.warning("source '%s': %s, %s/: %s; it is not compacted", source, name, rows.kind, made)
    if not isinstance(made, Path):
        return False
    sync(move(made, rows.compacted))
    return True


def _compact(rows: BlockRows) -> Path | str | None:
    """Write the rows to a new folder, in a Spark worker. A text says why they cannot be compacted; None says that their
    files are large enough."""
    batches = rows.block.batches
    places: defaultdict[Path, list[tuple[int, Path]]] = defaultdict(list)
    for batch, folder in zip(batches, rows.storage.folders(rows.kind, rows.block, batches), strict=True):
        for file in sorted(folder.rglob("*.parquet")):
            if not places and file.stat().st_size > LARGE_FILE_BYTES:
                return None
            places[file.parent.relative_to(folder)].append((batch, file))
    if said := _wrong((file for files in places.values() for _, file in files), rows.count):
        return None if rows.kind == "duplicate" else said
    to = rows.storage.folder("packing") / uuid4().hex  # a task that is tried again has a folder of its own
    for place, files in places.items():
        for count, table in enumerate(_tables(files)):
            write_rows(table, to / place / f"part-{count:05d}.parquet")
    sync([to, *(folder for folder in to.rglob("*") if folder.is_dir())])
    return to


def _wrong(files: Iterable[Path], rows: int) -> str:
    """What is wrong with files that should hold so many rows; empty if nothing is."""
    there = 0
    for file in files:
        try:
            there += pq.read_metadata(file).num_rows
        except (pa.ArrowException, OSError) as error:
            return f"{file} cannot be read ({str(error).splitlines()[0]})"
    return "" if there == rows else f"the files hold {there} rows of {rows}"


def _tables(files: list[tuple[int, Path]]) -> Iterator[pa.Table]:
    """The rows of files, each with its batch's number: as many in a table as are of one schema and fit into a file."""
    held: list[pa.Table] = []
    size = 0
    for batch, file in files:
        rows = pq.ParquetFile(file).read()  # which does not take the names of folders for columns
        rows = rows.append_column("__batch", pa.array(np.full(len(rows), batch)))
        if held and (rows.schema != held[0].schema or size + rows.nbytes > FILE_ROWS_BYTES):
            yield pa.concat_tables(held)
            held, size = [], 0
        held.append(rows)
        size += rows.nbytes
    if held:
        yield pa.concat_tables(held)
