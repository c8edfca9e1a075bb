"""Generations: each checkpoint of the stream has a number, a folder of that number, and one thing that it reads."""

from dualpath.errors import LostCheckpointError, StateError
from dualpath.files.durable import write_atomically
from dualpath.files.places import Place, read_text
from dualpath.log.storage import Storage
from dualpath.steps import Step, step


def present(storage: Storage, reads: str) -> int:
    """The number of the generation that goes on, 1 before the first; from now on it `reads` this and nothing else.

    Raises `LostCheckpointError` if its checkpoint is lost, `StateError` if it was made while something else was read.
    """
    file, (_, begun) = _file(storage), storage.reached()
    kept, known = _kept(file)
    number = max(kept, 1)
    # A generation that has begun a batch has a checkpoint; without one it would read its input again.
    if begun.query > number or (begun.query and not file.exists()) or _lost(storage, number, begun.query):
        raise LostCheckpointError(
            f"source '{storage.source}': the checkpoint is gone but the log has its rows; reading the input again "
            "would count them twice. Start with `dualpath stream --from-snapshot`, which goes on behind them, or "
            "restore the latest checkpoint folder."
        )
    if known not in ("", reads):
        raise StateError(
            f"source '{storage.source}': the checkpoint is of a stream that reads {known}, and this one reads {reads}. "
            "Read what it did, or start with `dualpath stream --from-snapshot`, which begins a new checkpoint."
        )
    if not known:
        write_atomically(file, f"{number}\n{reads}")
    return number


@step(Step.BEGIN_GENERATION)
def begin_next(storage: Storage) -> int:
    """Make the next number the present one."""
    _, begun = storage.reached()
    file = _file(storage)
    number = max(begun.query, _kept(file)[0]) + 1
    write_atomically(file, str(number))
    return number


def checkpoint(storage: Storage, number: int) -> Place:
    """Spark's checkpoint of a generation."""
    return storage.folder("checkpoint") / f"query={number}"


def _kept(file: Place) -> tuple[int, str]:
    """The present number and what it reads; 0 before the first, and empty before it has read anything."""
    number, _, reads = read_text(file).partition("\n")
    return int(number or 0), reads


def _lost(storage: Storage, number: int, begun: int) -> bool:
    return begun == number and not (checkpoint(storage, number) / "metadata").exists()


def _file(storage: Storage) -> Place:
    return storage.folder("checkpoint") / "generation"
