"""When an event happened, as Spark columns: `dualpath.clock`, translated."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from dualpath.clock import ARRIVAL, Future, corrected


def happened(said: Column, arrival_time: Column, sent_at: Column | None, future: Future) -> Column:
    """The event time that counts, of the one that the payload says; all are timestamps. Null if the device's clock
    should be corrected, and one of the three is null."""
    time = said
    if sent_at is not None:
        time = F.timestamp_micros(corrected(*map(F.unix_micros, (said, arrival_time, sent_at))))
    if future.beyond == ARRIVAL:
        time = F.when(is_far(time, arrival_time, future), arrival_time).otherwise(time)
    return time


def is_far(event_time: Column, arrival_time: Column, future: Future) -> Column:
    """Whether an event happens further after its arrival than is tolerated."""
    return event_time > arrival_time + F.lit(future.tolerance)
