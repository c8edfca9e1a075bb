"""Compacts the log: the small files of a partition become few large ones, in one commit that changes no row.

A stream adds a file or more in each batch; a night compacts what finished batches have left, and removes from the disk
the files that were replaced a while ago, for a job that began before may still read them.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import SparkSession

from dualpath.errors import StateError
from dualpath.files.parquet import parquet
from dualpath.files.places import Place
from dualpath.log.batches import sum_up
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER, DUPLICATE, write
from dualpath.steps import Step, step

log = logging.getLogger(__name__)
LARGE_FILE_BYTES = 32_000_000
"""Size from which on a file is left as it is."""
FEW = 50
"""So many small files of a partition are left as they are."""
FILE_ROWS_BYTES = 256_000_000
"""Size in memory of the rows that are written into one file."""
FILES_PER_TASK = 1_000
"""Small files that a task of Spark takes at most."""


@dataclass(frozen=True)
class Compacted:
    """What a task has made of some files: new ones, or why it could not."""

    before: list[DataFile]
    made: list[DataFile]
    fault: str = ""


def compact_log(spark: SparkSession, storage: Storage) -> int:
    """Compact every partition that has many small files, and remove what was replaced before; answers how many files
    were made.

    Files that cannot be read, or hold another number of rows than the log says, stay as they are, with a warning.
    Raises `RunningError` if another night is compacting.
    """
    with storage.compacting():
        if not storage.table.exists():
            return 0
        groups = [each for outcome in (ACCEPTED, DUPLICATE, DEAD_LETTER) for each in _groups(storage, outcome)]
        done: list[Compacted] = []
        if groups:
            folder = storage.folder("log")
            tasks = spark.sparkContext.parallelize(groups, len(groups))
            done = tasks.map(lambda files: _compact(folder, files)).collect()
        for each in done:
            if each.fault:
                log.warning("source '%s': %s; these files are not compacted", storage.source, each.fault)
        well = [each for each in done if not each.fault]
        made = [file for each in well for file in each.made]
        if made:
            with step(Step.COMPACT_LOG):
                before = [file for each in well for file in each.before]
                storage.table.commit("OPTIMIZE", made, before, data_change=False)
        sum_up(storage.table)
        with step(Step.VACUUM_LOG):
            storage.table.vacuum()
    return len(made)


def _groups(storage: Storage, outcome: str) -> list[list[DataFile]]:
    """The small files of partitions that have many, in groups that a task takes."""
    found: defaultdict[str, list[DataFile]] = defaultdict(list)
    for file in storage.files(outcome):
        if file.size < LARGE_FILE_BYTES:
            found[file.arrival_day].append(file)
    many = [files for files in found.values() if len(files) > FEW]
    return [files[at : at + FILES_PER_TASK] for files in many for at in range(0, len(files), FILES_PER_TASK)]


def _compact(folder: Place, files: list[DataFile]) -> Compacted:
    """Write the rows of files of one partition into new ones, in a Spark worker."""
    made: list[DataFile] = []
    try:
        for rows in _tables(folder, files):
            made.append(write(folder, files[0].outcome, files[0].arrival_day, rows))
    except (pa.ArrowException, OSError, StateError) as error:
        return Compacted(files, [], str(error).splitlines()[0])
    return Compacted(files, made)


def _tables(folder: Place, files: list[DataFile]) -> Iterator[pa.Table]:
    """The rows of files: as many in a table as fit into a file."""
    held: list[pa.Table] = []
    size = 0
    for file in files:
        try:
            rows = parquet(folder / file.path).read()  # which does not take the names of folders for columns
        except (pa.ArrowException, OSError) as error:
            raise StateError(f"{file.path} cannot be read ({str(error).splitlines()[0]})") from None
        if len(rows) != file.rows:
            raise StateError(f"{file.path} holds {len(rows)} rows of {file.rows}")
        if held and size + rows.nbytes > FILE_ROWS_BYTES:
            yield pa.concat_tables(held, promote_options="default")
            held, size = [], 0
        held.append(rows)
        size += rows.nbytes
    yield pa.concat_tables(held, promote_options="default")
