"""Locks between processes: locked files, of which the system lets go when a process dies, or leases in a store."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dualpath.errors import RunningError
from dualpath.files.places import Place

Check = Callable[[], None]
"""Raises `RunningError` if somebody else may be at work in the same place by now."""


def unchecked() -> None:
    """The check of a place that is nobody else's."""


@contextmanager
def locked(file: Place, refusal: str = "") -> Iterator[None]:
    """Hold a lock; wait while another process holds it, or with a `refusal` raise `RunningError` with that text.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "lock"
    >>> with locked(file), locked(file, refusal="another job is at work; run this one later."):
    ...     pass
    Traceback (most recent call last):
    dualpath.errors.RunningError: another job is at work; run this one later.
    """
    if not isinstance(file, Path):
        from dualpath.files.leases import leased

        with leased(file, refusal):
            yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise RunningError(refusal) from None
        yield


def require_held(file: Place, lost: str) -> None:
    """Raise `RunningError` with a text if a lock that this process has taken is another one's by now: a lease, of a
    holder that stood still."""
    if isinstance(file, Path):
        return
    from dualpath.files.leases import is_held

    if not is_held(file):
        raise RunningError(lost)
