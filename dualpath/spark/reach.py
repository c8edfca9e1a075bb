"""Events that no window reaches any more: they belong to the log, and the online store need not hold them."""

from pyspark.sql import Column
from pyspark.sql import functions as F


def out_of_retention(keep: int, clock: Column) -> Column:
    """Whether no read at `clock`, a timestamp, or later can look back to an event.

    `keep` is how long events matter, microseconds, as `dualpath.repo.Repo.keeps` says; 0: for ever.
    """
    return F.unix_micros("event_time") <= F.unix_micros(clock) - F.lit(keep) if keep else F.lit(False)
