"""Generations: each checkpoint of the stream has a number, and a folder of that number."""

from pathlib import Path

from dualpath.errors import StateError
from dualpath.files import write_atomically
from dualpath.storage import Storage


def present(storage: Storage) -> int:
    """The number of the generation that goes on, 1 before the first; raises `StateError` if its checkpoint is lost."""
    file, (_, begun) = _file(storage), storage.reached()
    number = int(file.read_text()) if file.exists() else 1
    # A generation that has begun a batch has a checkpoint; without one it would read its input again.
    if begun.epoch > number or (begun.epoch and not file.exists()) or _lost(storage, number, begun.epoch):
        raise StateError(
            f"source '{storage.source}': the checkpoint is gone but the log has its rows; reading the input again "
            "would count them twice. Start with `dualpath stream --from-snapshot`, which goes on behind them, or "
            "restore the latest checkpoint folder."
        )
    if not file.exists():
        write_atomically(file, str(number))
    return number


def begin_next(storage: Storage) -> int:
    """Make the next number the present one."""
    _, begun = storage.reached()
    file = _file(storage)
    number = max(begun.epoch, int(file.read_text()) if file.exists() else 0) + 1
    write_atomically(file, str(number))
    return number


def checkpoint(storage: Storage, number: int) -> Path:
    """Spark's checkpoint of a generation."""
    return storage.folder("checkpoint") / f"query={number}"


def _lost(storage: Storage, number: int, begun: int) -> bool:
    return begun == number and not (checkpoint(storage, number) / "metadata").exists()


def _file(storage: Storage) -> Path:
    return storage.folder("checkpoint") / "generation"
