"""The event log as an Arrow table, without Spark."""

import pyarrow as pa
import pyarrow.dataset as ds

from dualpath.kinds import INSTANT
from dualpath.log.storage import Storage
from dualpath.schema import EventSource


def read(storage: Storage, source: EventSource) -> pa.Table:
    """Read accepted events: `event_id`, `event_time`, `arrival_time` (timestamp[us, UTC]) and the fields."""
    columns = [("event_id", pa.string()), ("event_time", INSTANT), ("arrival_time", INSTANT)]
    schema = pa.schema(columns + [(f.name, f.stored) for f in source.fields])
    files = [str(f) for folder in storage.log_folders() for f in sorted(folder.rglob("*.parquet"))]
    return ds.dataset(files, schema=schema, format="parquet").to_table()
