"""Decodes payloads in Spark: a source's declared decoder, a whole Arrow batch at a time."""

import os
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import BinaryType

from dualpath.decoders.base import Decoder, Reader, Refused
from dualpath.errors import DualpathError, crossing

DECODED = pa.struct([("value", pa.string()), ("refusal", pa.string())])


def decoded(payloads: DataFrame, decoder: Decoder | None) -> DataFrame:
    """Frames of payloads with `value` as text, and with `refusal`: why a payload could not be decoded, else null.

    A `value` of text is JSON already. One of bytes is decoded; without a decoder it is JSON too. The value of a payload
    that could not be decoded is base64 of its bytes.
    """
    if decoder is None or not isinstance(payloads.schema["value"].dataType, BinaryType):
        return payloads.withColumns({"value": F.col("value").cast("string"), "refusal": F.lit(None).cast("string")})
    found = payloads.withColumn("__decoded", in_spark(decoder)("value"))
    return found.withColumns({name: F.col(f"__decoded.{name}") for name in ("value", "refusal")}).drop("__decoded")


def in_spark(decoder: Decoder) -> Callable[[str], Column]:
    """The decoder as a function of a column; its settings are those of this process, and travel to the workers."""
    settings = tuple(sorted(decoder.settings(os.environ).items()))

    def decode(payloads: pa.Array) -> pa.Array:
        with crossing():
            return decoded_batch(payloads, _reader(decoder, settings))

    return arrow_udf(decode, "value string, refusal string")  # type: ignore[call-overload]  # it takes the hints


@lru_cache(64)
def _reader(decoder: Decoder, settings: tuple[tuple[str, str], ...]) -> Reader:
    """One for all tasks of a worker, so that a schema is fetched once."""
    return decoder.reader(dict(settings))


def decoded_batch(payloads: pa.Array, read: Reader) -> pa.Array:
    """Structs of `value` and `refusal` of binary payloads, nulls for null.

    >>> decoded_batch(pa.array([b'{}', b'\\xff', None]), lambda payload: payload.decode()).to_pylist()[0]
    {'value': '{}', 'refusal': None}
    """
    rows = [_row(payload, read) for payload in payloads.to_pylist()]
    return pa.StructArray.from_arrays(
        [pa.array([row[at] for row in rows], pa.string()) for at in (0, 1)], fields=list(DECODED)
    )


def _row(payload: bytes | None, read: Reader) -> tuple[str | None, str | None]:
    if payload is None:
        return None, None
    try:
        return read(payload), None
    except DualpathError:
        raise
    except Refused as refusal:
        reason = str(refusal)
    except Exception as error:  # a defect of the decoder must not end the stream
        reason = f"the decoder failed with {type(error).__name__}: {error}"
    return b64encode(payload).decode(), reason
