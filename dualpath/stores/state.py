"""Reading state from Redis: one MGET of every part of every view of every entity asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath import kernel
from dualpath.errors import StateError
from dualpath.record import HEADER, Layout
from dualpath.stores import keys
from dualpath.stores.pointer import Pointer


@dataclass(frozen=True)
class Ask:
    """The entities wanted of one view, each once."""

    view: str
    layout: Layout
    entities: Sequence[str]


class Reader:
    """Plans reads and takes their answers apart; remembers the last pointers seen."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.pointers: dict[str, bytes | None] = {}

    def keys(self, asks: Sequence[Ask]) -> list[bytes]:
        """What to MGET: for each ask its view's pointer, then each entity's parts by the last pointer known."""
        wanted: list[bytes] = []
        for ask in asks:
            wanted.append(keys.pointer(self.project, ask.view))
            known = self.pointer(ask.view)
            prefixes = [keys.prefix(self.project, known.namespace, ask.view, part) for part in known.parts]
            for entity in ask.entities:
                name = entity.encode()
                wanted += [prefix + name for prefix in prefixes]
        return wanted

    def pointer(self, view: str) -> Pointer:
        """The last pointer seen."""
        return Pointer.decode(self.pointers.get(view))

    def moved(self, asks: Sequence[Ask], answers: Sequence[bytes | None]) -> bool:
        """Whether a pointer is not the one the read was planned by; notes the new ones."""
        at, changed = 0, False
        for ask in asks:
            parts = len(self.pointer(ask.view).parts)
            if answers[at] != self.pointers.get(ask.view):
                changed = True
                self.pointers[ask.view] = answers[at]
            at += 1 + len(ask.entities) * parts
        return changed

    def take(self, asks: Sequence[Ask], answers: Sequence[bytes | None]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each ask the records int64[n, width], sorted within an entity, and starts int64[entities + 1]."""
        at, found = 0, []
        for ask in asks:
            parts = len(self.pointer(ask.view).parts)
            at += 1
            found.append(_join(ask, answers[at : at + len(ask.entities) * parts], parts))
            at += len(ask.entities) * parts
        return found


def _join(ask: Ask, values: Sequence[bytes | None], parts: int) -> tuple[np.ndarray, np.ndarray]:
    size = 8 * ask.layout.width
    right = ask.layout.pack(np.empty((0, ask.layout.width), np.int64))[:8]
    pieces, ends, total = [], [0], 0
    for i in range(len(ask.entities)):
        for value in values[i * parts : (i + 1) * parts]:
            if value is None:
                continue
            if value[:8] != right or (len(value) - HEADER.size) % size:
                ask.layout.unpack(value)
                raise StateError(f"view '{ask.view}': a stored value cannot be read; rebuild the state.")
            pieces.append(value[HEADER.size :])
            total += len(value) - HEADER.size
        ends.append(total // size)
    words = np.frombuffer(bytearray().join(pieces), dtype="<i8").reshape(-1, ask.layout.width)
    starts = np.array(ends, dtype=np.int64)
    kernel.arrange(words, starts)
    return words, starts


def texts(redis: Any, project: str, codes: Sequence[int], known: dict[int, str]) -> None:
    """Fetch the texts of codes not yet `known` into it; raises `StateError` for one that is not stored."""
    missing = [c for c in dict.fromkeys(codes) if c not in known]
    if missing:
        note(missing, redis.hmget(keys.dictionary(project), missing), known)


def note(missing: Sequence[int], found: Sequence[bytes | None], known: dict[int, str]) -> None:
    """Keep fetched texts; a code without one means that the store lost data."""
    for code, text in zip(missing, found, strict=True):
        if text is None:
            raise StateError(f"the online store has no text for the code {code}; its dictionary was lost: rebuild it.")
        known[code] = text.decode()
