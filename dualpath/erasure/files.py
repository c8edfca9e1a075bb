"""Rewrites files without some of their rows: beside themselves first, then in their own place."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dualpath.files.durable import sync, written
from dualpath.files.parquet import parquet
from dualpath.files.places import Place
from dualpath.steps import Step, step

BESIDE = ".erasing"
"""The end of the hidden name of a file that is to replace another one."""


@contextmanager
def rewritten(file: Path, *, keeps_time: bool = False) -> Iterator[BinaryIO]:
    """What is to be in a file from now on; until the block has ended, readers see what was there before.

    The file keeps its mode, and with `keeps_time` its modification time.
    """
    beside, before = file.with_name(f".{file.name}{BESIDE}"), file.stat()
    with step(Step.REWRITE_FILE):
        with written(beside) as stream:
            yield stream
        beside.chmod(S_IMODE(before.st_mode))
        if keeps_time:
            os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
        beside.replace(file)
        sync([file.parent])


def keep_rows(file: Path, kept: pa.Array) -> None:
    """Rewrite a Parquet file with the rows of a mask alone, in their order, with its schema and codec."""
    with rewritten(file) as stream:
        copy_rows(file, stream, kept)


def copy_rows(
    file: Place, stream: BinaryIO, kept: pa.Array, change: Callable[[pa.Table], pa.Table] = lambda rows: rows
) -> None:
    """Write the rows of a Parquet file that a mask keeps, changed or as they are, as another one."""
    opened = parquet(file)
    about = opened.metadata
    codec = about.row_group(0).column(0).compression if about.num_row_groups else "SNAPPY"
    rows = change(opened.read().filter(kept))
    pq.write_table(
        rows,
        stream,
        compression="NONE" if codec == "UNCOMPRESSED" else codec,
        store_schema=b"ARROW:schema" in (about.metadata or {}),
        store_decimal_as_integer=True,
    )
