"""Events that no online read can look back to any more: the log keeps them, and the online store need not."""

from pyspark.sql import Column
from pyspark.sql import functions as F


def out_of_retention(time: Column, retention: int | None, now: Column) -> Column:
    """Whether no read at `now` or later can look back to `time`; both are microseconds, as is `retention`, which is
    what `dualpath.retention` says."""
    return F.lit(False) if retention is None else time <= now - F.lit(retention)
