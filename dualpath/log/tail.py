"""Follows a source's event log: the rows of the batches that finished since one looked last, without Spark."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dualpath.log import ledger
from dualpath.log.storage import Storage
from dualpath.schema import EventSource

NUMBER = "__batch"
"""The column that says which batch a compacted row is of."""


class Tail:
    """The log of `source` after `position`, the last batch of each query that was read."""

    def __init__(self, storage: Storage, source: EventSource, position: Mapping[int, int] | None = None) -> None:
        self.storage, self.source = storage, source
        self.position = dict(position or {})
        self.schema = source.stored.append(pa.field(NUMBER, pa.int64()))

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the accepted events of all finished batches that were not read yet; moves the position.

        Any of `event_id`, `event_time`, `arrival_time` (timestamp[us, UTC]) and the columns of the fields.
        """
        tables, reached = [], dict(self.position)
        for block in ledger.blocks(self.storage.folder("ledger"), after=self.position):
            before = self.position.get(block.query, -1)
            numbers = [n for n in block.with_rows(block.arrival_days) if n > before]
            folders = self.storage.folders("log", block, numbers) if numbers else []
            files = [str(file) for folder in folders for file in sorted(folder.rglob("*.parquet"))]
            if files:
                rows = ds.dataset(files, schema=self.schema, format="parquet").to_table([*columns, NUMBER])
                # Only compacted rows have a number; a block may have been compacted after a part of it was read.
                unread = pc.greater(pc.fill_null(rows[NUMBER], before + 1), before)
                tables.append(rows.filter(unread).select(columns))
            reached[block.query] = block.last
        self.position = reached
        empty = pa.schema([self.schema.field(name) for name in columns]).empty_table()
        return pa.concat_tables(tables) if tables else empty
