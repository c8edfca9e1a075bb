"""The event log as an Arrow table, without Spark."""

import pyarrow as pa

from dualpath.log.reading import Reading
from dualpath.log.storage import Storage
from dualpath.schema import EventSource


def read(storage: Storage, source: EventSource) -> pa.Table:
    """Read accepted events: `event_id`, `event_time`, `arrival_time` (timestamp[us, UTC]) and the fields' columns."""
    files = [str(f) for folder in storage.log_folders() for f in sorted(folder.rglob("*.parquet"))]
    reading = Reading(storage, source)
    return reading.dataset(files).to_table(reading.columns(reading.names))
