"""The rows of a person in the event log, among the duplicates and among the dead letters."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import or_
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from dualpath.changes import before
from dualpath.erasure import files
from dualpath.erasure.keys import Keys, fields
from dualpath.erasure.payloads import Match, Payloads
from dualpath.field import Field
from dualpath.files.durable import written
from dualpath.files.parquet import parquet
from dualpath.files.places import relative, size
from dualpath.log.reading import Reading
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.log.table import ACCEPTED, DEAD_LETTER
from dualpath.record import Fence
from dualpath.schema import EventSource
from dualpath.steps import Step, step


@dataclass(frozen=True)
class Found:
    """Rows of a person by the files that have some, those of the log as `DataFile`: how many are removed, how many of
    them `by_text` alone, how many stay without a name (`moved`), and how many are `unreadable`, so that nobody can
    tell."""

    rows: Mapping[Any, int] = field(default_factory=dict)
    by_text: int = 0
    moved: int = 0
    unreadable: int = 0

    @property
    def total(self) -> int:
        """How many rows are removed in all."""
        return sum(self.rows.values())


@dataclass(frozen=True)
class Rewritten:
    """A file of the log, what replaces it (None: no row is left), and the rows that are removed: of each batch the
    number, and of each batch and reason that of the dead letters."""

    before: DataFile
    after: DataFile | None
    removed: Counter[Fence]
    reasons: Counter[tuple[Fence, str]]


def rewrite(
    storage: Storage, file: DataFile, kept: pa.Array, change: Callable[[pa.Table], pa.Table] = lambda rows: rows
) -> Rewritten:
    """Write the rows of a file of the log that a mask keeps, changed or as they are, to another one, which no reader
    sees yet."""
    path = storage.folder("log") / file.path
    names = ["query", "batch", *(["reason"] if file.outcome == DEAD_LETTER else [])]
    gone = parquet(path).read(names).filter(pc.invert(kept)).to_pylist()
    batches = [Fence(row["query"], row["batch"]) for row in gone]
    reasons = zip(batches, (row.get("reason", "").partition(":")[0] for row in gone), strict=True)
    after = None
    if len(gone) < file.rows:
        to = path.with_name(f"part-{uuid4().hex}.parquet")
        with step(Step.REWRITE_FILE), written(to) as stream:
            files.copy_rows(path, stream, kept, change)
        path_of = relative(to, storage.folder("log"))
        after = replace(file, path=path_of, size=size(to), rows=file.rows - len(gone))
    return Rewritten(file, after, Counter(batches), Counter(reasons) if file.outcome == DEAD_LETTER else Counter())


class Events:
    """Recognises a person's events in the log, accepted ones and duplicates, whatever declarations wrote them.

    The accepted row of a change by which something moved from somebody to somebody else stays, because it says so of
    the other one. The person's key in it becomes a number that nobody has, and of what has become theirs all goes that
    no event may lack.
    """

    def __init__(self, storage: Storage, source: EventSource, keys: Keys) -> None:
        self.storage, self.source, self.reading = storage, source, Reading(storage, source)
        wanted = {f.name: (f, values) for f, values in fields(source, keys).items()}
        former = {*source.payload_fields}.difference(source.fields)
        own = [(f, values) for f, values in wanted.values() if f not in former]
        moving = [(f, wanted[before(f.name)][0], values) for f, values in own if before(f.name) in wanted]
        self.names = [(f, values) for now, was, values in moving for f in (now, was)]
        self.theirs = _any(self._is_in(f, values) for f, values in own)
        self.was_theirs = _any(self._is_in(was, values) for _, was, values in moving)
        from_others = _any(self._is_there(was) & ~self._is_in(was, values) for _, was, values in moving)
        self.moved = (self.theirs & from_others) | (self.was_theirs & ~self.theirs)

    def found(self, outcome: str) -> Found:
        """What there is of an outcome."""
        gone, moved = self._parted(outcome)
        rows, stay = {}, 0
        for file in self.storage.files(outcome):
            dataset = self.reading.dataset([str(self.storage.folder("log") / file.path)])
            removed = dataset.count_rows(filter=gone)
            kept = dataset.count_rows(filter=moved) if self.names else 0
            if removed or kept:
                rows[file], stay = removed, stay + kept
        return Found(rows, moved=stay)

    def rewritten(self, file: DataFile, salt: str) -> Rewritten:
        """Write another file without the person's rows; `salt` is what the numbers are made of."""
        gone, moved = self._parted(file.outcome)
        key = self.source.changes.key if self.source.changes else ()
        columns = {"gone": gone, "moved": moved, "theirs": self.theirs}
        columns |= {f"key {name}": self.reading.column(self.source.by_name[name].column) for name in key}
        asked = self.reading.dataset([str(self.storage.folder("log") / file.path)]).to_table(columns)
        kept = pc.invert(asked["gone"])
        return rewrite(self.storage, file, kept, partial(self._nameless, asked.filter(kept), salt))

    def _parted(self, outcome: str) -> tuple[pc.Expression, pc.Expression]:
        """Which rows go, and which stay without the person's name; a duplicate only explains, and goes."""
        if outcome == ACCEPTED:
            return self.theirs & ~self.moved, self.moved
        return self.theirs | self.was_theirs, pc.scalar(False)

    def _nameless(self, asked: pa.Table, salt: str, rows: pa.Table) -> pa.Table:
        """Rows of a file of which those that moved do not say who it was; `asked` is known of each row."""
        if not pc.any(asked["moved"]).as_py():
            return rows
        keys = zip(*(asked[name].to_pylist() for name in asked.column_names if name.startswith("key ")), strict=True)
        numbers = pa.array([_number(salt, key) for key in keys])
        names = {c: pa.array(values, f.stored) for f, values in self.names for c in self.reading.stored[f.column]}
        may_lack = [f for f in self.source.fields if not f.required]
        looked_up = [f for lookup in self.source.lookups for f in lookup.fields if not f.required]
        lost = {c for f in (*may_lack, *looked_up) for c in self.reading.stored[f.column]}
        into = pc.and_(asked["moved"], asked["theirs"])
        for at, name in enumerate(rows.column_names):
            column = rows[name]
            if name in names:
                mine = pc.and_(asked["moved"], pc.is_in(column, value_set=names[name].cast(column.type)))
                rows = rows.set_column(at, name, pc.if_else(mine, numbers.cast(column.type), column))
            elif name in lost:
                rows = rows.set_column(at, name, pc.if_else(into, pa.scalar(None, column.type), column))
        return rows

    def _is_in(self, field: Field, values: Sequence[Any]) -> pc.Expression:
        return self.reading.column(field.column).isin(pa.array(values, field.stored))

    def _is_there(self, field: Field) -> pc.Expression:
        return self.reading.column(field.column).is_valid()


def _any(of: Iterable[pc.Expression]) -> pc.Expression:
    return reduce(or_, of, pc.scalar(False))


def _number(salt: str, row: Sequence[Any]) -> int:
    """The number that stands for the person in the events of a row: one of fifteen digits, which any key may be."""
    return int.from_bytes(hashlib.blake2b(repr((salt, *row)).encode(), digest_size=8).digest()) % 10**15


class DeadLetters:
    """Recognises a person's dead letters by their payloads."""

    def __init__(self, storage: Storage, source: EventSource, keys: Keys) -> None:
        self.storage, self.payloads = storage, Payloads(source, keys)

    def found(self) -> Found:
        """What there is."""
        rows, by_text, unreadable = {}, 0, 0
        for file in self.storage.files(DEAD_LETTER):
            matches = [each for batch in self._matches(file) for each in batch]
            by_text += (of_text := matches.count(Match.BY_TEXT))
            unreadable += matches.count(Match.UNREADABLE)
            if theirs := of_text + matches.count(Match.NAMED):
                rows[file] = theirs
        return Found(rows, by_text, unreadable=unreadable)

    def rewritten(self, file: DataFile) -> Rewritten:
        """Write another file without them."""
        kept = [not each.is_removed for batch in self._matches(file) for each in batch]
        return rewrite(self.storage, file, pa.array(kept, pa.bool_()))

    def _matches(self, file: DataFile) -> Iterator[list[Match]]:
        for batch in parquet(self.storage.folder("log") / file.path).iter_batches(columns=["payload"]):
            payloads = batch["payload"].cast(pa.binary())
            yield [self.payloads.match(each.as_py()) for each in payloads]
