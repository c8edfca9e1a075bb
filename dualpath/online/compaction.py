"""Compaction of served values: a value that has grown is read, folded and replaced.

A micro-batch appends without reading, so a hot entity gets one record a bucket from every batch and keeps records that
no window reaches any more. When an append takes a value past a power of two, `append.lua` reports it, and its writer
compacts it. So each doubling is read once, and nothing has to remember what was compacted when.

It changes no answer, so it may be left out, cut off or done twice. It must not undo an append: `replace.lua` replaces a
value only if its header and its length are those that were read, and every append changes the header.

A snapshot is compacted as it is written. A value that a night has extended is compacted up to where the night's records
begin, to what the served snapshot can be asked: so it still holds both snapshots, whichever the manifest names.
"""

from importlib.resources import files
from typing import Any

import numpy as np

from dualpath.online.extent import Extent, pack
from dualpath.record import HEADER, Layout, compact
from dualpath.schema import SATURATED
from dualpath.view import View

LEAST = 16_384
"""Bytes up to which a value is left alone: it costs a reader next to nothing."""
SCRIPT = files("dualpath.online").joinpath("replace.lua").read_text()


def fewest(words: np.ndarray, kind: Layout, view: View, earliest_as_of: int) -> np.ndarray:
    """As `dualpath.record.compact`, but records with a sum that would leave 64 bits stay in parts, because later ones
    may bring it back."""
    fewer = compact(words, kind, view, earliest_as_of)
    return words if SATURATED in fewer and SATURATED not in words else fewer


class Compactor:
    """Compacts values of a Redis."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.replace = redis.register_script(SCRIPT)

    def compact(self, key: bytes, kind: Layout, view: View, earliest_as_of: int) -> None:
        """Replace a value's records by the fewest with the same answers, unless it is gone or written to meanwhile."""
        value = self.redis.get(key)
        if value is None:
            return
        self._replace(key, value, len(value), kind, view, earliest_as_of)

    def compact_kept(self, key: bytes, kind: Layout, view: View, earliest_as_of: int) -> None:
        """The same with the records that a snapshot's value had before the last night extended it."""
        value = self.redis.get(key)
        if value is not None:
            self._replace(key, value, Extent.of(value).kept, kind, view, earliest_as_of)

    def _replace(self, key: bytes, value: bytes, end: int, kind: Layout, view: View, earliest_as_of: int) -> None:
        words = kind.unpack(value[:end])
        fewer = fewest(words, kind, view, earliest_as_of)
        if len(fewer) < len(words):
            header, records = value[: HEADER.size], fewer.astype("<i8", copy=False).tobytes()
            if end < len(value):
                header = pack(kind, Extent.of(value)._replace(kept=HEADER.size + len(records)))
            self.replace(keys=[key], args=[value[: HEADER.size], len(value), header + records + value[end:]])
