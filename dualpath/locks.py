"""Locks between processes, as locked files; the system lets go of them when a process dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dualpath.errors import RunningError


@contextmanager
def locked(file: Path, refusal: str = "") -> Iterator[None]:
    """Hold a lock file; wait while another process holds it, or with a `refusal` raise `RunningError` with that text.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "lock"
    >>> with locked(file), locked(file, refusal="another job is at work; run this one later."):
    ...     pass
    Traceback (most recent call last):
    dualpath.errors.RunningError: another job is at work; run this one later.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise RunningError(refusal) from None
        yield
