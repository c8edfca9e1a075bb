"""Leases: locks in an object store, between processes on any machines.

Whoever holds a lease replaces its object every `BEAT_SECONDS`. One that stays the same for `LEASE_SECONDS`, by the
clock of the process that waits for it, is of a holder that died, and is taken. No clocks of two machines are compared.

A holder that stood still for so long may go on beside the new one. That is why every decision is a conditional put
besides: a commit of the log or of record files, and the notes of `durable.update`. A lease only saves lost work.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from uuid import uuid4

from obstore.exceptions import BaseError

from dualpath.errors import RunningError
from dualpath.files import objects
from dualpath.files.objects import ObjectPath

log = logging.getLogger(__name__)
BEAT_SECONDS = 2.0
LEASE_SECONDS = 10.0
_held: dict[str, "_Lease"] = {}
"""What this process has taken and not given back, by path."""
FREE = ""
"""The text of a lease that was given back."""


@contextmanager
def leased(file: ObjectPath, refusal: str = "", pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Hold a lease; wait while another process holds it, or with a `refusal` raise `RunningError` with that text.

    It takes up to `LEASE_SECONDS` to see that a holder has died, and `BEAT_SECONDS` to see that it lives.
    """
    lease = _Lease(file)
    lease.take(refusal, pause)
    _held[str(file)] = lease
    beating = Thread(target=lease.beat, name=f"lease of {file.name}", daemon=True)
    beating.start()
    try:
        yield
    finally:
        lease.over.set()
        beating.join()
        del _held[str(file)]
        lease.give_back()


def is_held(file: ObjectPath) -> bool:
    """Whether a lease that this process has taken is not another one's by now; the store is asked."""
    lease = _held.get(str(file))
    return lease is not None and objects.read(file)[0].startswith(f"{lease.holder} ")


class _Lease:
    """A lease that this process wants, or holds: then `tag` is that of the object it has put."""

    def __init__(self, file: ObjectPath) -> None:
        self.file, self.over = file, Event()
        self.holder = f"{socket.gethostname()} {os.getpid()} {uuid4().hex}"
        self.beats, self.tag = 0, ""

    def take(self, refusal: str, pause: Callable[[float], None]) -> None:
        """Return when it is held."""
        seen, since = objects.read(self.file), time.monotonic()
        while True:
            text, tag = seen
            if text != FREE and time.monotonic() - since < LEASE_SECONDS:
                pause(BEAT_SECONDS / 4)
            elif self.put(tag):
                return
            now = objects.read(self.file)
            if now != seen:
                if refusal and FREE not in (text, now[0]):
                    raise RunningError(refusal)
                seen, since = now, time.monotonic()

    def put(self, tag: str | None) -> bool:
        """Put the object anew if it still has a tag; answers whether it did."""
        self.beats += 1
        found = objects.replace(self.file, f"{self.holder} {self.beats}", tag)
        self.tag = found or self.tag
        return found is not None

    def beat(self) -> None:
        """Put the object anew from time to time, until it is over or another process has taken the lease."""
        while not self.over.wait(BEAT_SECONDS):
            try:
                if not (self.put(self.tag) or self.found()):
                    log.error("%s: this process stood still, and another one holds the lease now", self.file)
                    return
            except BaseError as error:  # the store is away; whoever waits for the lease cannot reach it either
                log.warning("%s: the lease is not renewed (%s)", self.file, _said(error))

    def found(self) -> bool:
        """Whether the object is still one that this process has put: as one whose put was done, and called an error."""
        text, tag = objects.read(self.file)
        self.tag = (tag or "") if text.startswith(f"{self.holder} ") else ""
        return bool(self.tag)

    def give_back(self) -> None:
        """Let the next one have it, unless it was lost. If the store is away, the next one waits until it is stale."""
        try:
            if self.tag and objects.replace(self.file, FREE, self.tag) is None and self.found():
                objects.replace(self.file, FREE, self.tag)
        except BaseError as error:
            log.warning("%s: the lease is not given back (%s)", self.file, _said(error))


def _said(error: BaseError) -> str:
    return str(error).splitlines()[0]
