"""Compaction of served values: a value that has grown is read, folded and replaced.

A micro-batch appends without reading, so a hot entity gets one record a bucket from every batch and keeps records that
no window reaches any more. When an append takes a value past a power of two, `append.lua` reports it, and its writer
compacts it. So each doubling is read once, and nothing has to remember what was compacted when.

It changes no answer, so it may be left out, cut off or done twice. It must not undo an append: `replace.lua` replaces a
value only if its header and its length are those that were read, and every append changes the header.

A snapshot is compacted as it is written. A value that a night has extended is compacted up to where the night's records
begin, to what the served snapshot can be asked: so it still holds both snapshots, whichever the manifest names.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from dualpath.online.extent import Extent, pack
from dualpath.record import HEADER, Layout, compact
from dualpath.schema import SATURATED
from dualpath.view import View

LEAST = 16_384
"""Bytes up to which an arrival day's value is left alone: it costs a reader next to nothing, and is gone in days."""
LEAST_OF_SNAPSHOT = 1_024
"""The same of a snapshot's value, which stays as long as its entity is active."""
TOGETHER = 50
"""Values that are read in one round trip: they may be large."""
SCRIPT = files("dualpath.online").joinpath("replace.lua").read_text()


def fewest(words: np.ndarray, kind: Layout, view: View, earliest_as_of: int) -> np.ndarray:
    """As `dualpath.record.compact`, but records with a sum that would leave 64 bits stay in parts, because later ones
    may bring it back."""
    fewer = compact(words, kind, view, earliest_as_of)
    return words if SATURATED in fewer and SATURATED not in words else fewer


class Compactor:
    """Compacts values of a Redis; in a cluster, values of one hash tag at a time."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.replace = redis.register_script(SCRIPT)

    def compact(
        self, names: Sequence[bytes], kind: Layout, view: View, earliest_as_of: int, *, extended: bool = False
    ) -> None:
        """Replace values' records by the fewest with the same answers, unless one is gone or written to meanwhile.

        Of values that a night has `extended`, the records that they had before.
        """
        for at in range(0, len(names), TOGETHER):
            some, changed = names[at : at + TOGETHER], []
            for name, value in zip(some, self.redis.mget(some), strict=True):
                if value is not None and (made := _compacted(value, kind, view, earliest_as_of, extended=extended)):
                    changed.append((name, value[: HEADER.size], len(value), made))
            if changed:
                self.replace(keys=[name for name, *_ in changed], args=[each for _, *rest in changed for each in rest])


def _compacted(value: bytes, kind: Layout, view: View, earliest_as_of: int, *, extended: bool) -> bytes | None:
    """A value with fewer records; None if there are none fewer."""
    end = Extent.of(value).kept if extended else len(value)
    words = kind.unpack(value[:end])
    fewer = fewest(words, kind, view, earliest_as_of)
    if len(fewer) == len(words):
        return None
    records = fewer.astype("<i8", copy=False).tobytes()
    if extended:
        return pack(kind, Extent.of(value)._replace(kept=HEADER.size + len(records))) + records + value[end:]
    return value[: HEADER.size] + records
