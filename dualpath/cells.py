"""Cells and reductions: what a record keeps, and what the kernel computes from it for a window.

A *cell* is one foldable quantity of a record. A *reduction* is what the kernel computes from cells over the records
of a window. Each operation is one class, which says everything about it that needs no engine; `dualpath.spark.cells`
translates each cell to Spark. All are exact and do not depend on the order of records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dualpath import kernel
from dualpath.schema import NULL, SATURATED
from dualpath.words import encode, hashed

MOST = np.iinfo(np.int64).max


class Reduction:
    """What the kernel computes from the records of a window. Abstract.

    `operation` is its number in the kernel. One that `gathers` gives several (code, weight) pairs a row,
    any other gives one word.
    """

    operation: ClassVar[int]
    gathers: ClassVar[bool] = True

    @property
    def cells(self) -> tuple["Cell", ...]:
        """The cells it reads."""
        raise NotImplementedError

    @property
    def nullable(self) -> bool:
        """Whether its word is `NULL` where nothing counts."""
        return False

    def slots(self, slot: Callable[["Cell"], int]) -> tuple[int, ...]:
        """Where the kernel finds its cells, given each cell's first word: one slot, or three if it gathers."""
        return (slot(self.cells[0]), 0, 0)


@dataclass(frozen=True)
class Cell(Reduction):
    """One foldable quantity of a record, and the reduction that folds it over a window. Abstract.

    An event counts if `where` is true and `of` is not null. `op` names the operation in a layout's fingerprint;
    `nothing` are the words of no event. Records with different words stay apart in a cell that `splits`. A `coded`
    cell may hold texts, as codes.
    """

    of: str | None = None
    where: str | None = None

    op: ClassVar[str]
    nothing: ClassVar[tuple[int, ...]] = (NULL,)
    splits: ClassVar[bool] = False
    coded: ClassVar[bool] = False
    gathers: ClassVar[bool] = False

    @property
    def cells(self) -> tuple["Cell", ...]:
        return (self,)

    def slots(self, slot: Callable[["Cell"], int]) -> tuple[int, ...]:
        return (slot(self),)

    @property
    def nullable(self) -> bool:
        return self.nothing[0] == NULL

    @property
    def words(self) -> int:
        """How many words of a record it takes."""
        return len(self.nothing)

    def to_dict(self) -> dict[str, Any]:
        """What a layout's fingerprint covers."""
        return {"op": self.op, "of": self.of, "where": self.where, "size": 0}

    def contribution(self, value: Any, scale: int, time: int, code: int) -> tuple[int, ...]:
        """The words of one event that counts: `value` is that of `of`, `time` and `code` are of the event."""
        return (encode(value, scale),)

    def folded(self, words: np.ndarray, heads: np.ndarray) -> np.ndarray:
        """The words of each group of records, int64[n, words] to [k, words]; `heads` are where the groups begin."""
        raise NotImplementedError

    def surplus(self, word: np.ndarray, bucket: np.ndarray) -> np.ndarray:
        """Which words no reader needs once no instant inside their buckets can be asked for; bool[n]."""
        return np.zeros(len(word), dtype=bool)


@dataclass(frozen=True)
class Sum(Cell):
    """The sum of the values, or `SATURATED` if it leaves 64 bits."""

    op = "sum"
    operation = kernel.SUM
    nothing = (0,)

    def folded(self, words: np.ndarray, heads: np.ndarray) -> np.ndarray:
        column = words[:, 0]
        sums = np.add.reduceat(column, heads)
        large = np.abs(np.add.reduceat(column.astype(np.float64), heads)) > 2.0**62
        saturated = np.maximum.reduceat(column, heads) == SATURATED
        for i in np.flatnonzero(large | saturated):
            group = column[heads[i] : heads[i + 1] if i + 1 < len(heads) else len(column)].tolist()
            exact = sum(group)
            fits = -(2**63) <= exact < SATURATED and SATURATED not in group
            sums[i] = exact if fits else SATURATED
        return sums[:, None]


@dataclass(frozen=True)
class Count(Sum):
    """How many events count."""

    op = "count"

    def contribution(self, value: Any, scale: int, time: int, code: int) -> tuple[int, ...]:
        return (1,)


@dataclass(frozen=True)
class Max(Cell):
    """The greatest value."""

    op = "max"
    operation = kernel.MAX

    def folded(self, words: np.ndarray, heads: np.ndarray) -> np.ndarray:
        return np.maximum.reduceat(words, heads)  # null is the least word


@dataclass(frozen=True)
class Min(Cell):
    """The least value."""

    op = "min"
    operation = kernel.MIN

    def folded(self, words: np.ndarray, heads: np.ndarray) -> np.ndarray:
        least = np.minimum.reduceat(np.where(words == NULL, MOST, words), heads)
        return np.where(np.maximum.reduceat(words, heads) == NULL, NULL, least)


@dataclass(frozen=True)
class Last(Cell):
    """The value of the event with the greatest (time, code), and these two."""

    op = "last"
    operation = kernel.LAST
    nothing = (NULL, NULL, NULL)
    coded = True

    def contribution(self, value: Any, scale: int, time: int, code: int) -> tuple[int, ...]:
        return (encode(value, scale), time, code)

    def folded(self, words: np.ndarray, heads: np.ndarray) -> np.ndarray:
        ends = np.r_[heads[1:], len(words)]
        return _by_time(words, words[:, 1], heads, ends)[ends - 1]


@dataclass(frozen=True)
class First(Last):
    """The value of the event with the least (time, code), and these two."""

    op = "first"
    operation = kernel.FIRST

    def folded(self, words: np.ndarray, heads: np.ndarray) -> np.ndarray:
        time = np.where(words[:, 1] == NULL, MOST, words[:, 1])
        return _by_time(words, time, heads, np.r_[heads[1:], len(words)])[heads]


def _by_time(words: np.ndarray, time: np.ndarray, heads: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The words of each group in the order of (time, code)."""
    group = np.repeat(np.arange(len(heads)), ends - heads)
    return words[np.lexsort((words[:, 2], time, group))]


@dataclass(frozen=True)
class Dimension(Cell):
    """The value itself: records fold together only where they agree on it."""

    op = "dimension"
    splits = True
    coded = True


@dataclass(frozen=True)
class Sketch(Cell):
    """The 64-bit hash of the value, of which only the `size` least in a window matter. As a reduction: the distinct
    hashes, ascending."""

    size: int = 0

    op = "sketch"
    operation = kernel.SKETCH
    splits = True
    gathers = True
    slots = Reduction.slots

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "size": self.size}

    def contribution(self, value: Any, scale: int, time: int, code: int) -> tuple[int, ...]:
        word = encode(value, scale)
        return (word if isinstance(value, str) else hashed(word),)  # a text's code is its hash

    def surplus(self, word: np.ndarray, bucket: np.ndarray) -> np.ndarray:
        there = word != NULL
        distinct = np.unique(np.stack([bucket[there], word[there]], axis=1), axis=0)
        heads = np.searchsorted(distinct[:, 0], distinct[:, 0])
        least = distinct[np.arange(len(distinct)) - heads == self.size - 1]
        if not len(least):
            return super().surplus(word, bucket)
        full = least[np.minimum(np.searchsorted(least[:, 0], bucket), len(least) - 1)]
        return (full[:, 0] == bucket) & (word > full[:, 1])


@dataclass(frozen=True)
class Newest(Reduction):
    """The values of `of` at every event that counts, latest (time, code) first. It needs exact records."""

    of: str | None
    where: str | None = None

    operation = kernel.NEWEST

    @property
    def cells(self) -> tuple[Cell, ...]:
        return (Last(self.of, self.where),)


@dataclass(frozen=True)
class Grouped(Reduction):
    """For every distinct `by` that is not null: how many events count, or with `of`, the sum of `of` over them.

    Without `by` there is one group, of all events.
    """

    by: str | None
    where: str | None = None
    of: str | None = None

    operation = kernel.GROUPS

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The dimension, if there is one; the member count, and what is summed up."""
        dimension = (Dimension(self.by),) if self.by else ()
        if self.of is None:
            return (*dimension, *[Count(self.by, self.where)] * 2)
        conditions = [f"({self.where})"] if self.where else []
        conditions += [f"({self.by}) IS NOT NULL"] if self.by else []
        both = " AND ".join(conditions) or None
        return (*dimension, Count(self.of, both), Sum(self.of, both))

    def slots(self, slot: Callable[[Cell], int]) -> tuple[int, ...]:
        return (*(() if self.by else (-1,)), *map(slot, self.cells))


@dataclass(frozen=True)
class Timed(Grouped):
    """The same for every distinct event time as well; at a coarse resolution, for every bucket."""

    operation = kernel.TIMED
