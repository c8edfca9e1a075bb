"""The ledger's files: an entry for each micro-batch, and a block in place of every thousand finished ones.

A stream that runs for a year has ten million batches; whoever reads the ledger opens a file for each block and for
at most two thousand batches of each query. `query=G/batch=N.json` is an entry; `blocks/query=G/batches=A-B.json` is a
block: in one line what is summed up, in another the positions, which only a handover wants, in a third the clock of
each batch that has rows, which only the start of a stream wants, and in a fourth the refused rows by days, for a night.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, reduce
from itertools import groupby
from pathlib import Path
from typing import Any

from dualpath.log.files import write_atomically
from dualpath.log.outcomes import GREATEST, Outcomes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BLOCK = 1_000
"""Batches in a block."""


@dataclass(frozen=True)
class Entry(Outcomes):
    """One micro-batch: the outcomes of its rows, which days were closed when it began, and how far it is.

    `logged`: its rows are in the log and the dead-letter table, and the counts below are theirs; from then on
    the log says what its rows are. `done`: the online store has acknowledged their records too. `clock` is the batch's
    own, microseconds UTC; `positions` is the last one read of each origin.
    """

    query: int
    batch: int
    closed_through: str = ""
    logged: bool = False
    done: bool = False
    clock: int = 0
    arrival_days: tuple[str, ...] = ()
    positions: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its folder below the log, and (with `.json`) its file in the ledger."""
        return span(self.query, self.batch, self.batch)


@dataclass(frozen=True)
class Block(Outcomes):
    """Finished batches `first` to `last` of a query in one: their outcomes, the latest clock, and each day's batches.

    `arrival_days` maps an arrival day to spans (first, last) of consecutive batches that hold rows of it.
    """

    query: int
    first: int
    last: int
    clock: int
    arrival_days: Mapping[str, tuple[tuple[int, int], ...]]

    @classmethod
    def of(cls, entry: Entry) -> "Block":
        """A batch alone."""
        alone = (entry.batch, entry.batch)
        outcomes = entry.counts | {name: getattr(entry, name) for name in GREATEST}
        arrival_days = dict.fromkeys(entry.arrival_days, (alone,))
        return cls(entry.query, *alone, entry.clock, arrival_days, **outcomes)

    def __add__(self, later: "Block") -> "Block":
        """With the batches that follow."""
        arrival_days = dict(self.arrival_days)
        for arrival_day, spans in later.arrival_days.items():
            arrival_days[arrival_day] = joined((*arrival_days.get(arrival_day, ()), *spans))
        clock = max(self.clock, later.clock)
        return Block(self.query, self.first, later.last, clock, arrival_days, **self.plus(later))

    @property
    def batches(self) -> range:
        """The numbers of its batches."""
        return range(self.first, self.last + 1)

    @property
    def name(self) -> str:
        """What it is called, as its file is; of a single batch, also its folder below the log."""
        return span(self.query, self.first, self.last)

    def with_rows(self, arrival_days: Iterable[str]) -> list[int]:
        """The numbers of those that hold rows of some arrival days, ascending."""
        spans = [each for arrival_day in arrival_days for each in self.arrival_days.get(arrival_day, ())]
        return sorted({n for a, b in spans for n in range(a, b + 1)})


def span(query: int, first: int, last: int) -> str:
    """What batches of a query are called, in every folder that has something of them.

    >>> span(2, 7, 7), span(2, 0, 999)
    ('query=2/batch=7', 'query=2/batches=0-999')
    """
    return f"query={query}/" + (f"batch={first}" if first == last else f"batches={first}-{last}")


def joined(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Spans in ascending order with those that touch made one.

    >>> joined([(0, 3), (4, 4), (6, 9)])
    ((0, 4), (6, 9))
    """
    found: list[tuple[int, int]] = []
    for first, last in spans:
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return tuple(found)


FORMER = {"sealed": "closed_through", "epochs": "arrival_days", "beyond": "out_of_retention"}
"""Names in files of an earlier version, and what they are called now."""


def members(text: str) -> dict[str, Any]:
    """The members of a JSON object by their present names."""
    return {FORMER.get(name, name): value for name, value in json.loads(text).items()}


def file_of(ledger: Path, entry: Entry) -> Path:
    """Where an entry is kept."""
    return ledger / f"{entry.name}.json"


def read(file: Path) -> Entry:
    """An entry."""
    plain = members(file.read_text())
    return Entry(**{**plain, "arrival_days": tuple(plain["arrival_days"])})


def write(ledger: Path, entry: Entry) -> Entry:
    """Keep an entry in place of an earlier one of the same batch."""
    write_atomically(file_of(ledger, entry), json.dumps(asdict(entry)))
    return entry


def files(ledger: Path, after: Mapping[int, int] | None = None) -> list[Path]:
    """The files of the entries that no block replaces, oldest first; of each query those `after` a batch."""
    found = []
    for folder in ledger.glob("query=*"):
        query = _named(folder.name)
        with os.scandir(folder) as listed:  # a path object for each would take most of the time
            names = [each.name for each in listed if each.name.startswith("batch=") and each.name.endswith(".json")]
        batches = (_named(name.removesuffix(".json")) for name in names)
        found += [(query, batch) for batch in batches if batch > (after or {}).get(query, -1)]
    return [ledger / f"{span(query, batch, batch)}.json" for query, batch in sorted(found)]


def entries(ledger: Path, after: Mapping[int, int] | None = None) -> list[Entry]:
    """Those entries."""
    found = []
    for file in files(ledger, after):
        with suppress(FileNotFoundError):  # folded since they were listed
            found.append(read(file))
    return found


def blocks(ledger: Path, *, unfinished: bool = False, after: Mapping[int, int] | None = None) -> list[Block]:
    """All finished batches, oldest first; with `unfinished`, also one whose rows are in the log already. Of each query
    those `after` a batch, and those in a block with one of them."""
    # Entries before blocks: what is folded in between is found in both, and one is left out.
    single = [Block.of(entry) for entry in entries(ledger, after) if entry.done or (unfinished and entry.logged)]
    folded = [_block(file, file.stat().st_mtime_ns) for file in _blocks(ledger, after)]
    reached: dict[int, int] = {}
    for each in folded:
        reached[each.query] = max(each.last, reached.get(each.query, -1))
    rest = [each for each in single if each.first > reached.get(each.query, -1)]
    return sorted([*folded, *rest], key=lambda b: (b.query, b.first))


def positions(ledger: Path, before: int) -> dict[str, int]:
    """The last position that the queries before one have read of each origin."""
    found: dict[str, int] = {}
    for entry in entries(ledger):  # before blocks, as in `blocks`
        if entry.query < before and entry.done:
            _take(found, entry.positions)
    for file in _blocks(ledger):
        if number(file)[0] < before:
            _take(found, json.loads(file.read_text().splitlines()[1]))
    return found


def clocks(ledger: Path, block: Block) -> dict[int, int]:
    """The clock of each batch of a block that has rows."""
    plain: dict[str, int] = {}
    if block.first < block.last:
        lines = (ledger / "blocks" / f"{block.name}.json").read_text().splitlines()
        plain = json.loads(lines[2]) if len(lines) > 2 else {}  # an earlier version wrote none of them
    return {number: plain.get(str(number), block.clock) for number in block.with_rows(block.arrival_days)}


def refused(ledger: Path) -> dict[str, tuple[int, int]]:
    """For each arrival day the rows read that were not skipped, and the dead letters, of the batches that hold rows of
    it.

    A dead letter has no arrival day of its own. A batch that accepted nothing counts on the day of its clock, UTC.
    """
    parts = []
    for block in blocks(ledger):
        lines = [""]
        if block.first < block.last:
            lines = (ledger / "blocks" / f"{block.name}.json").read_text().splitlines()
        # An earlier version wrote no such line.
        parts.append(json.loads(lines[3]) if len(lines) > 3 else _by_days([block]))
    found: dict[str, tuple[int, int]] = {}
    for names, (rows_read, dead) in (each for part in parts for each in part.items()):
        for day in names.split():
            before = found.get(day, (0, 0))
            found[day] = (before[0] + rows_read, before[1] + dead)
    return found


def clock_day(clock: int) -> str:
    """The day of a batch's clock, UTC.

    >>> clock_day(1_772_323_200_000_000)
    '2026-03-01'
    """
    return (EPOCH + timedelta(microseconds=clock)).date().isoformat()


def _by_days(found: Iterable[Block]) -> dict[str, list[int]]:
    """Rows read and dead letters by the arrival days of batches, such as "2026-03-01 2026-03-02"."""
    sums: dict[str, list[int]] = {}
    for block in found:
        if block.rows_read:
            names = " ".join(sorted(block.arrival_days)) or clock_day(block.clock)
            read, dead = sums.get(names, [0, 0])
            sums[names] = [read + block.rows_read - block.skipped, dead + block.dead_letter]
    return sums


def fold(ledger: Path, last: Entry) -> None:
    """Put blocks in place of the entries of whole thousands before a finished batch. May die anywhere."""
    earlier = [e for e in entries(ledger) if e.query == last.query and e.batch // BLOCK < last.batch // BLOCK]
    for _, group in groupby(earlier, key=lambda e: e.batch // BLOCK):
        found = list(group)
        whole = reduce(Block.__add__, map(Block.of, found))
        if len(found) == BLOCK:  # else it was written by a fold that died while it removed the entries
            most: dict[str, int] = {}
            for entry in found:
                _take(most, entry.positions)
            clocks = {entry.batch: entry.clock for entry in found if entry.arrival_days}
            lines = *map(json.dumps, (asdict(whole), most, clocks)), json.dumps(_by_days(map(Block.of, found)))
            write_atomically(ledger / "blocks" / f"{whole.name}.json", "\n".join(lines))
        for entry in found:
            file_of(ledger, entry).unlink()


def _take(found: dict[str, int], more: Mapping[str, int]) -> None:
    for origin, position in more.items():
        found[origin] = max(position, found.get(origin, position))


def _blocks(ledger: Path, after: Mapping[int, int] | None = None) -> Iterator[Path]:
    """The files of the blocks, in a folder of their own: the stream lists that of the entries at every batch."""
    for folder in ledger.glob("blocks/query=*"):
        query = _named(folder.name)
        for file in folder.glob("batches=*.json"):
            if int(file.stem.rpartition("-")[2]) > (after or {}).get(query, -1):
                yield file


@cache
def _block(file: Path, written: int) -> Block:
    """A block, parsed once by a process that asks after every batch; `written` tells apart what had its name before."""
    with file.open() as lines:
        plain = members(lines.readline())
    spans = {arrival_day: tuple((a, b) for a, b in each) for arrival_day, each in plain["arrival_days"].items()}
    # An earlier version served every event, and did not say that none was out of retention.
    return Block(**{**plain, "arrival_days": spans})


def number(file: Path) -> tuple[int, int]:
    """The query, and the batch of an entry or the first one of a block."""
    return _named(file.parent.name), _named(file.stem)


def _named(name: str) -> int:
    return int(name.partition("=")[2].partition("-")[0])
