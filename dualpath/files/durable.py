"""Files that a reader, or a crash, finds whole: the old one or the new one."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from dualpath.files import objects
from dualpath.files.locks import locked
from dualpath.files.places import Place, read_text
from dualpath.steps import Step, step


def write_atomically(file: Place, text: str) -> None:
    """Replace a small file.

    It outlives a power failure once this returns: the file and its place in the folder are both on the disk.
    """
    if not isinstance(file, Path):
        objects.put(file, text.encode())
        return
    changed = _made(file.parent)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with written(temporary) as stream:
        stream.write(text.encode())
    temporary.replace(file)
    sync({file.parent, *changed})


def update(file: Place, change: Callable[[str], str]) -> str:
    """Replace the text of a small file (empty: there is none) by what `change` makes of it; answers what is there then.

    Of several writers each sees what the one before has written, so no change is lost. `change` may be called several
    times, and writes nothing if it answers what it got. In an object store what it answers must be nobody else's, or
    may be made twice.
    """
    if not isinstance(file, Path):
        return objects.update(file, change)
    with locked(file.with_name(f".{file.name}.lock")):
        before = read_text(file)
        if (after := change(before)) != before:
            write_atomically(file, after)
    return after


def create(file: Place, content: bytes) -> bool:
    """Create a file with all of its content, which is nobody else's, if there is none of its name; answers whether it
    did.

    Of several writers one wins. The file outlives a power failure once this returns True.
    """
    if not isinstance(file, Path):
        return objects.create(file, content)
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
def written(file: Place) -> Iterator[BinaryIO]:
    """A new file to write to, in a folder that may be new; its content outlives a power failure after the block.

    An object is there after the block, and not at all if the block raises; until then it is in memory.
    """
    if not isinstance(file, Path):
        held = io.BytesIO()
        yield held
        objects.put(file, held.getvalue())
        return
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


@step(Step.MOVE_FILE)
def move(file: Place, to: Place, *, may_stay: bool = False) -> set[Path]:
    """Move a file, into folders that may be new; answers the folders to `sync`.

    With `may_stay` an object is left where it was, too: its folder is removed later, which is one request for all.
    """
    if isinstance(file, Path) and isinstance(to, Path):
        changed = _made(to.parent)
        file.replace(to)
        return {to.parent, *changed}
    assert not isinstance(file, Path) and not isinstance(to, Path), "both are in the same store"
    objects.move(file, to, may_stay=may_stay)
    return set()


def sync(places: Iterable[Place]) -> None:
    """Let what was made in folders outlive a power failure, or what was written to files; objects do anyway."""
    for each in places:
        if not isinstance(each, Path):
            continue
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
