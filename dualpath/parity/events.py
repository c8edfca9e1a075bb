"""The event log as an Arrow table, without Spark."""

import pyarrow as pa
import pyarrow.dataset as ds

from dualpath.log.storage import Storage
from dualpath.schema import EventSource


def read(storage: Storage, source: EventSource) -> pa.Table:
    """Read accepted events: `event_id`, `event_time`, `arrival_time` (timestamp[us, UTC]) and the fields' columns."""
    files = [str(f) for folder in storage.log_folders() for f in sorted(folder.rglob("*.parquet"))]
    return ds.dataset(files, schema=source.stored, format="parquet").to_table()
