"""Compaction of what is being served: a value that has grown is read, folded and put back.

A batch appends and looks at nothing, so a hot entity gets a record a bucket from every batch, and keeps what no window
reaches any more. When an append takes a value past a power of two, `append.lua` says so, and its writer compacts it:
each doubling is read once, and no state says what was compacted when.

It changes no value, so it may be left out, cut off or done twice. It must not undo an append: `replace.lua` puts a
value back only if its fence and its length are those that were read, and an append changes the first.
"""

from importlib.resources import files
from typing import Any

from dualpath.record import HEADER, Layout, compact
from dualpath.schema import SATURATED
from dualpath.view import View

LEAST = 16_384
"""Bytes up to which a value is left alone: a reader takes them in one go with everything else."""
SCRIPT = files("dualpath.online").joinpath("replace.lua").read_text()


class Compactor:
    """Compacts values of a Redis."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.replace = redis.register_script(SCRIPT)

    def compact(self, key: bytes, kind: Layout, view: View, earliest_as_of: int) -> None:
        """Put the fewest records in place of a value's, unless it has gone or is written to meanwhile."""
        value = self.redis.get(key)
        if value is None:
            return
        words = kind.unpack(value)
        fewer = compact(words, kind, view, earliest_as_of)
        # A sum that would leave 64 bits stays in parts: what comes may bring it back.
        if len(fewer) < len(words) and (SATURATED not in fewer or SATURATED in words):
            header = value[: HEADER.size]
            self.replace(keys=[key], args=[header, len(value), header + fewer.astype("<i8", copy=False).tobytes()])
