"""Compaction of served values: a value that has grown is read, folded and replaced.

A micro-batch appends without reading, so a hot entity gets one record a bucket from every batch and keeps records that
no window reaches any more. When an append takes a value past a power of two, `append.lua` reports it, and its writer
compacts it. So each doubling is read once, and nothing has to remember what was compacted when.

It changes no answer, so it may be left out, cut off or done twice. It must not undo an append: `replace.lua` replaces a
value only if its fence and its length are those that were read, and every append changes the fence.
"""

from importlib.resources import files
from typing import Any

from dualpath.record import HEADER, Layout, compact
from dualpath.schema import SATURATED
from dualpath.view import View

LEAST = 16_384
"""Bytes up to which a value is left alone: it costs a reader next to nothing."""
SCRIPT = files("dualpath.online").joinpath("replace.lua").read_text()


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
        words = kind.unpack(value)
        fewer = compact(words, kind, view, earliest_as_of)
        # A sum that would leave 64 bits stays in parts, because later records may bring it back.
        if len(fewer) < len(words) and (SATURATED not in fewer or SATURATED in words):
            header = value[: HEADER.size]
            self.replace(keys=[key], args=[header, len(value), header + fewer.astype("<i8", copy=False).tobytes()])
