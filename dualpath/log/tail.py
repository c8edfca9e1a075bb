"""Follows a source's event log: the rows of the batches that finished since one looked last, without Spark."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

import pyarrow as pa
import pyarrow.compute as pc

from dualpath.log.reading import Reading
from dualpath.log.snapshot import DataFile
from dualpath.log.storage import Storage
from dualpath.schema import EventSource


class Tail:
    """The log of `source` after `position`, the last batch of each query that was read."""

    def __init__(self, storage: Storage, source: EventSource, position: Mapping[int, int] | None = None) -> None:
        self.storage, self.source = storage, source
        self.position = dict(position or {})

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the accepted events of all finished batches that were not read yet; moves the position.

        Any of `event_id`, `event_time`, `arrival_time` (timestamp[us, UTC]) and the columns of the fields.
        """
        reached = {**self.position, **self.storage.through()}
        files = [each for each in self.storage.files() if self._has_new(each, reached)]
        reading = Reading(self.storage, self.source, [("query", pa.int32()), ("batch", pa.int64())])
        paths = [str(self.storage.folder("log") / each.path) for each in files]
        new = reduce(or_, (self._is_new(query, last) for query, last in reached.items()), pc.scalar(False))
        self.position = reached
        if not paths:
            return pa.schema([self.source.stored.field(name) for name in columns]).empty_table()
        return reading.dataset(paths).to_table(reading.columns(columns), filter=new)

    def _has_new(self, file: DataFile, reached: Mapping[int, int]) -> bool:
        return any(file.overlaps(query, self.position.get(query, -1) + 1, last) for query, last in reached.items())

    def _is_new(self, query: int, last: int) -> pc.Expression:
        batch = pc.field("batch")
        return (pc.field("query") == query) & (batch > self.position.get(query, -1)) & (batch <= last)
