"""The records of a small batch, arranged for the writer without Spark.

A batch is served by one of two paths. A large one is read back from the log by a second Spark job, which folds it
and shuffles it by entity (`dualpath.online.spark_writer.record_rows`). For a batch of a thousand rows that job takes
as long as everything else. So the tasks of the first job return a small batch's records to the driver, and this module
folds and sorts them in NumPy. Both paths have the same column expressions, and the same `fold` compacts stored values.
Without this path a small batch takes half as long again (docs/decisions.md has the figures).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dualpath.online.writer import TEXTS
from dualpath.record import fold, layout
from dualpath.schema import NULL
from dualpath.view import View
from dualpath.words import code

ROW = pa.struct(
    [
        ("view", pa.string()),
        ("entity", pa.string()),
        ("words", pa.list_(pa.int64())),
        ("apart", pa.int64()),
    ]
)
RECORDS = pa.schema([("arrival_day", pa.string()), *ROW])
DICTIONARY = pa.schema([("text", pa.string())])


@dataclass(frozen=True)
class SmallBatch:
    """Records as `dualpath.spark.records.with_records` gives them, not folded (`RECORDS`), and the texts in them."""

    records: pa.Table
    texts: pa.Table

    @classmethod
    def of(cls, events: pa.RecordBatch) -> "SmallBatch":
        """The records and texts of events, from their columns `arrival_day`, `__records` and `__texts`."""
        lists = events["__records"]
        rows, owner = lists.flatten(), pc.list_parent_indices(lists)
        there = rows.is_valid()
        rows, arrival_days = rows.filter(there), events["arrival_day"].take(owner.filter(there))
        columns = [pc.struct_field(rows, field.name).cast(field.type) for field in ROW]
        texts = events["__texts"].flatten().drop_null().unique()
        return cls(
            pa.Table.from_arrays([arrival_days.cast(pa.string()), *columns], schema=RECORDS),
            pa.Table.from_arrays([texts.cast(pa.string())], schema=DICTIONARY),
        )

    @staticmethod
    def packed(pieces: "Sequence[SmallBatch]") -> bytes:
        """Several pieces as bytes of one."""
        out = pa.BufferOutputStream()
        for schema, tables in ((RECORDS, [f.records for f in pieces]), (DICTIONARY, [f.texts for f in pieces])):
            with pa.ipc.new_stream(out, schema) as stream:
                for table in tables:
                    stream.write_table(table)
        return out.getvalue().to_pybytes()

    @classmethod
    def joined(cls, packed: Iterable[bytes]) -> "SmallBatch":
        """The pieces of all tasks in one."""
        read = []
        for piece in packed:
            source = pa.BufferReader(piece)
            read.append([pa.ipc.open_stream(source).read_all() for _ in range(2)])
        records, texts = ([each[i] for each in read] for i in range(2))
        return cls(
            pa.concat_tables([RECORDS.empty_table(), *records]), pa.concat_tables([DICTIONARY.empty_table(), *texts])
        )

    def rows(self, views: Sequence[View]) -> list[pa.RecordBatch]:
        """Rows for `dualpath.online.writer.FencedWrite.write`.

        Of a coarse view, an entity's events of a bucket are one record, except those stamped ahead of their arrival.
        """
        texts = self.texts["text"].unique().to_pylist()
        names = pa.array([TEXTS] * len(texts)), pa.array([""] * len(texts)), pa.array(texts, pa.string())
        codes = np.array([code(text) for text in texts], dtype=np.int64)
        batches = [_batch(*names, codes.reshape(-1, 1))]
        for view in views:
            own = self.records.filter(pc.equal(self.records["view"], view.name)).combine_chunks()
            if len(own):
                batches.append(_arranged(own, view))
        return batches


def _arranged(own: pa.Table, view: View) -> pa.RecordBatch:
    kind = layout(view)
    words = own["words"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, kind.width)
    arrival_day, entity = (own[name].combine_chunks().dictionary_encode() for name in ("arrival_day", "entity"))
    owner = np.stack([each.indices.to_numpy().astype(np.int64) for each in (arrival_day, entity)], axis=1)
    if kind.resolution > 1:
        apart = own["apart"].fill_null(NULL).to_numpy().reshape(-1, 1)
        words = fold(np.concatenate([words, owner, apart], axis=1), kind, keep_bucket=True)
        words, owner = words[:, : kind.width], words[:, kind.width : kind.width + 2]
    order = np.lexsort((words[:, 0], owner[:, 0], owner[:, 1]))
    owner = owner[order]
    return _batch(
        pa.array([view.name] * len(order)),
        arrival_day.dictionary.take(pa.array(owner[:, 0])),
        entity.dictionary.take(pa.array(owner[:, 1])),
        words[order],
    )


def _batch(view: pa.Array, arrival_day: pa.Array, entity: pa.Array, words: np.ndarray) -> pa.RecordBatch:
    count, width = words.shape
    offsets = pa.array(np.arange(0, count * width + 1, width or 1, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, pa.array(words.ravel()))
    return pa.RecordBatch.from_arrays([view, arrival_day, entity, lists], ["view", "arrival_day", "entity", "words"])
