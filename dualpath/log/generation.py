"""Generations: each checkpoint of the stream has a number, a folder of that number, and one thing that it reads.

The file `generation` says which one is the present one. It is with the data, where all machines see it. Spark's own
folder is beside it, or at `Storage.checkpoints`, which another machine, or data that were here before, may have too:
there its name has a mark besides, which the file knows, and which changes for a folder that is begun anew.
"""

from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from dualpath.errors import LostCheckpointError, StateError
from dualpath.files import checkpoint_place
from dualpath.files.durable import write_atomically
from dualpath.files.places import Place, read_text
from dualpath.log.storage import Storage
from dualpath.steps import Step, step


class Generation(NamedTuple):
    """What is noted of the present one; number 0: nothing. `reads` is empty before it has read anything."""

    number: int
    reads: str
    mark: str


def present(storage: Storage, reads: str) -> int:
    """The number of the generation that goes on, 1 before the first; from now on it `reads` this and nothing else.

    Raises `LostCheckpointError` if its checkpoint is lost, `StateError` if it was made while something else was read,
    and `InputError` if there can be no checkpoint.
    """
    file = _file(storage)
    known = _kept(file)
    number = max(known.number, 1)
    if is_lost(storage):
        lost = checkpoint(storage, number) if known.number else file.parent
        here = "" if storage.checkpoints is None else ", or start the stream on the machine that has it"
        raise LostCheckpointError(
            f"source '{storage.source}': the checkpoint is gone but the log has its rows; reading the input again "
            "would count them twice. Start with `dualpath stream --from-snapshot`, which goes on behind them, or "
            f"restore {lost}{here}."
        )
    if known.reads not in ("", reads):
        raise StateError(
            f"source '{storage.source}': the checkpoint is of a stream that reads {known.reads}, and this one reads "
            f"{reads}. Read what it did, or start with `dualpath stream --from-snapshot`, which begins a new "
            "checkpoint."
        )
    checkpoint_place.require(storage.checkpoints)
    if not _is_there(storage, number):
        mark = "" if storage.checkpoints is None else f"\n{uuid4().hex}"
        write_atomically(file, f"{number}\n{reads}{mark}")
    elif not known.reads:
        write_atomically(file, f"{number}\n{reads}")
    return number


@step(Step.BEGIN_GENERATION)
def begin_next(storage: Storage) -> int:
    """Make the next number the present one."""
    _, begun = storage.reached()
    file = _file(storage)
    number = max(begun.query, _kept(file).number) + 1
    write_atomically(file, str(number))
    return number


def checkpoint(storage: Storage, number: int) -> Place:
    """Spark's checkpoint of a generation."""
    if storage.checkpoints is None:
        return storage.folder("checkpoint") / f"query={number}"
    known = _kept(_file(storage))
    mark = f"-{known.mark}" if known.mark and known.number == number else ""
    return storage.checkpoints / storage.source / f"query={number}{mark}"


def location(folder: Place) -> str:
    """A checkpoint as Spark is told of it: a folder of this machine, whatever file system a cluster begins with."""
    return f"file://{folder.absolute()}" if isinstance(folder, Path) else str(folder)


def is_lost(storage: Storage) -> bool:
    """Whether the present generation has begun a batch and its checkpoint is not there: it would read its input
    again."""
    (_, begun), file = storage.reached(), _file(storage)
    number = max(_kept(file).number, 1)
    if begun.query != number:
        return begun.query > number
    return not (file.exists() and _is_there(storage, number))


def _kept(file: Place) -> Generation:
    number, reads, mark, *_ = [*read_text(file).split("\n"), "", "", ""]
    return Generation(int(number or 0), reads, mark)


def _is_there(storage: Storage, number: int) -> bool:
    return (checkpoint(storage, number) / "metadata").exists()


def _file(storage: Storage) -> Place:
    return storage.folder("checkpoint") / "generation"
