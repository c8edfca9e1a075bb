"""Files that a reader, or a crash, finds whole: the old one or the new one."""

import os
from pathlib import Path


def write_atomically(file: Path, text: str) -> None:
    """Replace a small file.

    It outlives a power failure once this returns: the file and its place in the folder are both on the disk.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    _sync(file.parent)


def move(file: Path, to: Path) -> None:
    """Move a file that is on the disk, into folders that may be new; its place too outlives a power failure."""
    new = [folder for folder in to.parents if not folder.exists()]
    to.parent.mkdir(parents=True, exist_ok=True)
    file.replace(to)
    for folder in {to.parent, *(each.parent for each in new)}:
        _sync(folder)


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
