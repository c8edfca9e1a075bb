"""The record: the form in which state is stored, moved and folded.

A record is a fixed number of int64 words. At exact resolution it is one projected event,
`[event_time, event_id code, cells...]`; at a coarser one it is a fold of events of one bucket,
`[bucket start, latest event_time, earliest event_time, cells...]`. Both have the same cells with the same
meaning, so a fold of records is a record. State is a bag of records: merging is concatenation.

A record of a version of a row (`dualpath.changes`) is exact, and has two words more before its cells: the code of the
row's key, and the version. In a view of several sources, of which some have changes, each event of the others is a row.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import xxhash

from dualpath import kernel
from dualpath.cells import Cell
from dualpath.changes import before
from dualpath.errors import OtherDeclarationError, StateError
from dualpath.expression import columns
from dualpath.schema import NULL, EventSource
from dualpath.spelling import Excess
from dualpath.union import Absent
from dualpath.view import View

VERSION = 1
HEADER = struct.Struct("<IIqq")
"""Of a packed value: format version, layout fingerprint, then the fence: query id and batch id."""


class Fence(NamedTuple):
    """The last write a value holds: a write with an equal or smaller fence is a replay and is skipped."""

    query: int
    batch: int


UNFENCED = Fence(0, 0)


@dataclass(frozen=True)
class Layout:
    """Which word of a view's record holds what."""

    view: str
    resolution: int
    cells: tuple[Cell, ...]
    fingerprint: int
    versions: bool = False

    @property
    def header(self) -> int:
        """Words before the first cell."""
        return 4 if self.versions else 2 if self.resolution == 1 else 3

    @property
    def width(self) -> int:
        """Words in a record."""
        return self.header + sum(c.words for c in self.cells)

    def slot(self, cell: Cell) -> int:
        """Index of the cell's first word."""
        at = self.cells.index(cell)
        return self.header + sum(c.words for c in self.cells[:at])

    def pack(self, words: np.ndarray, fence: Fence = UNFENCED) -> bytes:
        """Records int64[n, width] as a value: header, then the words, little-endian."""
        return HEADER.pack(VERSION, self.fingerprint, *fence) + words.astype("<i8", copy=False).tobytes()

    def unpack(self, value: bytes) -> np.ndarray:
        """Records int64[n, width] of a packed value (read-only). Raises `StateError` on a foreign one."""
        if len(value) < HEADER.size or (len(value) - HEADER.size) % (8 * self.width):
            version, fingerprint = struct.unpack_from("<II", value) if len(value) >= 8 else (0, 0)
            if version == VERSION and fingerprint == self.fingerprint:
                raise StateError(f"view '{self.view}': a stored value of {len(value)} bytes is cut short; rebuild it.")
        else:
            version, fingerprint = struct.unpack_from("<II", value)
        if version != VERSION:
            raise StateError(
                f"view '{self.view}': the state has format version {version}, this dualpath reads {VERSION}; "
                "use the dualpath that wrote it, or publish the state anew."
            )
        if fingerprint != self.fingerprint:
            raise OtherDeclarationError(
                f"view '{self.view}': the state was written for another declaration of the view; "
                "after changing features, start the stream with `dualpath stream --from-snapshot`."
            )
        return np.frombuffer(value, dtype="<i8", offset=HEADER.size).reshape(-1, self.width)


@lru_cache(maxsize=512)
def layout(view: View) -> Layout:
    """Compile a view's record: every distinct cell of its features, in the order of declaration."""
    found: dict[Cell, None] = {}
    for feature in view.features:
        for reduction in feature.aggregate.reductions(view.input_type(feature)):
            found.update(dict.fromkeys(reduction.cells))
    cells = tuple(found)
    types = [asdict(view.type_of(c.of)) if c.of else None for c in cells]
    meaning: list[Any] = [view.source.name, [c.to_dict() for c in cells], types]
    sqls = {sql for c in cells for sql in (c.of, c.where) if sql}
    used = {*view.keys}
    if changes := view.source.changes:
        used.update(changes.key)
        known_before = sorted({*map(before, used)} & {*view.source.by_name}) if changes.before else []
        # Where payloads have the former row is no part of what is stored, but which fields are known of it is.
        meaning.append(replace(changes, before=None).to_dict() | ({"before": known_before} if known_before else {}))
        used.update(known_before, [changes.version] if changes.version else [])
        sqls.update([changes.deleted] if changes.deleted else [])
    read = used.union(*map(columns, sqls))
    if former := former_names(view.source, read):
        meaning.append(former)  # nothing if there is none, as in state of earlier versions
    if absent := sorted(name for name in read if isinstance(view.fields.get(name), Absent)):
        meaning.append({"absent": absent})
    if view.versions and not view.source.changes:
        meaning.append("each event is a row")
    identity = json.dumps([VERSION, view.name, view.keys, view.resolution, meaning])
    fingerprint = xxhash.xxh32_intdigest(identity.encode())
    return Layout(view.name, view.resolution, cells, fingerprint, versions=view.versions)


def former_names(source: EventSource, fields: Iterable[str]) -> list[tuple[str, ...]]:
    """Of some fields, each that had other names, with these; what is read of the log depends on them."""
    found = (source.by_name[name] for name in sorted(fields) if name in source.by_name)
    return [(field.name, *field.former) for field in found if field.former]


def expressions(views: Sequence[View]) -> list[str]:
    """Everything that the views compute of an event."""
    found = {sql for view in views for cell in layout(view).cells for sql in (cell.of, cell.where) if sql}
    changes = (view.source.changes for view in views)
    return sorted(found.union(each.deleted for each in changes if each and each.deleted))


def calculations(views: Sequence[View]) -> list[Excess]:
    """Every calculation that the views make of an event, and when it is out of range."""
    found = {each.calculation: each for view in views for each in view.excesses(expressions([view]))}
    return [found[calculation] for calculation in sorted(found)]


def text_expressions(views: Sequence[View]) -> list[str]:
    """The expressions whose texts the views' records hold as codes."""
    sqls = {
        sql
        for view in views
        for cell in layout(view).cells
        if cell.coded and (sql := cell.of) and view.type_of(sql).kind == "text"
    }
    return sorted(sqls)


def compact(words: np.ndarray, kind: Layout, view: View, earliest_as_of: int) -> np.ndarray:
    """The fewest records that give the same values at every `as_of` from `earliest_as_of` on (microseconds UTC).

    Records that only a lifetime window still reaches fold into one per combination of dimensions, or go
    if there is no such window; buckets closed before `earliest_as_of` fold into one record each. Versions of rows do
    not fold; those that a later one has replaced by then go.
    """
    if not len(words):
        return words
    if kind.versions:
        return _current(words, view, earliest_as_of)
    edge = earliest_as_of - view.bounded_lookback
    last = words[:, 0] if kind.resolution == 1 else words[:, 1]
    old = last <= edge
    parts, young = [], words[~old]
    if view.lookback is None and old.any():
        parts.append(
            fold(_without_surplus(words[old], kind, np.zeros(old.sum(), dtype=np.int64)), kind, keep_bucket=False)
        )
    if kind.resolution > 1:
        closed = young[:, 0] + kind.resolution <= earliest_as_of
        whole = _without_surplus(young[closed], kind, young[closed, 0])
        parts += [fold(whole, kind, keep_bucket=True), young[~closed]]
    else:
        parts.append(young)
    merged = np.concatenate(parts)
    return merged[np.argsort(merged[:, 0], kind="stable")]


def _current(words: np.ndarray, view: View, earliest_as_of: int) -> np.ndarray:
    """The versions, sorted by time, that are the latest of their row at some instant from `earliest_as_of` on."""
    words = words[np.argsort(words[:, 0], kind="stable")]
    later = kernel.successors(words, np.array([[0, len(words)]]))
    stays = (later < 0) | (words[later, 0] > earliest_as_of)
    if view.lookback is not None:
        # Every version that one of these may still replace is as far back.
        stays &= words[:, 0] > earliest_as_of - view.lookback
    return words[stays]


def fold(words: np.ndarray, kind: Layout, *, keep_bucket: bool) -> np.ndarray:
    """One record for every combination of dimensions and sketches (and bucket, if kept); int64[n, width] to
    [k, width]. Words after those of the layout name a record's owner; records of several owners never fold together."""
    if not len(words):
        return words
    keys = [words[:, kind.slot(c)] for c in kind.cells if c.splits] + ([words[:, 0]] if keep_bucket else [])
    group = _group(words, [*keys, *words.T[kind.width :]])
    order = np.lexsort((words[:, 1], words[:, 0], group))
    words, group = words[order], group[order]
    heads = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    tails = np.r_[heads[1:], len(words)] - 1
    folded = words[tails].copy()
    if kind.resolution > 1:
        folded[:, 1] = np.maximum.reduceat(words[:, 1], heads)
        folded[:, 2] = np.minimum.reduceat(words[:, 2], heads)
    for cell in kind.cells:
        if not cell.splits:
            at = slice(slot := kind.slot(cell), slot + cell.words)
            folded[:, at] = cell.folded(words[:, at], heads)
    return folded


def _group(words: np.ndarray, keys: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each record, int64[n], the same where all keys are."""
    group = np.zeros(len(words), dtype=np.int64)
    for key in keys:
        values, place = np.unique(key, return_inverse=True)
        group = np.unique(group * len(values) + place, return_inverse=True)[1]
    return group


def _without_surplus(words: np.ndarray, kind: Layout, bucket: np.ndarray) -> np.ndarray:
    """The records without the words that nobody needs, because no instant inside a bucket can be asked for any more."""
    for cell in kind.cells:
        slot = kind.slot(cell)
        surplus = cell.surplus(words[:, slot], bucket)
        if surplus.any():
            words = words.copy()
            words[surplus, slot] = NULL
    return words
