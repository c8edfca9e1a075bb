"""The small files of the log and of the dead-letter table, packed: those of a block of the ledger into one folder.

A stream leaves a folder for each batch, a night packs those of whole blocks. The folder of a block, `batch=A-B`, is
there whole or not at all, and readers take it from then on; what it replaces goes with a later night, for a job that
began before may still read it. Its rows say in a column `__batch` which batch they are of.
"""

import logging
import shutil
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
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
GRACE = 43_200.0
"""Seconds that files stay after they were replaced."""
LARGE = 32_000_000
"""Bytes of a block's first file from which on its files are left as they are."""
GATHERED = 256_000_000
"""Bytes of rows that a task gathers for a file."""
AT_A_TIME = 64
"""Folders that are made before they are put into their places."""


@dataclass(frozen=True)
class Pile:
    """The files of a block's batches, below `folder`, which have so many rows, and the folder that takes them."""

    folder: Path
    block: Block
    rows: int
    to: Path

    @property
    def files(self) -> Iterator[tuple[int, Path, Path]]:
        """Each file with its batch and its place in the batch's folder."""
        for number in self.block.batches:
            folder = self.folder / f"query={self.block.query}/batch={number}"
            for file in sorted(folder.rglob("*.parquet")):
                yield number, file.parent.relative_to(folder), file


def pack(spark: SparkSession, storage: Storage) -> int:
    """Pack every block that is whole, and remove what was replaced before; answers how many folders were made.

    A block whose files cannot be read, or hold another number of rows than the ledger says, stays as it is, with a
    warning. Raises `StateError` if another night is packing.
    """
    staging, made = storage.folder("packing"), 0
    with storage.packing():
        whole = [block for block in storage.blocks() if block.first < block.last]
        for kind in KINDS:
            _remove_replaced(storage, kind, whole)
        shutil.rmtree(staging, ignore_errors=True)  # of a night that died
        wanted = [
            (kind, block)
            for block in whole
            for kind, rows in KINDS.items()
            if getattr(block, rows) and not storage.packed(kind, block).exists()
        ]
        for first in range(0, len(wanted), AT_A_TIME):
            some = wanted[first : first + AT_A_TIME]
            piles = [Pile(storage.folder(kind), b, getattr(b, KINDS[kind]), staging / kind) for kind, b in some]
            found = spark.sparkContext.parallelize(piles, len(piles)).map(_pack).collect()
            made += sum(_place(storage, *each, folder) for each, folder in zip(some, found, strict=True))
        shutil.rmtree(staging, ignore_errors=True)
    return made


def _remove_replaced(storage: Storage, kind: str, whole: list[Block]) -> None:
    """Remove the folders of batches that were packed a while ago, once more seen to be complete."""
    until = time.time() - GRACE
    packed = [b for b in whole if (to := storage.packed(kind, b)).exists() and to.stat().st_mtime <= until]
    starts = [(block.query, block.first) for block in packed]
    replaced: defaultdict[int, list[Path]] = defaultdict(list)
    for folder in storage.folder(kind).glob("query=*/batch=*"):
        query, batch = (part.name.partition("=")[2] for part in (folder.parent, folder))
        if not batch.isdigit():
            continue
        at = bisect_right(starts, (int(query), int(batch))) - 1
        if at >= 0 and packed[at].query == int(query) and int(batch) <= packed[at].last:
            replaced[at].append(folder)
    for at, folders in replaced.items():
        to, rows = storage.packed(kind, packed[at]), getattr(packed[at], KINDS[kind])
        if said := _wrong(to.rglob("*.parquet"), rows):
            whole_still = not _wrong((file for folder in folders for file in folder.rglob("*.parquet")), rows)
            then = "it is packed again" if whole_still else "what it replaced is not whole either, and all is kept"
            log.warning("source '%s': %s: %s; %s", storage.source, to, said, then)
            folders = [to] if whole_still else []
        for folder in folders:
            shutil.rmtree(folder)


def _place(storage: Storage, kind: str, block: Block, made: Path | str | None) -> bool:
    """Put what a task has made into its place, or say why it has made nothing."""
    if isinstance(made, str):
        log.warning("source '%s': %s, %s/: %s; it is not packed", storage.source, block.name, kind, made)
    if not isinstance(made, Path):
        return False
    sync(move(made, storage.packed(kind, block)))
    return True


def _pack(pile: Pile) -> Path | str | None:
    """Write a pile's rows, in one of Spark's workers: the folder that has them. A text says why they cannot be packed;
    None: their files are large enough."""
    if any(file.stat().st_size > LARGE for *_, file in islice(pile.files, 1)):
        return None
    places: defaultdict[Path, list[tuple[int, Path]]] = defaultdict(list)
    for number, place, file in pile.files:
        places[place].append((number, file))
    if said := _wrong((file for each in places.values() for _, file in each), pile.rows):
        return said
    to = pile.to / uuid4().hex  # a task that is tried again has a folder of its own
    for place, each in places.items():
        for count, table in enumerate(_tables(each)):
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
    """The rows of files, each with its batch's number: as many in a table as are of one schema and fit into memory."""
    held: list[pa.Table] = []
    size = 0
    for number, file in files:
        rows = pq.ParquetFile(file).read()  # which does not take the names of folders for columns
        rows = rows.append_column("__batch", pa.array(np.full(len(rows), number)))
        if held and (rows.schema != held[0].schema or size + rows.nbytes > GATHERED):
            yield pa.concat_tables(held)
            held, size = [], 0
        held.append(rows)
        size += rows.nbytes
    if held:
        yield pa.concat_tables(held)
