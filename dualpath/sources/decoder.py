"""Decoders: how the bytes of a payload become the JSON text that the stream reads.

A decoder is a function of one Spark column, in any file; `Directory` and `Kafka` take it as `decode`.
"""

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

Decoder = Callable[[Column], Column]
"""From a column of bytes to a column of text, a JSON object each. It raises nothing: an error would end the stream. It
gives null for a payload that it cannot decode, which is then judged as it came."""


def json_text(payload: Column) -> Column:
    """Decode payloads that are JSON already."""
    return payload.cast("string")


def decoded(payload: Column, decode: Decoder) -> Column:
    """The JSON text of a column of bytes; where `decode` gives null the payload stays as it came, so none is lost."""
    return F.coalesce(decode(payload), json_text(payload))
