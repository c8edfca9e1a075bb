"""Reading state from Redis: one MGET of every part of every view of every entity asked for.

What is asked and what the replies mean is written once, as generators that yield calls of a Redis client and
are sent the replies; `run` and `run_async` make the calls.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dualpath import kernel
from dualpath.errors import StateError
from dualpath.record import HEADER, Layout
from dualpath.stores import keys
from dualpath.stores.pointer import Pointer

T = TypeVar("T")
Steps = Generator[tuple[str, tuple[Any, ...]], Any, T]
"""Yields the name and the arguments of a client's method, is sent its answer; returns a `T`."""


def run(steps: Steps[T], client: Any) -> T:
    """Take the steps with a client of `redis`."""
    answer = None
    while True:
        try:
            method, arguments = steps.send(answer)
        except StopIteration as done:
            return done.value
        answer = getattr(client, method)(*arguments)


async def run_async(steps: Steps[T], client: Any) -> T:
    """Take the steps with a client of `redis.asyncio`."""
    answer = None
    while True:
        try:
            method, arguments = steps.send(answer)
        except StopIteration as done:
            return done.value
        answer = await getattr(client, method)(*arguments)


class Format:
    """What every stored value of a view looks like: its first bytes and the words of a record."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.width = layout.width
        self.mark = layout.pack(np.empty((0, layout.width), np.int64))[:8]


@dataclass(frozen=True)
class Ask:
    """The entities wanted of one view, each once."""

    view: str
    format: Format
    entities: Sequence[str]


class State(NamedTuple):
    """Records int64[n, width], entity i's sorted in `[starts[i], starts[i + 1])`; they can answer from `floor` on."""

    words: np.ndarray
    starts: np.ndarray
    floor: int


class _Known(NamedTuple):
    """A view's pointer as last seen, and what follows from it."""

    key: bytes
    stored: bytes | None
    floor: int
    prefixes: list[bytes]


class Reader:
    """Reads by the last pointers it has seen, so that one round trip is enough unless a pointer moved."""

    def __init__(self, project: str) -> None:
        self.project = project
        self._known: dict[str, _Known] = {}

    def read(self, asks: Sequence[Ask]) -> Steps[list[State]]:
        """The state of each ask; pointers are read with the parts, and if one moved, all is read once more."""
        while True:
            known = [self._known.get(ask.view) or self._learn(ask.view, None) for ask in asks]
            wanted: list[bytes] = []
            for ask, (key, _, _, prefixes) in zip(asks, known, strict=True):
                wanted.append(key)
                wanted += [prefix + name for name in map(str.encode, ask.entities) for prefix in prefixes]
            answers = yield "mget", (wanted,)
            at, moved, found = 0, False, []
            for ask, (_, stored, floor, prefixes) in zip(asks, known, strict=True):
                end = at + 1 + len(ask.entities) * len(prefixes)
                if answers[at] != stored:
                    moved = True
                    self._learn(ask.view, answers[at])
                if not moved:
                    found.append(State(*_join(ask, answers[at + 1 : end], len(prefixes)), floor))
                at = end
            if not moved:
                return found

    def _learn(self, view: str, stored: bytes | None) -> _Known:
        pointer = Pointer.decode(stored)
        prefixes = [keys.prefix(self.project, pointer.namespace, view, part) for part in pointer.parts]
        known = _Known(keys.pointer(self.project, view), stored, pointer.floor, prefixes)
        self._known[view] = known
        return known


def _join(ask: Ask, values: Sequence[bytes | None], parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The records of all values, one after the other, and where each entity's start."""
    mark, size = ask.format.mark, 8 * ask.format.width
    pieces, sizes = [], []
    for value in values:
        if value is None:
            sizes.append(0)
            continue
        records, rest = divmod(len(value) - HEADER.size, size)
        if rest or records < 0 or not value.startswith(mark):
            ask.format.layout.unpack(value)
            raise StateError(f"view '{ask.view}': a stored value cannot be read; rebuild the state.")
        pieces.append(memoryview(value)[HEADER.size :])
        sizes.append(records)
    words = np.frombuffer(bytearray().join(pieces), dtype="<i8").reshape(-1, ask.format.width)
    ends = [0, *accumulate(sizes)]
    starts = np.array(ends[::parts] if parts else ends * (len(ask.entities) + 1), dtype=np.int64)
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
            raise StateError(f"the online store has no text for the code {code}; its dictionary was lost: rebuild it.")
        known[code] = text.decode()
