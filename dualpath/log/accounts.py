"""What became of the rows of each micro-batch: the rows of the log's partition `outcome=batch`.

A batch has one row there, committed with its events, so the counts and the rows they count become visible at once. The
columns are `query`, `batch` and the struct `account`; instants and durations in it are int64 microseconds, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualpath.log.outcomes import COUNTS, GREATEST, OUTCOMES, Outcomes
from dualpath.plural import plural
from dualpath.record import Fence

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SUMMED = (*COUNTS, "erased")
NUMBERED = pa.map_(pa.string(), pa.int64())
ACCOUNT = pa.struct(
    [
        *((name, pa.int64()) for name in (*SUMMED, *GREATEST, "clock")),
        ("closed_through", pa.string()),
        ("arrival_days", pa.list_(pa.string())),
        ("positions", NUMBERED),
        ("reasons", NUMBERED),
    ]
)
MAPS = ("positions", "reasons")
KEY_VALUE = ("key", "value")
SCHEMA = pa.schema([("query", pa.int32()), ("batch", pa.int64()), ("account", ACCOUNT)])
Spans = tuple[tuple[int, int], ...]
"""Spans (first, last) of consecutive batches."""


@dataclass(frozen=True)
class Entry(Outcomes):
    """One micro-batch: the outcomes of its rows, which days were closed when it began, and how far it is.

    `logged`: its rows are in the log, and the counts are theirs; from then on the log says what its rows are. `done`:
    the online store has acknowledged their records too. `clock` is the batch's own, microseconds UTC; `positions` is
    the last one read of each origin; `reasons` are those of its dead letters, without the offending text, with their
    numbers.
    """

    query: int
    batch: int
    closed_through: str = ""
    logged: bool = False
    done: bool = False
    clock: int = 0
    arrival_days: tuple[str, ...] = ()
    positions: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def fence(self) -> Fence:
        """Its query and number."""
        return Fence(self.query, self.batch)

    @property
    def name(self) -> str:
        """Its folder among the ids."""
        return span(self.query, self.batch, self.batch)

    @property
    def row(self) -> pa.Table:
        """Its row of the log."""
        plain = asdict(self)
        of = {each.name: plain[each.name] for each in ACCOUNT}
        of |= {name: [*of[name].items()] for name in MAPS}
        return pa.Table.from_pylist([{"query": self.query, "batch": self.batch, "account": of}], SCHEMA)

    @classmethod
    def read(cls, row: Mapping[str, Any], *, done: bool) -> "Entry":
        """A batch in the log; `row` is one of `Accounts.rows`."""
        plain = dict(row) | {"arrival_days": tuple(row["arrival_days"])}
        maps = {name: {each["key"]: each["value"] for each in row[name]} for name in MAPS}
        return cls(**plain | maps, logged=True, done=done)


@dataclass(frozen=True)
class Total(Outcomes):
    """The outcomes of the rows of several batches, and how many batches there were.

    >>> print(Total(1, rows_read=3, accepted=2, duplicate=1) + Total(1, rows_read=1, dead_letter=1))
    4 rows read in 2 batches: 2 accepted (0 of them late), 1 duplicate, 1 refused
    """

    batches: int = 0

    def __add__(self, other: "Total") -> "Total":
        return Total(self.batches + other.batches, **self.plus(other))

    def since(self, earlier: "Total") -> "Total":
        """What came after `earlier`; `latest_by` and `newest_arrival` stay those of all."""
        rest = {name: count - getattr(earlier, name) for name, count in self.counts.items()}
        most = {name: getattr(self, name) for name in GREATEST}
        return Total(self.batches - earlier.batches, **rest, **most)

    def __str__(self) -> str:
        of = f" of {plural(self.messages, 'message')}" if self.further else ""
        return (
            f"{plural(self.rows_read, 'row')}{of} read in {plural(self.batches, 'batch')}: {self.accepted:,} accepted "
            f"({self.late:,} of them late), {plural(self.duplicate, 'duplicate')}, {self.dead_letter:,} refused"
            + (f", {self.skipped:,} skipped" if self.skipped else "")
            + (f", {self.erased:,} erased since" if self.erased else "")
        )


@dataclass(frozen=True)
class Accounts:
    """The accounts of batches, oldest first; `rows` has a column for `query`, `batch` and each member of `ACCOUNT`."""

    rows: pa.Table

    @classmethod
    def of(cls, stored: pa.Table) -> "Accounts":
        """Those in rows of `SCHEMA`."""
        account = stored["account"].combine_chunks()
        members = {name: pc.struct_field(account, name) for name in ACCOUNT.names}
        members |= {name: _lists(members[name]) for name in MAPS}
        rows = pa.table({"query": stored["query"], "batch": stored["batch"], **members})
        return cls(rows.sort_by([("query", "ascending"), ("batch", "ascending")]))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def query(self) -> np.ndarray:
        """The query of each batch."""
        return self.rows["query"].to_numpy()

    @cached_property
    def batch(self) -> np.ndarray:
        """The number of each batch."""
        return self.rows["batch"].to_numpy()

    def through(self, fence: Fence) -> "Accounts":
        """Those up to a batch."""
        return self._only((self.query < fence.query) | ((self.query == fence.query) & (self.batch <= fence.batch)))

    def before(self, query: int) -> "Accounts":
        """Those of earlier queries."""
        return self._only(self.query < query)

    def of_day(self, day: str) -> "Accounts":
        """Those with rows of an arrival day, and those that accepted nothing and have their clock on it."""
        days = self.rows["arrival_days"].to_pylist()
        clocks = self.rows["clock"].to_pylist()
        return self._only(np.array([day in (d or [clock_day(c)]) for d, c in zip(days, clocks, strict=True)], bool))

    def entry(self, fence: Fence, *, done: bool) -> Entry | None:
        """One batch; None if it is not among them."""
        found = self._only((self.query == fence.query) & (self.batch == fence.batch)).rows.to_pylist()
        return Entry.read(found[0], done=done) if found else None

    def total(self) -> Total:
        """All of them in one."""
        sums = {name: pc.sum(self.rows[name]).as_py() or 0 for name in SUMMED}
        return Total(len(self), **sums, **{name: pc.max(self.rows[name]).as_py() or 0 for name in GREATEST})

    def wrong(self) -> list[str]:
        """The names of those whose rows were read, but whose outcomes sum up to another number."""
        sums = np.sum([self.rows[name].to_numpy() for name in (*OUTCOMES, "erased")], axis=0)
        wrong = np.flatnonzero(sums != self.rows["rows_read"].to_numpy()) if len(self) else ()
        return [span(int(self.query[at]), int(self.batch[at]), int(self.batch[at])) for at in wrong]

    def last(self) -> dict[int, int]:
        """The last batch of each query."""
        return dict(zip(self.query.tolist(), self.batch.tolist(), strict=True))

    def clocks(self, within: int | None = None) -> dict[Fence, int]:
        """The clock of each batch that has accepted rows; of those less than `within` microseconds before the last of
        them, or after it."""
        clocks = self.rows["clock"].to_numpy()
        wanted = pc.list_value_length(self.rows["arrival_days"]).to_numpy() > 0
        if within is not None:
            wanted &= clocks > clocks[wanted][-1:].sum() - within
        found = zip(self.query[wanted].tolist(), self.batch[wanted].tolist(), clocks[wanted].tolist(), strict=True)
        return {Fence(query, batch): clock for query, batch, clock in found}

    def positions(self) -> dict[str, int]:
        """The last position of each origin."""
        found = _entries(self.rows["positions"]).group_by("key").aggregate([("value", "max")])
        return dict(zip(found["key"].to_pylist(), found["value_max"].to_pylist(), strict=True))

    def reasons(self) -> dict[str, int]:
        """Why rows were refused: the reason without the offending text, and how many rows, most frequent first."""
        found = _entries(self.rows["reasons"]).group_by("key").aggregate([("value", "sum")])
        pairs = zip(found["key"].to_pylist(), found["value_sum"].to_pylist(), strict=True)
        return dict(sorted(((key, rows) for key, rows in pairs if rows), key=lambda each: (-each[1], each[0])))

    def spans(self) -> dict[str, dict[int, Spans]]:
        """For each arrival day with rows, and each query, the spans of consecutive batches with rows of it."""
        lists = self.rows["arrival_days"].combine_chunks()
        at = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        days = pc.list_flatten(lists).to_pylist()
        numbers: dict[str, dict[int, list[int]]] = {}
        for day, query, batch in zip(days, self.query[at].tolist(), self.batch[at].tolist(), strict=True):
            numbers.setdefault(day, {}).setdefault(query, []).append(batch)
        return {day: {q: _joined(found) for q, found in of.items()} for day, of in numbers.items()}

    def arrival_days(self) -> list[str]:
        """Every arrival day with rows, ascending."""
        return sorted(pc.unique(pc.list_flatten(self.rows["arrival_days"])).to_pylist())

    def refused(self) -> dict[str, tuple[int, int]]:
        """For each arrival day the rows read that were not skipped, and the dead letters, of the batches that hold rows
        of it.

        A dead letter has no arrival day of its own. A batch that accepted nothing counts on the day of its clock, UTC.
        """
        found: dict[str, tuple[int, int]] = {}
        names = ("rows_read", "skipped", "dead_letter", "clock", "arrival_days")
        for read, skipped, dead, clock, days in zip(*(self.rows[name].to_pylist() for name in names), strict=True):
            for day in (days or [clock_day(clock)]) if read else ():
                before = found.get(day, (0, 0))
                found[day] = before[0] + read - skipped, before[1] + dead
        return found

    def newest_arrival(self) -> int:
        """When the accepted row that arrived last did, microseconds UTC; 0: there is none."""
        return pc.max(self.rows["newest_arrival"]).as_py() or 0

    def _only(self, wanted: np.ndarray) -> "Accounts":
        return Accounts(self.rows.filter(pa.array(wanted)))


def span(query: int, first: int, last: int) -> str:
    """What batches of a query are called.

    >>> span(2, 7, 7), span(2, 0, 999)
    ('query=2/batch=7', 'query=2/batches=0-999')
    """
    return f"query={query}/" + (f"batch={first}" if first == last else f"batches={first}-{last}")


def clock_day(clock: int) -> str:
    """The day of a batch's clock, UTC.

    >>> clock_day(1_772_323_200_000_000)
    '2026-03-01'
    """
    return (EPOCH + timedelta(microseconds=clock)).date().isoformat()


def _joined(numbers: Sequence[int]) -> Spans:
    """Spans of ascending numbers.

    >>> _joined([0, 1, 2, 4, 6, 7])
    ((0, 2), (4, 4), (6, 7))
    """
    found = np.array(numbers)
    ends = np.flatnonzero(np.diff(found) != 1)
    firsts, lasts = found[[0, *(ends + 1)]], found[[*ends, len(found) - 1]]
    return tuple(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _lists(maps: pa.MapArray) -> pa.ListArray:
    """Maps as lists of their entries, which can be sorted and filtered."""
    return pa.ListArray.from_arrays(maps.offsets, pa.StructArray.from_arrays([maps.keys, maps.items], KEY_VALUE))


def _entries(lists: pa.ChunkedArray) -> pa.Table:
    """The entries of lists: `key` and `value`."""
    found = pc.list_flatten(lists.combine_chunks())
    return pa.table([pc.struct_field(found, name) for name in KEY_VALUE], KEY_VALUE)
