"""The record: the one currency in which state is stored, moved and folded.

A record is a fixed number of int64 words. At exact resolution it is one projected event,
`[event_time, event_id code, cells...]`; at a coarser one it is a fold of events of one bucket,
`[bucket start, latest event_time, earliest event_time, cells...]`. Both have the same cells with the same
meaning, so a fold of records is a record. State is a bag of records: merging is concatenation.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import xxhash

from dualpath.aggregates.base import Reduction
from dualpath.errors import StateError
from dualpath.schema import NULL, SATURATED
from dualpath.view import View

VERSION = 1
HEADER = struct.Struct("<IIqq")
"""Of a packed value: format version, layout fingerprint, then the fence: query id and batch id."""


class Fence(NamedTuple):
    """The last write a value holds: a write with an equal or smaller fence is a replay and is skipped."""

    query: int
    batch: int


UNFENCED = Fence(0, 0)
SEED = 42
"""Of every hash: the one Spark's `xxhash64` has."""


@dataclass(frozen=True)
class Cell:
    """One foldable quantity of a record; `op` is count, sum, min, max, first, last, dimension or sketch.

    Records fold together only where they agree on every dimension and sketch. A sketch is the hash of `of`
    where the event counts; of a bucket's, only the `size` least matter.
    """

    op: str
    of: str | None = None
    where: str | None = None
    size: int = 0

    @property
    def splits(self) -> bool:
        """Whether records that differ in it stay apart."""
        return self.op in ("dimension", "sketch")

    @property
    def words(self) -> int:
        """A pick carries its value, the time and the id it was picked at."""
        return 3 if self.op in ("first", "last") else 1


@dataclass(frozen=True)
class Layout:
    """Which word of a view's record holds what."""

    view: str
    resolution: int
    cells: tuple[Cell, ...]
    fingerprint: int

    @property
    def header(self) -> int:
        """Words before the first cell."""
        return 2 if self.resolution == 1 else 3

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
            raise StateError(
                f"view '{self.view}': the state was written for another declaration of the view; "
                "after changing features, start the stream with `dualpath stream --from-snapshot`."
            )
        return np.frombuffer(value, dtype="<i8", offset=HEADER.size).reshape(-1, self.width)


def cells_of(reduction: Reduction) -> tuple[Cell, ...]:
    """The cells a reduction folds; of groups: the dimension, the member count and the weight."""
    if reduction.op == "newest":
        return (Cell("last", reduction.of, reduction.where),)
    if reduction.op == "sketch":
        return (Cell("sketch", reduction.of, reduction.where, reduction.size),)
    if reduction.op not in ("groups", "timed"):
        return (Cell(reduction.op, reduction.of, reduction.where),)
    if reduction.weight == "count":
        member = weight = Cell("count", reduction.by, reduction.where)
    else:
        named = f"({reduction.by}) IS NOT NULL" if reduction.by else None
        both = " AND ".join(f"({c})" if c is reduction.where else c for c in (reduction.where, named) if c)
        member, weight = Cell("count", reduction.of, both or None), Cell("sum", reduction.of, both or None)
    dimension = (Cell("dimension", reduction.by),) if reduction.by else ()
    return (*dimension, member, weight)


def layout(view: View) -> Layout:
    """Compile a view's record: every distinct cell of its features, in the order of declaration."""
    found: dict[Cell, None] = {}
    for feature in view.features:
        for reduction in feature.aggregate.reductions(view.input_type(feature)):
            found.update(dict.fromkeys(cells_of(reduction)))
    cells = tuple(found)
    types = [asdict(view.type_of(c.of)) if c.of else None for c in cells]
    meaning = [view.source.name, [asdict(c) for c in cells], types]
    identity = json.dumps([VERSION, view.name, view.keys, view.resolution, meaning])
    return Layout(view.name, view.resolution, cells, xxhash.xxh32_intdigest(identity.encode()))


def expressions(views: Sequence[View]) -> list[str]:
    """Everything that the views compute of an event."""
    return sorted({sql for view in views for cell in layout(view).cells for sql in (cell.of, cell.where) if sql})


def text_expressions(views: Sequence[View]) -> list[str]:
    """The expressions whose texts the views' records hold as codes."""
    sqls = {
        sql
        for view in views
        for cell in layout(view).cells
        if cell.op in ("dimension", "first", "last") and (sql := cell.of) and view.type_of(sql).kind == "text"
    }
    return sorted(sqls)


def code(text: str) -> int:
    """The 64-bit code of a string, signed: Spark's `xxhash64` (seed 42).

    >>> code("Spark")
    -4294468057691064905
    """
    return _signed(xxhash.xxh64_intdigest(text.encode(), seed=SEED))


def hashed(word: int) -> int:
    """The 64-bit hash of an encoded integer, signed: Spark's `xxhash64` of a bigint.

    >>> hashed(1)
    -7001672635703045582
    """
    return _signed(xxhash.xxh64_intdigest(struct.pack("<q", word), seed=SEED))


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def compact(words: np.ndarray, kind: Layout, view: View, floor: int) -> np.ndarray:
    """The fewest records that give the same values at every `as_of >= floor` (microseconds UTC).

    Records that only a lifetime window still reaches fold into one per combination of dimensions, or go
    if there is no such window; buckets closed before `floor` fold into one record each.
    """
    if not len(words):
        return words
    edge = floor - view.reach if view.reach is not None else floor
    last = words[:, 0] if kind.resolution == 1 else words[:, 1]
    old = last <= edge
    parts, young = [], words[~old]
    if view.remembers and old.any():
        parts.append(fold(_abridged(words[old], kind, np.zeros(old.sum(), dtype=np.int64)), kind, keep_bucket=False))
    if kind.resolution > 1:
        closed = young[:, 0] + kind.resolution <= floor
        whole = _abridged(young[closed], kind, young[closed, 0])
        parts += [fold(whole, kind, keep_bucket=True), young[~closed]]
    else:
        parts.append(young)
    merged = np.concatenate(parts)
    return merged[np.argsort(merged[:, 0], kind="stable")]


def fold(words: np.ndarray, kind: Layout, *, keep_bucket: bool) -> np.ndarray:
    """One record for every combination of dimensions and sketches (and bucket, if kept); int64[n, width] to
    [k, width]. Words after those of the layout, if there are any, say whose a record is: each owner's fold alone."""
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
        slot = kind.slot(cell)
        column = words[:, slot]
        match cell.op:
            case "count" | "sum":
                folded[:, slot] = _summed(column, heads)
            case "max":
                folded[:, slot] = np.maximum.reduceat(column, heads)
            case "min":
                least = np.minimum.reduceat(np.where(column == NULL, np.iinfo(np.int64).max, column), heads)
                nothing = np.maximum.reduceat(column, heads) == NULL
                folded[:, slot] = np.where(nothing, NULL, least)
            case "first" | "last":
                folded[:, slot : slot + 3] = _pick(words[:, slot : slot + 3], group, heads, cell.op)
    return folded


def _group(words: np.ndarray, keys: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each record, int64[n], the same where all keys are."""
    group = np.zeros(len(words), dtype=np.int64)
    for key in keys:
        values, place = np.unique(key, return_inverse=True)
        group = np.unique(group * len(values) + place, return_inverse=True)[1]
    return group


def _abridged(words: np.ndarray, kind: Layout, bucket: np.ndarray) -> np.ndarray:
    """The records with every hash that is not among the least of its sketch and bucket taken out: nobody may ask for
    an instant inside the bucket any more."""
    for cell in kind.cells:
        if cell.op != "sketch":
            continue
        slot = kind.slot(cell)
        there = words[:, slot] != NULL
        distinct = np.unique(np.stack([bucket[there], words[there, slot]], axis=1), axis=0)
        heads = np.searchsorted(distinct[:, 0], distinct[:, 0])
        least = distinct[np.arange(len(distinct)) - heads == cell.size - 1]
        buckets = np.searchsorted(least[:, 0], bucket)
        if not len(least):
            continue
        full = least[np.minimum(buckets, len(least) - 1)]
        words = words.copy()
        words[(full[:, 0] == bucket) & (words[:, slot] > full[:, 1]), slot] = NULL
    return words


def _summed(column: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """The sum of each group, or `SATURATED` if it leaves 64 bits or has a sum in it that did."""
    sums = np.add.reduceat(column, heads)
    large = np.abs(np.add.reduceat(column.astype(np.float64), heads)) > 2.0**62
    for i in np.flatnonzero(large):
        group = column[heads[i] : heads[i + 1] if i + 1 < len(heads) else len(column)].tolist()
        exact = sum(group)
        fits = -(2**63) <= exact < SATURATED and SATURATED not in group
        sums[i] = exact if fits else SATURATED
    return sums


def _pick(cells: np.ndarray, group: np.ndarray, heads: np.ndarray, op: str) -> np.ndarray:
    """The (value, time, id) with the least or greatest (time, id) of each group; all null if it has none."""
    time = cells[:, 1]
    rank = np.where(time == NULL, np.iinfo(np.int64).max, time) if op == "first" else time
    order = np.lexsort((cells[:, 2], rank, group))
    return cells[order][heads if op == "first" else np.r_[heads[1:], len(cells)] - 1]
