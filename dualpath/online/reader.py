"""Reading state from Redis: one MGET of every part of every view of every entity asked for, and in a cluster one for
each hash tag among them, all at once.

What is asked and what the replies mean is written once, as generators that yield calls of a Redis client and
are sent the replies; `run` and `run_async` make the calls.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dualpath import kernel
from dualpath.errors import LostStateError, RebuildingError, StateError
from dualpath.online import extent, high_water_mark, keys
from dualpath.online.manifest import Manifest
from dualpath.plan import grouped
from dualpath.record import HEADER, Fence, Layout

T = TypeVar("T")
Steps = Generator[tuple[str, tuple[Any, ...]], Any, T]
"""Yields the name and the arguments of a client's method, is sent its answer; returns a `T`."""


def run(steps: Steps[T], call: Callable[[str, tuple[Any, ...]], Any]) -> T:
    """Take the steps; `call` calls a method of a client of `redis` by its name."""
    answer = None
    while True:
        try:
            method, arguments = steps.send(answer)
        except StopIteration as done:
            return done.value
        answer = call(method, arguments)


async def run_async(steps: Steps[T], call: Callable[[str, tuple[Any, ...]], Awaitable[Any]]) -> T:
    """The same with a client of `redis.asyncio`."""
    answer = None
    while True:
        try:
            method, arguments = steps.send(answer)
        except StopIteration as done:
            return done.value
        answer = await call(method, arguments)


class Format:
    """What every stored value of a view looks like: its first bytes, `head`, and the words of a record."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.width = layout.width
        self.head = layout.pack(np.empty((0, layout.width), np.int64))[:8]


@dataclass(frozen=True)
class Lookup:
    """The entities that are looked up in one view, each once. With `tokens`, the read says what it knew of each."""

    view: str
    source: str
    format: Format
    entities: Sequence[str]
    tokens: bool = False


class EntityRecords(NamedTuple):
    """Records int64[n, width], entity i's sorted in `[starts[i], starts[i + 1])`; they can answer from
    `earliest_as_of` on; None: at any instant.

    `marks` are the stored high-water marks that were read with them. `known`, if tokens were asked for, has for each
    entity the last micro-batch whose records it has. That may be one that the mark does not have yet: a batch is
    written entity by entity.
    """

    words: np.ndarray
    starts: np.ndarray
    earliest_as_of: int | None
    marks: Sequence[bytes | None]
    known: list[Fence]


def together(found: Sequence[EntityRecords]) -> tuple[np.ndarray, np.ndarray]:
    """The records of the parts of a view, of which the same entities were looked up: `words` and `starts` as of one."""
    if len(found) == 1:
        return found[0].words, found[0].starts
    words = np.concatenate([part.words for part in found])
    owner = np.concatenate([np.repeat(np.arange(len(part.starts) - 1), np.diff(part.starts)) for part in found])
    return grouped(words, owner, len(found[0].starts) - 1)


class _Known(NamedTuple):
    """A view's manifest as last seen, what follows from it, and the high-water marks as last seen, by their tags.

    `snapshot` is the number of the snapshot's day, whose prefix is the first; 0: there is none.
    """

    key: bytes
    stored: bytes | None
    rank: tuple[int, str, int]
    earliest_as_of: int | None
    prefixes: list[bytes]
    snapshot: int
    high_water_mark: bytes
    seen: dict[bytes, bytes | None]


class Reader:
    """Reads by the last manifests it has seen, so that one round trip is enough unless a manifest moved.

    In a cluster, what one MGET reads is of one moment and the rest of moments a little apart. All parts of an entity
    and the high-water mark that speaks for them are read by one. The manifest is not: if it moves in between, an answer
    of its old parts is what was served just before, for parts outlive it by `removal.GRACE`. The mark may speak for
    more than these, so a read with tokens looks at the manifest once more.

    Raises `StateError` for a view whose state is not whole: never written, lost, or gone back behind what this
    reader has seen before, as a Redis does that comes back with an older dump.
    """

    def __init__(self, project: str, *, cluster: bool = False) -> None:
        self.project = project
        self.cluster = cluster
        self._known: dict[str, _Known] = {}

    def read(self, lookups: Sequence[Lookup]) -> Steps[list[EntityRecords]]:
        """The records of each lookup; manifests are read with the parts, and if one moved, all is read once more.

        So it is if a value holds none but later snapshots, because its manifest has moved since it was read.
        """
        ahead = False
        names = [[*map(keys.tagged, lookup.entities)] for lookup in lookups]
        tags = [self._tags(each) for each in names]
        while True:
            known = [self._known.get(lookup.view) or self._unknown(lookup.view) for lookup in lookups]
            wanted: list[bytes] = []
            for each, named, where in zip(known, names, tags, strict=True):
                wanted.append(each.key)
                wanted += [each.high_water_mark + tag for tag in where]
                wanted += [prefix + name for name in named for prefix in each.prefixes]
            answers = yield "mget_nonatomic" if self.cluster else "mget", (wanted,)
            at, moved, found, was_ahead = 0, False, [], ahead
            ahead = False
            for lookup, each, named, where in zip(lookups, known, names, tags, strict=True):
                parts = at + 1 + len(where)
                end = parts + len(lookup.entities) * len(each.prefixes)
                stored, marks, values = answers[at], answers[at + 1 : parts], answers[parts:end]
                at = end
                if stored != each.stored:
                    moved = True
                    self._learn(lookup, each, stored)
                elif marks != [*map(each.seen.get, where)]:
                    self._advance(lookup, each, dict(zip(where, marks, strict=True)))
                if not moved:
                    of_tag = dict(zip(where, marks, strict=True))
                    own = [of_tag[name[: keys.TAG] if self.cluster else b""] for name in named] if lookup.tokens else []
                    joined = _join(lookup, values, len(each.prefixes), each.snapshot)
                    if joined is None:
                        if was_ahead:
                            raise LostStateError(_receded(lookup.view))
                        ahead = True
                        break
                    later = _last_batches(own, values, len(each.prefixes), each.snapshot)
                    found.append(EntityRecords(*joined, each.earliest_as_of, marks, later))
            if ahead:
                continue
            if not moved and self.cluster and any(lookup.tokens for lookup in lookups):
                now = yield "mget_nonatomic", ([each.key for each in known],)
                moved = now != [each.stored for each in known]
            if not moved:
                return found

    def _tags(self, names: Sequence[bytes]) -> list[bytes]:
        """The tags whose high-water marks speak for entities; without an entity any will do."""
        return sorted({name[: keys.TAG] for name in names}) or keys.TAGS[:1] if self.cluster else [b""]

    def _unknown(self, view: str) -> _Known:
        """Of a view never asked for: no part to read, and a high-water mark that nobody writes."""
        return _Known(keys.manifest(self.project, view), b"", (0, "", 0), None, [], 0, b"", {})

    def _learn(self, lookup: Lookup, before: _Known, stored: bytes | None) -> None:
        """Take a manifest that is not the one seen before."""
        if not stored:
            raise LostStateError(
                f"view '{lookup.view}': the online store has no state, because nothing was streamed yet or everything "
                "was lost; run `dualpath stream`, which fills it from the log."
            )
        manifest = Manifest.decode(stored)
        if manifest.rebuilding:
            raise RebuildingError(
                f"view '{lookup.view}': the online store has lost writes and is being rebuilt; ask again when "
                "`dualpath status` says that it is whole."
            )
        if manifest.rank < before.rank:
            raise LostStateError(_receded(lookup.view))
        prefixes = [keys.prefix(self.project, manifest.namespace, lookup.view, part) for part in manifest.parts]
        high_water_mark = keys.high_water_mark(self.project, manifest.namespace, lookup.source)
        # In the same namespace the high-water marks that were seen still hold; a new one has high-water marks of its
        # own.
        seen = before.seen if high_water_mark == before.high_water_mark else {}
        snapshot, earliest = extent.day_number(manifest.snapshot), manifest.earliest_as_of
        self._known[lookup.view] = _Known(
            before.key, stored, manifest.rank, earliest, prefixes, snapshot, high_water_mark, seen
        )

    def _advance(self, lookup: Lookup, before: _Known, high_water_marks: dict[bytes, bytes | None]) -> None:
        """Take high-water marks, by their tags, that are not those seen before this request."""
        if any(_fence(now) < _fence(before.seen.get(tag)) for tag, now in high_water_marks.items()):
            raise LostStateError(_receded(lookup.view))
        self._known[lookup.view] = before._replace(seen=before.seen | high_water_marks)


def _fence(mark: bytes | None) -> bytes:
    """The fence of a stored high-water mark; the time of the mark may go back, as after a failover."""
    return (mark or b"")[: high_water_mark.FENCE]


def _last_batches(
    marks: Sequence[bytes | None], values: Sequence[bytes | None], parts: int, snapshot: int
) -> list[Fence]:
    """The last micro-batch of each entity, from the mark that speaks for it and the fences of its arrival days."""
    of_mark = {mark: high_water_mark.lowest([mark]).fence for mark in set(marks)}
    found = [of_mark[mark] for mark in marks]
    for place, value in enumerate(values if marks else ()):
        if value is not None and not (snapshot and place % parts == 0):
            entity = place * len(marks) // len(values)
            found[entity] = max(found[entity], Fence(*HEADER.unpack_from(value)[2:]))
    return found


def _receded(view: str) -> str:
    return (
        f"view '{view}': the online store has lost writes that were served before; the stream rebuilds it with its "
        "next batch. If it was emptied on purpose, start this process again."
    )


def _join(
    lookup: Lookup, values: Sequence[bytes | None], parts: int, snapshot: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """The records of all values, one after the other, and where each entity's start; None if a value of the snapshot,
    the first part, is of later ones alone."""
    head, size = lookup.format.head, 8 * lookup.format.width
    pieces, sizes = [], []
    for place, value in enumerate(values):
        if value is None:
            sizes.append(0)
            continue
        end = len(value)
        if snapshot and place % parts == 0 and end >= HEADER.size and value.startswith(head):
            own = extent.within(value, end, snapshot)
            if own is None:
                return None
            end = own
        records, rest = divmod(end - HEADER.size, size)
        if rest or records < 0 or not value.startswith(head):
            lookup.format.layout.unpack(value)
            raise StateError(f"view '{lookup.view}': a stored value cannot be read; rebuild the state.")
        pieces.append(memoryview(value)[HEADER.size : end])
        sizes.append(records)
    words = np.frombuffer(bytearray().join(pieces), dtype="<i8").reshape(-1, lookup.format.width)
    ends = [0, *accumulate(sizes)]
    starts = np.array(ends[::parts] if parts else ends * (len(lookup.entities) + 1), dtype=np.int64)
    kernel.arrange(words, starts)
    return words, starts


def texts(project: str, codes: Sequence[int], known: dict[int, str]) -> Steps[None]:
    """Add the texts of codes not yet `known` to it; raises `StateError` for one that is not stored."""
    missing = [c for c in dict.fromkeys(codes) if c not in known]
    if not missing:
        return
    found = yield "hmget", (keys.dictionary(project), missing)
    for code, text in zip(missing, found, strict=True):
        if text is None:
            raise LostStateError(
                f"the online store has no text for the code {code}; its dictionary was lost: rebuild it."
            )
        known[code] = text.decode()
