"""Record files: what training sets read. A Delta table for each view's declaration; a part is one arrival day's rows.

`records/{view}-{fingerprint}/` holds `entity` string, `words` list<int64> and what `dualpath.known` compares: when the
event `arrived`, int64 microseconds UTC, and its micro-`batch`, an int64 place. Its partitions are the arrival day, the
name of the part, which says what of the log it was made of, and one of `dualpath.offline.buckets`. Rows of a file are
sorted by entity. A build replaces the parts of some days in one commit, so a reader sees old or new, never half, and a
part that has lost files is refused. `complete` has the token of the micro-batch up to which they have every event. The
dictionary of texts is kept the same way, under `records/dictionary/{source}/`, as `code` int64 and `text` string.
`records/published/{source}` holds the day of the snapshot that serving reads, and its namespace of the online store.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualpath.errors import StaleRecordsError
from dualpath.expression import columns
from dualpath.files.durable import write_atomically
from dualpath.files.locks import Check, unchecked
from dualpath.files.parquet import dataset
from dualpath.files.places import Place, read_text
from dualpath.known import parse, place, token
from dualpath.log.storage import Storage
from dualpath.offline import buckets, record_files
from dualpath.offline.record_files import Part, RecordTable, record_table
from dualpath.parts import parts
from dualpath.plural import days
from dualpath.record import UNFENCED, Fence, former_names, layout, text_expressions
from dualpath.values import Dictionary
from dualpath.view import View

DICTIONARY = "dictionary"
RECORDS = pa.schema(
    [("entity", pa.string()), ("words", pa.list_(pa.int64())), ("arrived", pa.int64()), ("batch", pa.int64())]
)
TEXTS = pa.schema([("code", pa.int64()), ("text", pa.string())])
PART = "part"
"""The column that says which part of a view a record is of, int64."""
FILTERED_BELOW = 5_000
"""Entities up to which a read asks Parquet for just them."""
Read = tuple[Sequence[str], pc.Expression | None]
"""Files, and which of their rows are read; None: all."""


def view_version(view: View) -> str:
    """The folder of a view's records; a changed declaration has another."""
    return f"{view.name}-{layout(view).fingerprint:08x}"


def record_salt(source: str) -> str:
    """What the parts of record files depend on besides the batches of the log: what stands beside the words."""
    return " ".join([source, *RECORDS.names[2:]])


def dictionary_salt(source: str, views: Sequence[View]) -> str:
    """What the parts of a dictionary depend on besides the batches of the log: the texts that views ask for."""
    sqls = text_expressions(views)
    former = former_names(views[0].source, {*()}.union(*map(columns, sqls))) if sqls else []
    return " ".join([source, *sqls, *(" ".join(names) for names in former)])


class StaleWarning(UserWarning):
    """A training set was made from record files that lack events of the log."""


@dataclass(frozen=True)
class History:
    """The record files under `root`."""

    root: Place

    def folder(self, name: str) -> Place:
        """The folder of a view version or of a dictionary."""
        return self.root / "records" / name

    def table(self, name: str) -> RecordTable:
        """The table of a view version or of a dictionary."""
        return record_table(self.folder(name))

    def index(self, name: str) -> dict[str, Part]:
        """The current part of each arrival day."""
        return record_files.index(self.table(name))

    def publish(
        self,
        name: str,
        staged: Place,
        parts: Mapping[str, str],
        rows: int,
        version: int = -1,
        alone: Check = unchecked,
    ) -> None:
        """Publish `rows` rows as the parts of some arrival days, as `record_files.publish`."""
        record_files.publish(self.table(name), self.schema(name), staged, parts, rows, version, alone)

    def schema(self, name: str) -> pa.Schema:
        """The columns of the rows of a view version or of a dictionary."""
        return TEXTS if name.startswith(f"{DICTIONARY}/") else RECORDS

    def stale(self, name: str, wanted: Iterable[str], digests: Mapping[str, str]) -> dict[str, str]:
        """Arrival days whose current part was made from other batches, or has lost files since, with the names their
        new parts get."""
        index, lost = self.index(name), {file.arrival_day for file in record_files.lost(self.table(name))}
        whole = {e for e, part in index.items() if part.name == digests.get(e) and e not in lost}
        return {e: digests[e] for e in wanted if e not in whole}

    def complete(self, view: View) -> Fence:
        """The micro-batch up to which a view's record files have every event, whatever they have of later ones."""
        file = self.folder(view_version(view)) / "complete"
        text = read_text(file)
        return parse([text], str(file))[0] if text else UNFENCED

    def note_complete(self, view: View, through: Fence) -> None:
        """Note that a view's record files have every event up to a micro-batch; an earlier one changes nothing."""
        if through <= self.complete(view):
            return
        write_atomically(self.folder(view_version(view)) / "complete", token(through))

    def require(
        self, view: View, *, stale: Literal["refuse", "warn"] = "refuse", through: Sequence[int] | None = None
    ) -> None:
        """Raise `StaleRecordsError` unless the record files of a view have every event of the log.

        With `warn`, only warn if they lack some. With `through`, the `dualpath.known.place` of a micro-batch of each of
        its sources, events of later ones do not matter.

        Texts are not checked: a missing one raises when its code is looked up.
        """
        of_view = parts(view)
        for part, last in zip(of_view, [None] * len(of_view) if through is None else through, strict=True):
            self._require(part, stale, last)

    def _require(self, view: View, stale: Literal["refuse", "warn"], through: int | None) -> None:
        source, index = view.source.name, self.index(view_version(view))
        known = through is not None and through <= place(self.complete(view))
        if index and known and not record_files.lost(self.table(view_version(view))):
            return
        digests = Storage(self.root, source).digests(record_salt(source))
        lacking = sorted(self.stale(view_version(view), digests, digests))
        if not index:
            if not digests:
                raise StaleRecordsError(f"source '{source}': nothing has arrived yet; run `dualpath stream` first.")
            raise StaleRecordsError(
                f"view '{view.name}' has no record files for its present declaration; run `dualpath batch` first."
            )
        if not lacking:
            return
        said = f"view '{view.name}': its record files lack events of {days(lacking)}; run `dualpath batch`"
        if through is not None:
            raise StaleRecordsError(f"{said}.")
        if stale == "refuse":
            raise StaleRecordsError(f"{said}, or set offline_store.stale to warn to train without them.")
        warnings.warn(f"{said}.", StaleWarning, stacklevel=2)

    def published(self, source: str) -> str:
        """The day of the last snapshot that was published of a source's views; empty: none."""
        return self.noted(source)[0]

    def noted(self, source: str) -> tuple[str, str]:
        """The day of the last snapshot, and the namespace of the online store that it was published in, if what they
        superseded has been seen to; empty: none, or by an earlier version."""
        day, _, namespace = read_text(self.folder("published") / source).partition(" ")
        return day, namespace

    def note_published(self, source: str, day: str, namespace: str) -> None:
        """Note them beside the files, because a lost Redis cannot tell the day; an earlier day changes nothing."""
        if day >= self.published(source) and (day, namespace) != self.noted(source):
            write_atomically(self.folder("published") / source, f"{day} {namespace}")

    def paths(self, name: str, through: str | None = None, after: str = "") -> list[str]:
        """Parquet files of every current part, of the arrival days after `after` up to `through`."""
        table = self.table(name)
        found = table.snapshot().files()
        return [
            str(table.folder / file.path)
            for file in sorted(found, key=lambda each: each.path)
            if file.rows and file.arrival_day > after and (through is None or file.arrival_day <= through)
        ]

    def size(self, view: View) -> int:
        """Bytes of a view's record files."""
        return sum(each.size for part in parts(view) for each in self.index(view_version(part)).values())

    def records(
        self, view: View, entities: pa.Array, beside: Sequence[str] = (), bucket: int | None = None
    ) -> pa.Table:
        """Records of the given distinct entities: `entity`, `words`, the columns `beside` and, of a view of several
        sources, the place of the record's in `part`.

        `bucket` says that all of the entities are of one. Of many entities, records of others may be among them.
        """
        few = len(entities) <= FILTERED_BELOW
        own = pc.field("entity").isin(entities) if few or bucket is not None else None
        if bucket is not None:
            wanted = {bucket}
        else:
            wanted = {*buckets.of(entities.drop_null()).tolist()} if few else {*range(buckets.BUCKETS)}

        def reads(paths: Sequence[str]) -> list[Read]:
            opened = [path for path in paths if any(buckets.has(path, each) for each in wanted)]
            if few or bucket is None:
                return [(opened, own)]
            split = [path for path in opened if not buckets.is_whole(path)]
            return [(split, None), ([path for path in opened if buckets.is_whole(path)], own)]

        columns = ["entity", "words", *beside]
        tables = [self._table(view_version(part), RECORDS, reads, columns) for part in parts(view)]
        if len(tables) == 1:
            return tables[0]
        places = (pa.repeat(place, len(table)) for place, table in enumerate(tables))
        return pa.concat_tables(table.append_column(PART, where) for table, where in zip(tables, places, strict=True))

    def texts(self, sources: Sequence[str], codes: np.ndarray) -> Dictionary:
        """The texts of some codes in the sources' records. Raises `CollisionError` if one of them has two."""
        wanted = pc.field("code").isin(pa.array(codes))
        tables = [self._table(f"{DICTIONARY}/{each}", TEXTS, lambda paths: [(paths, wanted)]) for each in sources]
        table = pa.concat_tables(tables)
        return Dictionary.of(table["code"], table["text"])

    def _table(
        self,
        name: str,
        schema: pa.Schema,
        reads: Callable[[Sequence[str]], Sequence[Read]],
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows of a view version or a dictionary, read again if a build replaced a part meanwhile.

        `reads` says which of its files are read, and which of their rows.
        """
        while True:
            paths = self.paths(name)
            try:
                return pa.concat_tables(
                    dataset(opened, schema).to_table(columns and [*columns], wanted) for opened, wanted in reads(paths)
                )
            except FileNotFoundError:
                if paths == self.paths(name):
                    raise


def words_of(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """Records int64[n, width] of a column of word lists; a writable copy only if Arrow has several chunks."""
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
