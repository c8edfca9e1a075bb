"""The writer of state: sorted records, a few hundred entities a round trip, each write exactly once.

Runs inside Spark's Python workers and, for a small batch, in the driver. The fence in each value's header makes a
task retry, a stage retry and a replayed batch harmless; see `append.lua`.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from redis import RedisCluster

from dualpath.errors import CollisionError, StateError, quoted
from dualpath.online import bounds, compaction, keys
from dualpath.online.connection import connect
from dualpath.online.manifest import FOREIGN
from dualpath.record import HEADER, VERSION, Fence, Layout, compact, layout
from dualpath.retention import expires_at
from dualpath.view import View

ENTITIES_PER_CALL = 500
"""A single Redis takes any entities in a call; a cluster those of one hash tag, so that many tags' are gathered."""
BYTES_GATHERED = 32_000_000
"""Records gathered, at least, before they are sent however few entities they belong to."""
TEXTS = ""
"""The `view` of rows that carry dictionary entries: `entity` is the text, `words` its code."""

NEVER = 0
"""What the script takes for a key that does not expire."""

Call = tuple[str, bytes, bytes, int | None]
"""Entity, key, records, and when the key may expire (milliseconds since 1970, None: never); of a text: the text, its
code, the text in bytes, None."""

INPUT = "view string, arrival_day string, entity string, words array<bigint>"
OUTPUT = "view string, records bigint, parts bigint, calls bigint, seconds double"
ANSWER = pa.schema(
    [("view", pa.string()), *((n, pa.int64()) for n in ("records", "parts", "calls")), ("seconds", pa.float64())]
)
SCRIPT = files("dualpath.online").joinpath("append.lua").read_text()


@dataclass(frozen=True)
class Part:
    """Where a view's records go, and how long they matter.

    `retention` is how long after its time a read can look back to a record, microseconds; None: for ever. A snapshot,
    and a value that has grown by an append, is compacted to what an `as_of` from `earliest_as_of` on can see; None: not
    at all.
    """

    namespace: str
    view: View
    retention: int | None = None
    earliest_as_of: int | None = None

    @cached_property
    def layout(self) -> Layout:
        """The layout of the view's records."""
        return layout(self.view)


@dataclass(frozen=True)
class Target:
    """A write: to which Redis, which parts of which views, under which fence.

    `kind` is `e` to append to arrival days or `s` to replace snapshots.
    """

    connection_string: str
    project: str
    parts: dict[str, Part]
    fence: Fence
    kind: str = "e"

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write `INPUT` rows, best view by view, those of an entity's arrival day together and by time; answers
        `OUTPUT`, one row per view: how many records, parts that were written, calls to Redis, and the seconds they
        took.

        Raises `CollisionError` if two texts share a code and `StateError` if a part holds another layout.
        """
        writer = _Writer(self)
        for batch in batches:
            writer.take(batch)
        writer.flush()
        yield pa.RecordBatch.from_pylist([asdict(done) for _, done in sorted(writer.done.items())], ANSWER)


@dataclass
class Done:
    """What was written of a view: a row of `OUTPUT`."""

    view: str
    records: int = 0
    parts: int = 0
    calls: int = 0
    seconds: float = 0.0

    def __add__(self, more: "Done") -> "Done":
        """With what another writer has written of the view."""
        numbers = (getattr(self, n) + getattr(more, n) for n in ("records", "parts", "calls", "seconds"))
        return Done(self.view, *numbers)


class _Writer:
    """Cuts sorted rows into entities and sends them off, some `ENTITIES_PER_CALL` a call."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.redis: Any = connect(target.connection_string)
        self.cluster = isinstance(self.redis, RedisCluster)
        self.gathered = ENTITIES_PER_CALL * (len(keys.TAGS) // 4 if self.cluster else 1)
        self.script = self.redis.register_script(SCRIPT)
        self.compactor = compaction.Compactor(self.redis)
        self.run: tuple[str, str, str] | None = None
        self.pieces: list[bytes] = []
        self.latest = 0
        self.view = ""
        self.calls: list[Call] = []
        self.size = 0
        self.done: dict[str, Done] = {}

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
            self.done.setdefault(run[0], Done(run[0])).records += int(tail - head)
            if run[0] != TEXTS:
                self.latest = max(self.latest, int(piece[:: self.target.parts[run[0]].layout.width].max()))

    def close(self) -> None:
        """End the current entity: its bytes are complete."""
        if self.run is None:
            return
        view, arrival_day, entity = self.run
        if view != self.view or len(self.calls) == self.gathered or self.size > BYTES_GATHERED:
            self.send()
            self.view = view
        value = b"".join(self.pieces)
        if view == TEXTS:
            code = str(int.from_bytes(value[:8], "little", signed=True)).encode()
            self.calls.append((entity, code, entity.encode(), None))
        else:
            part = self.target.parts[view]
            if self.target.kind == "s" and part.earliest_as_of is not None:
                words = np.frombuffer(value, dtype="<i8").reshape(-1, part.layout.width)
                value = compact(words, part.layout, part.view, part.earliest_as_of).tobytes()
            key = keys.prefix(self.target.project, part.namespace, view, self.target.kind + arrival_day) + keys.tagged(
                entity
            )
            if value:
                self.calls.append((entity, key, value, expires_at(self.latest, part.retention)))
        self.size += len(value)
        self.run, self.pieces, self.latest = None, [], 0

    def flush(self) -> None:
        self.close()
        self.send()

    def send(self) -> None:
        if not self.calls:
            return
        began = time.perf_counter()
        if self.view == TEXTS:
            self.send_texts()
        else:
            for calls in self.groups():
                self.append(self.target.parts[self.view], calls)
        self.done[self.view].calls += 1
        self.done[self.view].seconds += time.perf_counter() - began
        self.calls, self.size = [], 0

    def groups(self) -> list[list[Call]]:
        """What may go in one call: keys of one slot in a cluster, where EVALSHA cannot be pipelined either."""
        if not self.cluster:
            return [self.calls]
        groups: dict[bytes, list[Call]] = {}
        for call in self.calls:
            groups.setdefault(keys.tagged(call[0])[: keys.TAG], []).append(call)
        return [*groups.values()]

    def append(self, part: Part, calls: list[Call]) -> None:
        header = HEADER.pack(VERSION, part.layout.fingerprint, *self.target.fence)
        large = bounds.length(part.view, part.layout)
        arguments: list[bytes | int] = [header, 1 if self.target.kind == "s" else 0, large, compaction.LEAST]
        for _, _, value, expiry in calls:
            arguments += [value, expiry or NEVER]
        written, larger, grown = self.script(keys=[key for _, key, _, _ in calls], args=arguments)
        self.done[self.view].parts += int(written)
        if larger:
            sizes = [(calls[i - 1][0], size) for i, size in zip(larger[::2], larger[1::2], strict=True)]
            bounds.note(self.redis, self.target.project, self.view, sizes)
        if part.earliest_as_of is not None:
            for i in grown:
                self.compactor.compact(calls[i - 1][1], part.layout, part.view, part.earliest_as_of)

    def send_texts(self) -> None:
        name = keys.dictionary(self.target.project)
        with self.redis.pipeline(transaction=False) as pipe:
            for _, code, text, _ in self.calls:
                pipe.hsetnx(name, code, text)
            known = pipe.hmget(name, [code for _, code, _, _ in self.calls]).execute()[-1]
        for (_, code, text, _), first in zip(self.calls, known, strict=True):
            if first != text:
                raise CollisionError(
                    f"the texts '{first.decode()}' and '{text.decode()}' have the same 64-bit code {code.decode()}; "
                    "change one of them at the source."
                )


def refusal(error: Exception) -> StateError | None:
    """A writer's own complaint as its one sentence, though Spark wrapped it; None for another error."""
    if "FOREIGN" in str(error):
        return StateError(FOREIGN)
    said = quoted(error)
    return StateError(said) if said else None
