"""How far the values of a snapshot go: the header by which a night extends them before its manifest moves.

A snapshot keeps its names from night to night: those of its *base*, the last one that was written as a whole. A night
appends to them the records of the days that it publishes, of the entities that have some, and no reader may count these
before the manifest names their day. So a value says through which day its records go, and where those end that it had
before. A reader takes what belongs to the snapshot of its manifest, and never half of a night.

A publication has a number that was never used before, and a value keeps that of the last one that wrote it. So the
repetition of a task changes nothing, what a night that died has left is cut off by the next one, and a task that
outlives its night overwrites nothing.
"""

import struct
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from dualpath.online.manifest import Manifest
from dualpath.record import HEADER, VERSION, Layout

FORMAT = struct.Struct("<II")
"""Of a header, what `dualpath.record.HEADER` begins with: format version and layout fingerprint."""
PLACES = struct.Struct("<4I")
"""Of a header, what stands in place of the fence: an extent."""


class Extent(NamedTuple):
    """The records of a value go through the day `through`; the first `kept` bytes of it, header included, are those
    through the day `since`. Days are `day_number`s. An earlier version wrote zeros, and one snapshot a value.
    """

    through: int
    since: int
    kept: int
    publication: int

    @classmethod
    def of(cls, header: bytes) -> "Extent":
        """The extent in a header."""
        return cls(*PLACES.unpack_from(header, FORMAT.size))


def within(header: bytes, length: int, day: int) -> int | None:
    """How many of a value's bytes are those of the snapshot of a day, by its header and its length; None if it holds
    later ones alone.

    >>> header = FORMAT.pack(0, 0) + PLACES.pack(*Extent(through=9, since=8, kept=40, publication=3))
    >>> [within(header, 100, day) for day in (10, 9, 8, 7)]
    [100, 100, 40, None]
    """
    # Each read does this for each value: a named tuple would take four times as long.
    through, since, kept, _ = PLACES.unpack_from(header, FORMAT.size)
    return length if through <= day else kept if since <= day else None


@dataclass(frozen=True)
class Publication:
    """The writing of a snapshot of a view through `day`: of its records after the served one, `extends`, or of all."""

    number: int
    day: str
    extends: Manifest | None = None

    @property
    def part(self) -> str:
        """The name of the part that is written."""
        return self.extends.snapshot_part if self.extends else "s" + self.day

    def header(self, kind: Layout) -> bytes:
        """The header of a value that is new."""
        through = day_number(self.day)
        since = day_number(self.extends.snapshot) if self.extends else through
        return pack(kind, Extent(through, since, HEADER.size, self.number))


def pack(kind: Layout, extent: Extent) -> bytes:
    """The header of a snapshot's value."""
    return FORMAT.pack(VERSION, kind.fingerprint) + PLACES.pack(*extent)


def day_number(day: str) -> int:
    """A day as a number; that of no day is 0.

    >>> day_number("2026-03-02") - day_number("2026-02-28"), day_number("")
    (2, 0)
    """
    return date.fromisoformat(day).toordinal() if day else 0
