"""What a payload source is: an unbounded frame of payloads, each with the place it comes from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from pyspark.sql import DataFrame, SparkSession

NOTHING: Mapping[str, int] = MappingProxyType({})


class PayloadSource(Protocol):
    """What the stream reads: any object with a `name` and a `read`, in any file."""

    @property
    def name(self) -> str:
        """What it reads, for people. It never changes: a checkpoint goes on only with the name it was made with."""

    def read(self, spark: SparkSession, after: Mapping[str, int] = NOTHING) -> DataFrame:
        """A streaming frame of one payload a row, without the rows at or before a position in `after`.

        `after` has the last position of each origin that an earlier query has read.

        The columns:

        - `value` binary: a message, which the source's decoder reads (JSON by default); or string: a JSON object,
          whatever the decoder. What is neither ends in the dead-letter table.
        - `event_id` string and `arrival_time` timestamp: as the transport knows them, else null.
        - `origin` string and `position` bigint: the place that the row comes from. Positions grow within an origin, and
          no two rows of one share theirs unless the origin is read as a whole.
        - `message`, if payloads come in messages: what is around them, as `dualpath.spark.message.COLUMN` says. Without
          it, paths of `dualpath.kafka` are read of the payload's member `$kafka`.
        """
