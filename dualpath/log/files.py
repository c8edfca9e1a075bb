"""Files that a reader, or a crash, finds whole: the old one or the new one."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from dualpath.steps import Step, step


def write_atomically(file: Path, text: str) -> None:
    """Replace a small file.

    It outlives a power failure once this returns: the file and its place in the folder are both on the disk.
    """
    changed = _made(file.parent)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with written(temporary) as stream:
        stream.write(text.encode())
    temporary.replace(file)
    sync({file.parent, *changed})


def create(file: Path, content: bytes) -> bool:
    """Create a file with all of its content, if there is none of its name; answers whether it did.

    Of several writers one wins. The file outlives a power failure once this returns True.
    """
    temporary = file.with_name(f".{file.name}.{uuid4().hex}")
    with written(temporary) as stream:
        stream.write(content)
    try:
        os.link(temporary, file)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    sync([file.parent])
    return True


@contextmanager
def written(file: Path) -> Iterator[BinaryIO]:
    """A new file to write to, in a folder that may be new; its content outlives a power failure after the block."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if error.errno and not error.filename:  # as of a full disk
            error.filename = str(file)
        raise


def write_rows(rows: pa.Table, file: Path) -> None:
    """A new Parquet file of the log, that outlives a power failure."""
    with written(file) as stream:
        pq.write_table(rows, stream, store_decimal_as_integer=True, store_schema=False)


@step(Step.MOVE_FILE)
def move(file: Path, to: Path) -> set[Path]:
    """Move a file or a folder, into folders that may be new; answers the folders to `sync`."""
    changed = _made(to.parent)
    file.replace(to)
    return {to.parent, *changed}


def sync(places: Iterable[Path]) -> None:
    """Let what was made in folders outlive a power failure, or what was written to files."""
    for each in places:
        place = os.open(each, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def _made(folder: Path) -> set[Path]:
    """Make a folder and those above it; answers those that have a new one in them."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return {each.parent for each in new}
