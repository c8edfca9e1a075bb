"""The writer of state: sorted records, a few hundred entities a round trip, each write exactly once.

It runs inside Spark's Python workers and, for a small batch, in the driver. The header of each value (the fence of an
arrival day, the extent of a snapshot) makes a retried task, a retried stage and a replay harmless; see `append.lua`.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from redis import RedisCluster, ResponseError

from dualpath.errors import CollisionError, OtherDeclarationError, StateError, crossing
from dualpath.online import bounds, compaction, keys
from dualpath.online.connection import connect
from dualpath.online.extent import Publication
from dualpath.online.manifest import OTHER_DECLARATION
from dualpath.record import HEADER, UNFENCED, VERSION, Fence, Layout, layout
from dualpath.retention import expires_at
from dualpath.view import View

ENTITIES_PER_CALL = 500
"""A single Redis takes any entities in a call. A cluster takes those of one hash tag, so more are gathered for it."""
BYTES_GATHERED = 32_000_000
"""Bytes of gathered records after which they are sent, however few entities they belong to."""
TEXTS = ""
"""The `view` of rows that carry dictionary entries: `entity` is the text, `words` its code."""

NEVER = 0
"""What the script takes for a key that does not expire."""
INPUT = "view string, arrival_day string, entity string, words array<bigint>"
OUTPUT = "view string, records bigint, parts bigint, calls bigint, seconds double"
ANSWER = pa.schema(
    [("view", pa.string()), *((n, pa.int64()) for n in ("records", "parts", "calls")), ("seconds", pa.float64())]
)
SCRIPT = files("dualpath.online").joinpath("append.lua").read_text()
OTHER_FORMAT, LATER_PUBLICATION = "OTHERFORMAT", "PUBLISHED"
"""The error codes with which the script answers that a part holds state of another declaration, or of a later
publication."""
PUBLISHED_MEANWHILE = "a later night has published a snapshot meanwhile; run the night again."


@dataclass(frozen=True)
class Destination:
    """Where a view's records go, and how long they matter.

    `retention` is how long after its time a read can look back to a record, microseconds; None: for ever. Records go to
    their arrival days, or all to the snapshot of a `publication`. What is written of a snapshot is compacted to what an
    `as_of` from `earliest_as_of` on can see, and so is an arrival day that has grown by an append; None: not at all.
    """

    namespace: str
    view: View
    retention: int | None = None
    earliest_as_of: int | None = None
    publication: Publication | None = None

    @cached_property
    def layout(self) -> Layout:
        """The layout of the view's records."""
        return layout(self.view)


@dataclass(frozen=True)
class FencedWrite:
    """A write to a Redis: the destination of each view by its name, and the fence of what goes to arrival days."""

    connection_string: str
    project: str
    destinations: dict[str, Destination]
    fence: Fence = UNFENCED

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write `INPUT` rows, view by view, an entity's together, those of an arrival day together and by time.

        A reader sees all of what an entity gets of a view, or nothing.

        Yields `OUTPUT`, one row per view: the records, the parts that were written, the calls to Redis and the seconds
        they took.

        Raises `CollisionError` if two texts share a code, `OtherDeclarationError` if a part holds another layout and
        `StateError` if a later publication has written a snapshot.
        """
        with crossing():
            writer = _Writer(self)
            for batch in batches:
                writer.take(batch)
            writer.flush()
        yield pa.RecordBatch.from_pylist([asdict(each) for _, each in sorted(writer.counts.items())], ANSWER)


@dataclass
class WriteCounts:
    """What was written of a view: a row of `OUTPUT`."""

    view: str
    records: int = 0
    parts: int = 0
    calls: int = 0
    seconds: float = 0.0

    def __add__(self, more: "WriteCounts") -> "WriteCounts":
        """With what another writer wrote of the view."""
        numbers = (getattr(self, n) + getattr(more, n) for n in ("records", "parts", "calls", "seconds"))
        return WriteCounts(self.view, *numbers)


class _KeyValue(NamedTuple):
    """A value to write, whose key may expire at a time (milliseconds since 1970; None: never).

    Of a text, `entity` is the text, `key` its code and `value` the text in bytes.
    """

    entity: str
    key: bytes
    value: bytes
    expires_at: int | None


class _Writer:
    """Cuts sorted rows into entities and sends them, some `ENTITIES_PER_CALL` a call."""

    def __init__(self, to: FencedWrite) -> None:
        self.to = to
        self.redis: Any = connect(to.connection_string)
        self.cluster = isinstance(self.redis, RedisCluster)
        self.gathered = ENTITIES_PER_CALL * (len(keys.TAGS) // 4 if self.cluster else 1)
        self.script = self.redis.register_script(SCRIPT)
        self.compactor = compaction.Compactor(self.redis)
        self.run: tuple[str, str, str] | None = None
        self.pieces: list[bytes] = []
        self.latest = 0
        self.view = ""
        self.pending: list[_KeyValue] = []
        self.size = 0
        self.counts: dict[str, WriteCounts] = {}

    def take(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        view, arrival_day, entity, words = (batch.column(name) for name in ("view", "arrival_day", "entity", "words"))
        offsets = words.offsets.to_numpy()
        flat = words.values.to_numpy(zero_copy_only=False)
        change = np.zeros(batch.num_rows, dtype=bool)
        for column in (view, arrival_day, entity):
            change[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        change[0] = True
        heads = np.flatnonzero(change)
        tails = np.r_[heads[1:], batch.num_rows]
        names = zip(
            view.take(heads).to_pylist(),
            arrival_day.take(heads).to_pylist(),
            entity.take(heads).to_pylist(),
            strict=True,
        )
        for run, head, tail in zip(names, heads, tails, strict=True):
            if run != self.run:
                self.close()
                self.run = run
            piece = flat[offsets[head] : offsets[tail]]
            self.pieces.append(piece.astype("<i8", copy=False).tobytes())
            self.counts.setdefault(run[0], WriteCounts(run[0])).records += int(tail - head)
            if run[0] != TEXTS:
                self.latest = max(self.latest, int(piece[:: self.to.destinations[run[0]].layout.width].max()))

    def close(self) -> None:
        """End the current entity: its bytes are complete."""
        if self.run is None:
            return
        view, arrival_day, entity = self.run
        full = len(self.pending) >= self.gathered or self.size > BYTES_GATHERED
        # What an entity gets of a batch is written in one call, whatever its arrival days: a reader sees all or none.
        if view != self.view or (full and entity != self.pending[-1].entity):
            self.send()
            self.view = view
        value = b"".join(self.pieces)
        if view == TEXTS:
            code = str(int.from_bytes(value[:8], "little", signed=True)).encode()
            self.pending.append(_KeyValue(entity, code, entity.encode(), None))
        else:
            at = self.to.destinations[view]
            if at.publication and at.earliest_as_of is not None:
                words = np.frombuffer(value, dtype="<i8").reshape(-1, at.layout.width)
                value = compaction.fewest(words, at.layout, at.view, at.earliest_as_of).tobytes()
            part = at.publication.part if at.publication else "e" + arrival_day
            prefix = keys.prefix(self.to.project, at.namespace, view, part)
            if value:
                expiry = expires_at(self.latest, at.retention)
                self.pending.append(_KeyValue(entity, prefix + keys.tagged(entity), value, expiry))
        self.size += len(value)
        self.run, self.pieces, self.latest = None, [], 0

    def flush(self) -> None:
        self.close()
        self.send()

    def send(self) -> None:
        if not self.pending:
            return
        began = time.perf_counter()
        if self.view == TEXTS:
            self.send_texts()
        else:
            for group in self.groups():
                self.append(self.to.destinations[self.view], group)
        self.counts[self.view].calls += 1
        self.counts[self.view].seconds += time.perf_counter() - began
        self.pending, self.size = [], 0

    def groups(self) -> list[list[_KeyValue]]:
        """What may go in one call: keys of one slot in a cluster, where EVALSHA cannot be pipelined either."""
        if not self.cluster:
            return [self.pending]
        groups: dict[bytes, list[_KeyValue]] = {}
        for each in self.pending:
            groups.setdefault(keys.tagged(each.entity)[: keys.TAG], []).append(each)
        return [*groups.values()]

    def append(self, at: Destination, group: list[_KeyValue]) -> None:
        how, header = "append", HEADER.pack(VERSION, at.layout.fingerprint, *self.to.fence)
        if at.publication:
            how, header = "extend" if at.publication.extends else "replace", at.publication.header(at.layout)
        large = bounds.length(at.view, at.layout)
        worth = compaction.LEAST_OF_SNAPSHOT if at.publication else compaction.LEAST
        arguments: list[bytes | int | str] = [header, how, large, worth]
        for each in group:
            arguments += [each.value, each.expires_at or NEVER]
        try:
            written, larger, grown = self.script(keys=[each.key for each in group], args=arguments)
        except ResponseError as error:
            code = str(error).split()[0]  # by Redis' protocol
            if code == LATER_PUBLICATION:
                raise StateError(f"view '{at.view.name}': {PUBLISHED_MEANWHILE}") from error
            if code != OTHER_FORMAT:
                raise
            raise OtherDeclarationError(OTHER_DECLARATION) from error
        self.counts[self.view].parts += int(written)
        if larger:
            sizes = [(group[i - 1].entity, size) for i, size in zip(larger[::2], larger[1::2], strict=True)]
            bounds.note(self.redis, self.to.project, self.view, sizes)
        extends = at.publication.extends if at.publication else None
        earliest = extends.earliest_as_of if extends else at.earliest_as_of
        if earliest is not None:
            names = [group[i - 1].key for i in grown]
            self.compactor.compact(names, at.layout, at.view, earliest, extended=bool(extends))

    def send_texts(self) -> None:
        name = keys.dictionary(self.to.project)
        with self.redis.pipeline(transaction=False) as pipe:
            for each in self.pending:
                pipe.hsetnx(name, each.key, each.value)
            known = pipe.hmget(name, [each.key for each in self.pending]).execute()[-1]
        for each, first in zip(self.pending, known, strict=True):
            if first != each.value:
                raise CollisionError(
                    f"the texts '{first.decode()}' and '{each.entity}' have the same 64-bit code {each.key.decode()}; "
                    "change one of them at the source."
                )
