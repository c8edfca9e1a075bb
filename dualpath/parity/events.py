"""The event log in Arrow, without Spark: as batches, of which a scan holds a few, or as a table."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dualpath.log.reading import Reading
from dualpath.log.storage import Storage
from dualpath.row_versions import naming_before
from dualpath.schema import EventSource
from dualpath.view import View

ROWS = 32_768
"""The most rows of a batch."""


class Log:
    """The accepted events of a source in the batches that are finished when it is made; later ones it never sees.

    Columns are `event_id`, `event_time`, `arrival_time` (timestamp[us, UTC]) and those of the fields.
    """

    def __init__(self, storage: Storage, source: EventSource) -> None:
        self.reading = Reading(storage, source)
        self.files = storage.paths()

    def batches(self, names: Sequence[str], wanted: pc.Expression | None = None) -> Iterator[pa.RecordBatch]:
        """Columns of the wanted events (default: all), in an order that each scan repeats, `ROWS` at most at once."""
        return scan(self.reading.dataset(self.files), self.reading.columns(names), wanted).to_batches()

    def copy(self, part: View, entities: Collection[tuple], folder: Path) -> ds.Dataset:
        """Write the events to a folder that the oracle needs for some entities; `part` is a view of this source alone.

        They name one of the entities, or a row that such an event names too: a later version may have moved it away.
        Others may be among them.
        """
        wanted = naming(self.reading, part, entities)
        changes, fields = part.source.changes, part.source.by_name
        if changes and not changes.before:
            key = [fields[name].column for name in changes.key]
            schema = pa.schema([(name, part.source.stored.field(name).type) for name in key])
            rows = pa.Table.from_batches(self.batches(key, wanted), schema)
            wanted = reduce(and_, (self.reading.column(name).isin(rows[name].unique()) for name in key))
        names = self.reading.names
        found = scan(self.reading.dataset(self.files), self.reading.columns(names), wanted)
        folder.mkdir(parents=True)  # there is no file if there is no row
        ds.write_dataset(found, folder, format="parquet", min_rows_per_group=ROWS, max_rows_per_group=ROWS)
        return ds.dataset(folder, schema=part.source.stored, format="parquet")


def scan(rows: ds.Dataset, columns: Any, wanted: pc.Expression | None = None) -> ds.Scanner:
    """Columns of the wanted rows. Few batches are read ahead, and the metadata of a file are forgotten after it."""
    ahead: Mapping[str, Any] = {"batch_readahead": 2, "fragment_readahead": 1, "cache_metadata": False}
    return rows.scanner(columns=columns, filter=wanted, batch_size=ROWS, **ahead)


def naming(reading: Reading, view: View, entities: Collection[tuple]) -> pc.Expression:
    """Whether an event names one of some entities, as it is or as of its row before the change; keys are cast.

    Of entities of several keys, also one that names each key of some entity.
    """
    before = naming_before(view)
    stored = view.source.stored
    values = {
        key: pa.array({each[n] for each in entities}, stored.field(key).type) for n, key in enumerate(view.key_columns)
    }
    now = {key: reading.column(key) for key in values}
    was = {key: pc.coalesce(reading.column(before[key]), now[key]) for key in now.keys() & before.keys()}
    ways = [now, now | was] if was else [now]
    fits = [reduce(and_, (way[key].isin(values[key]) for key in values)) for way in ways]
    return fits[0] | fits[1] if was else fits[0]


def read(storage: Storage, source: EventSource) -> pa.Table:
    """The whole log as a table, for where it is known to be small."""
    log = Log(storage, source)
    return pa.Table.from_batches(log.batches(log.reading.names), source.stored)
