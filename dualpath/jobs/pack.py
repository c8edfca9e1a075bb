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
    """The rows that all batches of a block have of a kind."""

    storage: Storage
    kind: str
    block: Block

    @property
    def rows(self) -> int:
        """How many there are, as the ledger says."""
        return getattr(self.block, KINDS[self.kind])

    @property
    def packed(self) -> Path:
        """The folder that they are packed in."""
        return self.storage.packed(self.kind, self.block)


def pack(spark: SparkSession, storage: Storage) -> int:
    """Pack every block that is whole, and remove what was replaced before; answers how many folders were made.

    A block whose files cannot be read, or hold another number of rows than the ledger says, stays as it is, with a
    warning. Raises `RunningError` if another night is packing.
    """
    staging, made = storage.folder("packing"), 0
    with storage.packing():
        whole = [block for block in storage.blocks() if block.first < block.last]
        for kind in KINDS:
            _remove_replaced([Pile(storage, kind, block) for block in whole])
        shutil.rmtree(staging, ignore_errors=True)  # of a night that died
        piles = [Pile(storage, kind, block) for block in whole for kind in KINDS]
        wanted = [pile for pile in piles if pile.rows and not pile.packed.exists()]
        for first in range(0, len(wanted), AT_A_TIME):
            some = wanted[first : first + AT_A_TIME]
            found = spark.sparkContext.parallelize(some, len(some)).map(_pack).collect()
            made += sum(_place(*each) for each in zip(some, found, strict=True))
        shutil.rmtree(staging, ignore_errors=True)
    return made


@step(Step.REMOVE_COMPACTED)
def _remove_replaced(piles: list[Pile]) -> None:
    """Remove the folders of batches of a kind that were packed a while ago, once more seen to be complete."""
    until = time.time() - GRACE
    old = [pile for pile in piles if pile.packed.exists() and pile.packed.stat().st_mtime <= until]
    if not old:
        return
    starts = [(pile.block.query, pile.block.first) for pile in old]
    replaced: defaultdict[int, list[Path]] = defaultdict(list)
    for folder in old[0].storage.folder(old[0].kind).glob("query=*/batch=*"):
        if "-" in folder.name:  # packed itself
            continue
        query, batch = ledger.number(folder)
        at = bisect_right(starts, (query, batch)) - 1
        if old[at].block.query == query and batch in old[at].block.batches:
            replaced[at].append(folder)
    for at, folders in replaced.items():
        pile = old[at]
        if said := _wrong(pile.packed.rglob("*.parquet"), pile.rows):
            complete = not _wrong((file for folder in folders for file in folder.rglob("*.parquet")), pile.rows)
            then = "it is packed again" if complete else "what it replaced is not whole either, and all is kept"
            log.warning("source '%s': %s: %s; %s", pile.storage.source, pile.packed, said, then)
            folders = [pile.packed] if complete else []
        for folder in folders:
            shutil.rmtree(folder)


@step(Step.PLACE_COMPACTED)
def _place(pile: Pile, made: Path | str | None) -> bool:
    """Put what a task has made into its place, or say why it has made nothing."""
    if isinstance(made, str):
        source, name = pile.storage.source, pile.block.name
        log.warning("source '%s': %s, %s/: %s; it is not packed", source, name, pile.kind, made)
    if not isinstance(made, Path):
        return False
    sync(move(made, pile.packed))
    return True


def _pack(pile: Pile) -> Path | str | None:
    """Write a pile's rows, in one of Spark's workers: the folder that has them. A text says why they cannot be packed;
    None: their files are large enough."""
    batches = pile.block.batches
    places: defaultdict[Path, list[tuple[int, Path]]] = defaultdict(list)
    for batch, folder in zip(batches, pile.storage.folders(pile.kind, pile.block, batches), strict=True):
        for file in sorted(folder.rglob("*.parquet")):
            if not places and file.stat().st_size > LARGE:
                return None
            places[file.parent.relative_to(folder)].append((batch, file))
    if said := _wrong((file for files in places.values() for _, file in files), pile.rows):
        return said
    to = pile.storage.folder("packing") / uuid4().hex  # a task that is tried again has a folder of its own
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
    """The rows of files, each with its batch's number: as many in a table as are of one schema and fit into memory."""
    held: list[pa.Table] = []
    size = 0
    for batch, file in files:
        rows = pq.ParquetFile(file).read()  # which does not take the names of folders for columns
        rows = rows.append_column("__batch", pa.array(np.full(len(rows), batch)))
        if held and (rows.schema != held[0].schema or size + rows.nbytes > GATHERED):
            yield pa.concat_tables(held)
            held, size = [], 0
        held.append(rows)
        size += rows.nbytes
    if held:
        yield pa.concat_tables(held)
