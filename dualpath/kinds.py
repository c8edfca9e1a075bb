"""Kinds of value: what a field or an expression may hold, one row each.

Engines read this table: Spark's types of the event log follow from `stored`, Feast's types of features from `seen`.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    `python` is the type in which a user writes it. `seen` is the Arrow type in which a model sees it: decimals become
    doubles, instants microseconds since 1970 UTC. One with a `key` may be a join key, and is cast by that rule of
    `dualpath.entities`.
    """

    name: str
    python: type
    seen: pa.DataType
    log: pa.DataType | None = None
    key: str = ""

    def stored(self, scale: int = 0) -> pa.DataType:
        """The Arrow type in the event log."""
        return pa.decimal128(18, scale) if self.log is None else self.log


KINDS = {
    kind.name: kind
    for kind in (
        Kind("text", str, pa.string(), pa.string(), key="text"),
        Kind("integer", int, pa.int64(), pa.int64(), key="integer"),
        Kind("identifier", int, pa.int64(), pa.int64(), key="integer"),
        Kind("decimal", Decimal, pa.float64()),
        Kind("double", float, pa.float64(), pa.float64()),
        Kind("boolean", bool, pa.bool_(), pa.bool_()),
        Kind("timestamp", datetime, pa.int64(), INSTANT),
    )
}
NUMBERS = ("integer", "decimal")
"""Those whose sum is a sum of int64 words."""
REALS = (*NUMBERS, "double")
ORDERED = (*REALS, "boolean", "timestamp")
ANY = ("text", "identifier", *ORDERED)
